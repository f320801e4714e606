"""Export a fitted run as the model folder that `ctcedge` loads: graphs, thresholds, card.

The training split gives the ranges of the INT8 graphs and the feature statistics. The validation
split, of other patients or samples, gives the probability calibration, the review band, the
operating points and the comparison of the graphs with the network. The test split, where there is
one, gives the figures on the card and nothing else.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctcedge.model.folder import Model
from ctcedge.model.spec import (
    FEATURES_NAME,
    Calibration,
    DecisionThresholds,
    Golden,
    Labels,
    ModelSpec,
    OperatingPoint,
)

from ..baselines.baselines import (
    MAX_DESCRIBED,
    TABLE_NAME,
    TrainingTable,
    baseline_scores,
    read_table,
    training_table,
)
from ..data.dataset import Cells, draw_by_sample
from ..evaluate.figures import Figures, figures
from ..evaluate.scores import Scores
from ..fit.networks import predict
from ..fit.run import Run, open_runs
from ..metrics.calibration import PRIOR, calibrate, choose_decision
from ..metrics.onnx_scores import probabilities, run_graph
from ..util.next_step import MODEL_NAME
from ..util.progress import progress
from .graphs import Graphs, OnWarning, ParityCheck, draw_calibration_inputs, make_graphs
from .model_card import CardFacts, card
from .model_folder import (
    CARD_NAME,
    GOLDEN_NAME,
    GOLDEN_TOLERANCE,
    check_replaceable,
    graph_name,
    pin,
    publish,
    write_golden,
    write_spec,
)
from .onnx import OPSET, float_graph
from .ood_statistics import FEATURES_FILE, MAX_CELLS, FeatureSet, feature_statistics
from .operating_points import operating_points
from .parity import ParityLimits


class ExportError(ValueError):
    """Settings cannot be used for an export."""


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """All settings of a model folder, besides the run.

    Attributes:
        name: of the model and its folder.
        version: of the model.
        about: one line on the origin of the cells, for spec and card.
        command: that makes the model from nothing, for its card; may be empty.
        demonstration: the cells are simulated; every use of the model reports it.
        review_fraction: fraction of the validation cells in the review band.
        false_positives_per_10000: upper 95 % bound at the operating point `confirm`.
        limits: accepted differences of the graphs from the network.
        force: export graphs that exceed the limits, too.
        seed: of all random draws.
    """

    name: str
    version: str = "0.1.0"
    about: str = ""
    command: str = ""
    demonstration: bool = False
    review_fraction: float = 0.1
    false_positives_per_10000: float = 10.0
    limits: ParityLimits = field(default_factory=ParityLimits)
    force: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        if not MODEL_NAME.fullmatch(self.name):
            raise ExportError(
                f"'{self.name}' cannot be a model's name; use letters, digits, '.', '_' and '-'"
            )
        if not (self.version + self.about).isprintable():
            raise ExportError("--version and --about must be printable text on one line")
        if not 0 <= self.review_fraction < 1:
            raise ExportError("the fraction of the review band must be at least 0 and below 1")


def export(folder: Path, settings: ExportSettings, out: Path, on_warning: OnWarning) -> list[Model]:
    """Export a run to `out/<name>`, or every fold of it to `out/<name>/fold-1` and so on.

    Args:
        folder: of the run, or of the runs of its folds.
        settings: of the model folder.
        out: parent of the model folder.
        on_warning: callback for user-facing warnings.

    Returns:
        The published models.

    Raises:
        RunError: there is no finished run.
        ParityError: a graph differs too much from the network, whatever the recipe.
        ValueError: a split has too few cells.
        FileExistsError: the destination exists and is not a model folder.
    """
    runs = open_runs(folder)
    parent = out / settings.name
    if runs[0].folder == folder:
        names = {parent: settings.name}
    else:
        _check_only_folds(parent)
        names = {parent / run.folder.name: f"{settings.name}-{run.folder.name}" for run in runs}
    for destination in names:
        check_replaceable(destination)
    return [
        export_run(run, name, settings, destination, on_warning)
        for run, (destination, name) in zip(runs, names.items(), strict=True)
    ]


def export_run(
    run: Run, name: str, settings: ExportSettings, destination: Path, on_warning: OnWarning
) -> Model:
    """Export one run; arguments and errors as of `export`."""
    with tempfile.TemporaryDirectory() as scratch, progress(f"Export {name}", 7) as advance:
        folder = Path(scratch, "model")  # TemporaryDirectory makes its own folder private
        folder.mkdir()
        network, spec = run.network(), run.input
        training, validation, test = (run.subset(s) for s in ("training", "validation", "test"))

        advance(note="predict with PyTorch")
        logits = predict(network, validation.bright, spec.gain)
        calibration = calibrate(logits, validation.positive)
        expected = probabilities(logits, calibration)
        decision = choose_decision(expected, settings.review_fraction)

        advance(note="graphs")
        graphs = make_graphs(
            float_graph(network, spec),
            spec,
            run.settings.views,
            draw_calibration_inputs(training, settings.seed),
            ParityCheck(validation, expected, calibration, decision, settings.limits),
            force=settings.force,
            on_warning=on_warning,
        )
        int8 = graphs.by_variant["int8"]

        advance(note="operating points")
        points = operating_points(
            validation, int8.probability, settings.false_positives_per_10000, settings.seed
        )
        for point, measured in points.items():
            if measured is None:
                on_warning(f"{name}: too few validation cells for the operating point '{point}'")

        advance(note="feature statistics")
        statistics = feature_statistics(
            _features(int8.graph, draw_by_sample(training, MAX_CELLS, settings.seed)),
            _features(int8.graph, validation),
            settings.seed,
        )
        statistics.save(folder / FEATURES_FILE)
        if statistics.wavelet is None:
            on_warning(f"{name}: cannot detect domain shift of runs: too few patients or samples")

        advance(note="training table")
        table = training_table(run.cells, run.split, spec)
        stored = table.limited(MAX_DESCRIBED, settings.seed).with_earlier(
            run.earlier, run.unlabelled
        )
        stored.save(folder / TABLE_NAME)
        read_table((folder / TABLE_NAME).read_bytes())

        advance(note="test")
        tested = _tested(test, int8.graph, calibration, decision, points, table, settings.seed)

        advance(note="model folder")
        facts = CardFacts(
            name=name,
            version=settings.version,
            about=settings.about,
            command=settings.command,
            demonstration=settings.demonstration,
            run=run,
            training=training,
            validation=validation,
            review_fraction=settings.review_fraction,
            calibration=calibration,
            decision=decision,
            points=points,
            graphs=graphs,
            tested=tested,
        )
        return publish(_write(folder, facts, graphs, settings), destination)


def _write(folder: Path, facts: CardFacts, graphs: Graphs, settings: ExportSettings) -> Model:
    """Write graphs, golden outputs, card and spec beside feature statistics and table."""
    by_variant = {variant: candidate.graph for variant, candidate in graphs.by_variant.items()}
    for variant, graph in by_variant.items():
        (folder / graph_name(variant)).write_bytes(graph)
    spec = facts.run.input
    write_golden(folder / GOLDEN_NAME, by_variant, spec, facts.calibration, settings.seed)
    (folder / CARD_NAME).write_text(card(facts), encoding="utf-8")
    return write_spec(
        folder,
        ModelSpec(
            schema="ctcedge/model/1",
            name=facts.name,
            version=facts.version,
            training=facts.training_line,
            demonstration=facts.demonstration,
            labels=Labels(positive="CTC", negative="leukocyte"),
            input=spec,
            calibration=facts.calibration,
            prior=PRIOR,
            decision=facts.decision,
            opset=OPSET,
            graphs={variant: pin(folder / graph_name(variant)) for variant in by_variant},
            golden=Golden(pin(folder / GOLDEN_NAME), GOLDEN_TOLERANCE),
            card=pin(folder / CARD_NAME),
            parity=facts.graphs.parity,
            operating_points=facts.points,
            features=pin(folder / FEATURES_FILE),
            training_table=pin(folder / TABLE_NAME),
        ),
    )


def _features(graph: bytes, cells: Cells) -> FeatureSet:
    features = run_graph(graph, cells.bright, FEATURES_NAME)
    return FeatureSet(cells.bright, features, cells.positive, cells.group)


def _tested(
    test: Cells,
    graph: bytes,
    calibration: Calibration,
    decision: DecisionThresholds,
    points: dict[str, OperatingPoint | None],
    table: TrainingTable,
    seed: int,
) -> Figures | None:
    """Measure a graph and the baselines on the test split; None where it is empty."""
    if not len(test):
        return None
    probability: NDArray[np.float64] = probabilities(run_graph(graph, test.bright), calibration)
    thresholds = {name: point.threshold for name, point in points.items() if point is not None}
    scores = Scores.of(probability, decision, thresholds)
    training, tested = (table.select(table.split == split) for split in ("training", "test"))
    baselines = baseline_scores(training, tested, seed)
    return figures(test, scores, prior=PRIOR, baselines=baselines, seed=seed)


def _check_only_folds(folder: Path) -> None:
    """Refuse a folder that contains something besides folds."""
    unknown = [path.name for path in folder.glob("*") if not path.name.startswith("fold-")]
    if unknown:
        raise FileExistsError(f"{folder} exists and contains {unknown[0]}; move it away")
