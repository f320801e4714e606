"""From a fitted run to the model folder that `ctcedge` loads: graphs, proofs, thresholds, card.

The training side gives the INT8 graphs' ranges and the statistics of features. The validation side,
of other patients or samples, gives the probability calibration, the review band, the operating
points and the proof that the graphs say what the network says. The test side, where there is one,
gives nothing but the figures on the card.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from ctcedge.model.folder import Model
from ctcedge.model.spec import (
    FEATURES_NAME,
    Calibration,
    DecisionThresholds,
    Golden,
    Labels,
    ModelSpec,
    Parity,
    Variant,
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
from ..util.progress import progress
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
from .onnx import OPSET, float_graph, fp16_graph, fp32_graph
from .ood_statistics import FEATURES_FILE, MAX_CELLS, FeatureSet, feature_statistics
from .operating_points import operating_points
from .parity import ParityError, ParityLimits, measure_parity
from .quantize import RECIPES, Recipe, int8_graph, symmetric_graph

CALIBRATION_IMAGES = 512
CALIBRATION_DRAWS = 4
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Note = Callable[[str], object]


class ExportError(ValueError):
    """A run cannot be exported so."""


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """All that decides a model folder, besides the run.

    Attributes:
        name: of the model and its folder.
        version: of the model.
        about: one line on whose cells these are, for spec and card.
        command: that makes the model from nothing, for its card; empty where none does.
        demonstration: the cells are simulated; every use of the model says so.
        review_share: share of the validation cells in the review band.
        false_calls_per_10000: upper 95 % bound at the operating point `confirm`.
        limits: how much the graphs may differ from the network.
        force: export also what exceeds them.
        seed: of what is drawn.
    """

    name: str
    version: str = "0.1.0"
    about: str = ""
    command: str = ""
    demonstration: bool = False
    review_share: float = 0.1
    false_calls_per_10000: float = 10.0
    limits: ParityLimits = field(default_factory=ParityLimits)
    force: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ExportError(f"'{self.name}' is no name; use letters, digits, '.', '_' and '-'")
        if not (self.version + self.about).isprintable():
            raise ExportError("--version and --about must be printable text, one line")
        if not 0 <= self.review_share < 1:
            raise ExportError("the review band's share must lie between 0 and 1")


def export(folder: Path, settings: ExportSettings, out: Path, note: Note) -> list[Model]:
    """Export a run to `out/<name>`, or every fold of it to `out/<name>/fold-1` and so on.

    Args:
        folder: of the run, or of the runs of its folds.
        settings: what decides the model folder.
        out: parent of the model folder.
        note: is told what a person should know.

    Returns:
        The models, as published.

    Raises:
        RunError: there is no finished run.
        ParityError: a graph differs too much from the network, whatever was tried.
        ValueError: a side's cells do not suffice.
        FileExistsError: something that is no model folder is in the way.
    """
    runs = open_runs(folder)
    place = out / settings.name
    if runs[0].folder == folder:
        places = {place: settings.name}
    else:
        _refuse_all_but_folds(place)
        places = {place / run.folder.name: f"{settings.name}-{run.folder.name}" for run in runs}
    for each in places:
        check_replaceable(each)
    return [
        export_run(run, name, settings, destination, note)
        for run, (destination, name) in zip(runs, places.items(), strict=True)
    ]


def export_run(
    run: Run, name: str, settings: ExportSettings, destination: Path, note: Note
) -> Model:
    """Export one run; as `export` otherwise."""
    with tempfile.TemporaryDirectory() as scratch, progress(f"Export {name}", 7) as advance:
        folder = Path(scratch, "model")  # the scratch folder itself is closed to all others
        folder.mkdir()
        network, spec = run.network(), run.input
        training, validation, test = (run.subset(s) for s in ("training", "validation", "test"))

        advance(note="the network's own answers")
        reference = predict(network, validation.bright, spec.gain)
        calibration = calibrate(reference, validation.positive)
        expected = probabilities(reference, calibration)
        decision = choose_decision(expected, settings.review_share)
        proof = _Proof(validation, expected, calibration, decision, settings.limits)

        advance(note="graphs")
        draws = _calibration_inputs(training, settings.seed)
        graphs, recipes = _graphs(run, float_graph(network, spec), draws, proof, settings, note)
        for variant, graph in graphs.items():
            (folder / graph_name(variant)).write_bytes(graph)
        said = proof.said["int8"]

        advance(note="operating points")
        points = operating_points(validation, said, settings.false_calls_per_10000, settings.seed)
        for point, found in points.items():
            if found is None:
                note(f"{name}: the validation cells cannot support the operating point '{point}'")

        advance(note="features")
        drawn = draw_by_sample(training, MAX_CELLS, settings.seed)
        known = [_known(graphs["int8"], cells) for cells in (drawn, validation)]
        statistics = feature_statistics(known[0], known[1], settings.seed)
        statistics.save(folder / FEATURES_FILE)
        if statistics.wavelet is None:
            note(f"{name}: cannot tell whether runs are like training: too few patients or samples")

        advance(note="what the baselines see")
        table = training_table(run.cells, run.split, spec)
        kept = table.limited(MAX_DESCRIBED, settings.seed).with_earlier(run.earlier)
        kept.save(folder / TABLE_NAME)
        read_table((folder / TABLE_NAME).read_bytes())

        advance(note="test")
        thresholds = {key: point.threshold for key, point in points.items() if point is not None}
        tested = None
        if len(test):
            answers = probabilities(run_graph(graphs["int8"], test.bright), calibration)
            tested = _figures(test, Scores.of(answers, decision, thresholds), table, settings.seed)

        advance(note="model folder")
        write_golden(folder / GOLDEN_NAME, graphs, spec, calibration, settings.seed)
        facts = CardFacts(
            name=name,
            version=settings.version,
            about=settings.about,
            command=settings.command,
            demonstration=settings.demonstration,
            run=run,
            training=training,
            validation=validation,
            review_share=settings.review_share,
            calibration=calibration,
            decision=decision,
            points=points,
            parity=proof.parity,
            quantization={
                variant: (recipe, len(recipe.images(draws[0])))
                for variant, recipe in recipes.items()
            },
            tested=tested,
        )
        (folder / CARD_NAME).write_text(card(facts), encoding="utf-8")
        model = write_spec(
            folder,
            ModelSpec(
                schema="ctcedge/model/1",
                name=name,
                version=settings.version,
                training=facts.training_line,
                demonstration=settings.demonstration,
                labels=Labels(positive="CTC", negative="leukocyte"),
                input=spec,
                calibration=calibration,
                prior=PRIOR,
                decision=decision,
                opset=OPSET,
                graphs={variant: pin(folder / graph_name(variant)) for variant in graphs},
                golden=Golden(pin(folder / GOLDEN_NAME), GOLDEN_TOLERANCE),
                card=pin(folder / CARD_NAME),
                parity=proof.parity,
                operating_points=points,
                features=pin(folder / FEATURES_FILE),
                training_table=pin(folder / TABLE_NAME),
            ),
        )
        return publish(model, destination)


@dataclass(slots=True)
class _Proof:
    """What graphs say of the validation cells beside what the network says.

    Attributes:
        cells: of the validation side.
        expected: (n,) probability by the network.
        calibration: of all probabilities.
        decision: of all calls.
        limits: how much a graph may differ.
        said: (n,) probability by graph.
        parity: by graph.
    """

    cells: Cells
    expected: NDArray[np.float64]
    calibration: Calibration
    decision: DecisionThresholds
    limits: ParityLimits
    said: dict[Variant, NDArray[np.float64]] = field(default_factory=dict)
    parity: dict[str, Parity] = field(default_factory=dict)

    def tried(self, variant: Variant, graph: bytes, recipe: Recipe | None = None) -> _Attempt:
        """Run a graph, and see in what it exceeds the limits."""
        said = probabilities(run_graph(graph, self.cells.bright), self.calibration)
        parity = measure_parity(said, self.expected, self.cells.positive, self.decision)
        problems = self.limits.violations(variant, parity)
        return _Attempt(graph, said, parity, problems, recipe)

    def keep(self, variant: Variant, attempt: _Attempt) -> None:
        """Note what the graph says that is exported."""
        self.said[variant], self.parity[variant] = attempt.said, attempt.parity


class _Attempt(NamedTuple):
    """A graph, what it says of the validation cells, and in what that is too far off."""

    graph: bytes
    said: NDArray[np.float64]
    parity: Parity
    problems: list[str]
    recipe: Recipe | None


def _calibration_inputs(training: Cells, seed: int) -> list[NDArray[np.uint8]]:
    """Draw the crops that set the ranges of INT8 graphs, some times over where there are more."""
    draws = 1 if len(training) <= CALIBRATION_IMAGES else CALIBRATION_DRAWS
    return [
        draw_by_sample(training, CALIBRATION_IMAGES, seed + number).bright
        for number in range(draws)
    ]


def _graphs(
    run: Run,
    body: onnx.ModelProto,
    draws: list[NDArray[np.uint8]],
    proof: _Proof,
    settings: ExportSettings,
    note: Note,
) -> tuple[dict[Variant, bytes], dict[Variant, Recipe]]:
    """Make every graph, and see that each says what the network says; and tell the INT8 recipes.

    The symmetric graph is left out where it does not: the FP16 graph serves TensorRT too.
    """
    spec, views = run.input, run.settings.views

    def quantised(recipe: Recipe, inputs: NDArray[np.uint8]) -> bytes:
        return int8_graph(body, spec, views, inputs, recipe)

    def symmetric(recipe: Recipe, inputs: NDArray[np.uint8]) -> bytes:
        return symmetric_graph(body, spec, views, inputs, recipe)

    best = _best_quantised("int8", quantised, draws, proof, note)
    if best.problems:
        if not settings.force:
            raise ParityError(
                f"not exported; {'; '.join(best.problems)}; nothing that was tried is better: fit"
                " longer, or another network, or give --force"
            )
        note(f"int8: exported all the same, quantised with {best.recipe}")
    chosen: dict[Variant, _Attempt] = {"int8": best}
    best = _best_quantised("int8-symmetric", symmetric, draws, proof, note)
    if best.problems:
        note("int8-symmetric: left out")
    else:
        chosen["int8-symmetric"] = best
    recipes = {variant: one.recipe for variant, one in chosen.items() if one.recipe is not None}
    chosen["fp16"] = proof.tried("fp16", fp16_graph(body, spec, views))
    chosen["fp32"] = proof.tried("fp32", fp32_graph(body, spec, views))
    for variant in ("fp16", "fp32"):
        problems = chosen[variant].problems
        if problems and not settings.force:
            raise ParityError(f"not exported; {'; '.join(problems)}")
        if problems:
            note(f"exported all the same; {'; '.join(problems)}")
    for variant, attempt in chosen.items():
        proof.keep(variant, attempt)
    return {variant: attempt.graph for variant, attempt in chosen.items()}, recipes


def _best_quantised(
    variant: Variant,
    make: Callable[[Recipe, NDArray[np.uint8]], bytes],
    draws: list[NDArray[np.uint8]],
    proof: _Proof,
    note: Note,
) -> _Attempt:
    """Quantise in one way after the other, up to the first whose graph calls as the network does.

    Where none does, the closest of those that are accepted is taken; where none is, the closest.
    Convolutions in float take time, and are tried only where nothing else is accepted. Of the draws
    that set the ranges, too, that counts whose graph is closest to the network: an odd crop or two
    move ranges more than the way in which they are found.
    """
    tried: list[_Attempt] = []
    accepted: list[_Attempt] = []
    for recipe in RECIPES:
        if recipe.float_ends and accepted:
            break
        attempts = [proof.tried(variant, make(recipe, inputs), recipe) for inputs in draws]
        tried.append(closest := _closest(attempts))
        if closest.problems:
            note(f"{variant} with {recipe} is not good enough; {'; '.join(closest.problems)}")
            continue
        accepted.append(closest)
        if not proof.limits.above_target(closest.parity):
            break
    best = _closest(accepted or tried)
    if best.recipe != RECIPES[0] and not best.problems:
        note(f"{variant}: quantised with {best.recipe}")
    if accepted and (missed := proof.limits.above_target(best.parity)):
        note(f"{variant}: {missed}")
    return best


def _closest(tried: list[_Attempt]) -> _Attempt:
    return min(tried, key=lambda attempt: attempt.parity.mean_difference)


def _known(graph: bytes, cells: Cells) -> FeatureSet:
    features = run_graph(graph, cells.bright, FEATURES_NAME)
    return FeatureSet(cells.bright, features, cells.positive, cells.group)


def _figures(test: Cells, scores: Scores, table: TrainingTable, seed: int) -> Figures:
    training, tested = (table.select(table.split == side) for side in ("training", "test"))
    baselines = baseline_scores(training, tested, seed)
    return figures(test, scores, prior=PRIOR, baselines=baselines, seed=seed)


def _refuse_all_but_folds(place: Path) -> None:
    """Check that a folder of folds may be written here: nothing else is."""
    others = [path.name for path in place.glob("*") if not path.name.startswith("fold-")]
    if others:
        raise FileExistsError(f"{place} exists and holds {others[0]}; move it away")
