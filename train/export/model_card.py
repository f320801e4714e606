"""Write the model card, whose figures all come from the export that writes it."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import numpy as np

from ctcedge.model.spec import Calibration, DecisionThresholds, OperatingPoint, Rate

from ..data.dataset import Cells
from ..evaluate.figures import MEANING, SECTIONS, Figures
from ..evaluate.tables import format_estimate, markdown_table
from ..fit.run import Run
from ..metrics.calibration import PRIOR, review_rule
from .graphs import Graphs

_LIBRARIES = ("torch", "monai", "onnx", "onnxruntime-gpu", "numpy", "opencv-python-headless")
_GRAPHS = {
    "fp32": "ONNX FP32",
    "fp16": "ONNX FP16",
    "int8": "ONNX INT8",
}
_BASELINES = {"size": "size alone", "texture": "gradient boosting on texture"}


@dataclass(frozen=True, slots=True)
class CardFacts:
    """The facts that a model card reports.

    Attributes:
        name: of the model.
        version: of the model.
        about: one line on the origin of the cells; may be empty.
        command: that makes the model from nothing; may be empty.
        demonstration: the cells are simulated.
        run: the fitted run.
        training: cells of the training split.
        validation: cells for calibration, thresholds and parity.
        review_fraction: fraction of the validation cells in the review band.
        calibration: from logit to probability.
        decision: from probability to call.
        points: operating points.
        graphs: with their parity and the recipe of the INT8 graph.
        tested: figures of the INT8 graph on the test split; None where there is none.
    """

    name: str
    version: str
    about: str
    command: str
    demonstration: bool
    run: Run
    training: Cells
    validation: Cells
    review_fraction: float
    calibration: Calibration
    decision: DecisionThresholds
    points: dict[str, OperatingPoint | None]
    graphs: Graphs
    tested: Figures | None

    @property
    def training_line(self) -> str:
        """The training data in one line."""
        cells = self.training
        about = f"{self.about}: " if self.about else ""
        return (
            f"{about}{len(cells):,} labelled cells of {len(np.unique(cells.group)):,} patients,"
            f" samples or hospitals, {int(cells.positive.sum()):,} of them CTCs"
        )


def card(facts: CardFacts) -> str:
    """Return the contents of README.md of the model folder."""
    sections = (
        _head(facts),
        _results(facts),
        _graphs(facts),
        _decision(facts),
        _points(facts),
        _making(facts),
        _limits(facts),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(facts: CardFacts) -> str:
    warning = (
        "**Trained on simulated images only. A demonstration until a lab trains on its own"
        " exports.**\n"
        if facts.demonstration
        else ""
    )
    simulated = (
        "\nThe figures below are for simulated hospitals. They do not apply to a patient's cells,"
        " and must not\nbe compared with figures on real images."
        if facts.demonstration
        else ""
    )
    return f"""\
# {facts.name} {facts.version}

{warning}Research software, not a diagnostic.

Classifies bright-field crops of single cells as circulating tumour cells (CTCs) or negatives.
Trained on {facts.training_line}.{simulated}"""


def _results(facts: CardFacts) -> str:
    found = facts.tested
    if found is None:
        return ""
    baselines = {
        f"{MEANING['auc']}, {_BASELINES[kind]}": format_estimate("auc", values["auc"])
        for kind, values in found.baselines.items()
    }
    sections = {
        heading: {text: format_estimate(name, found[name]) for name, text in rows.items()}
        for heading, rows in SECTIONS.items()
    }
    sections["Baselines, fitted on the same training cells"] = baselines
    tables = "\n\n".join(
        markdown_table([heading, ""], rows.items()) for heading, rows in sections.items()
    )
    return f"""\
## Results of the INT8 graph, bright field alone

On {found.cells:,} test cells, {found.ctcs:,} of them CTCs, of {found.groups:,} patients, samples or
hospitals that were not used for training, calibration or thresholds. Intervals are 95 % bootstrap
intervals over these.

{tables}"""


def _graphs(facts: CardFacts) -> str:
    rows = [
        [
            _GRAPHS[variant],
            f"{one.auc:.4f}",
            f"{-one.auc_loss:+z.4f}",
            f"{one.largest_difference:.4f}",
            f"{one.mean_difference:.5f}",
            f"{one.changed_calls:.2%}",
            f"{one.flips:.2%}",
        ]
        for variant, one in facts.graphs.parity.items()
    ]
    quantized = (
        f"- {_GRAPHS['int8']}: QDQ, weights per channel, {facts.graphs.recipe}, set by"
        f" {facts.graphs.calibration_images:,} training crops."
    )
    head = [
        "Graph",
        "AUC",
        "Change",
        "Largest probability difference",
        "Mean",
        "Other calls",
        "Flips",
    ]
    return f"""\
## The graphs against the trained network

{markdown_table(head, rows)}

On the {len(facts.validation):,} validation cells, by ONNX Runtime's CPU provider, against
PyTorch. A flip is a change between CTC and leukocyte, not to or from `review`. The crops that set
ranges are drawn evenly from both classes, and within a class from all samples. Where there are
more crops than are drawn, several draws are made, and the graph closest to PyTorch is kept.

{quantized}"""


def _decision(facts: CardFacts) -> str:
    calibration, (low, high) = facts.calibration, facts.decision.review
    validation = facts.validation
    return f"""\
## Probability and call

Probability of CTC = sigmoid({calibration.slope:g} x logit {calibration.intercept:+g}), fitted on \
{len(validation):,} validation cells of
{len(np.unique(validation.group)):,} other patients, samples or hospitals so that it holds where \
CTCs are {PRIOR:.0%} of the cells.
At or above {facts.decision.threshold:g} the call is `CTC`, below it `leukocyte`, which means \
'not a CTC'; from {low:g} to
below {high:g} it is `review`: {review_rule(facts.review_fraction)}."""


def _points(facts: CardFacts) -> str:
    rows = []
    for name, point in facts.points.items():
        if point is None:
            rows.append([name, "too few validation cells", *["unknown"] * 3])
            continue
        upper = point.false_positives_upper
        false = f"{_rate(point.false_positives_per_10000, 0)}, at most {upper:.0f}"
        rows.append([name, point.aim, f"{point.threshold:g}", _rate(point.sensitivity, 3), false])
    head = [
        "Operating point",
        "Aim",
        "Threshold",
        "Sensitivity",
        "False positives per 10,000 negatives",
    ]
    return f"""\
## Operating points

{markdown_table(head, rows)}

Each half of the validation groups is called at the threshold chosen on the other half; the stored
threshold is chosen on both. Intervals are exact binomial 95 % intervals for the effective number of
cells (Korn and Graubard, 1998); 'at most' is the one-sided upper 95 % bound."""


def _start(facts: CardFacts) -> str:
    unlabelled = len(np.unique(facts.run.unlabelled.digest))
    if not unlabelled:
        return "weights of an earlier model" if facts.run.init else "random weights"
    earlier = ", then trained with labels," if len(facts.run.earlier) else ""
    return f"weights pretrained{earlier} on {unlabelled:,} cells without labels"


def _making(facts: CardFacts) -> str:
    fit, spec = facts.run.settings, facts.run.input
    libraries = ", ".join(f"{name} {installed(name)}" for name in _LIBRARIES if _has(name))
    pixel = f"{spec.crop_px:g} crop pixels" if spec.um_per_px is None else f"{spec.um_per_px:g} um"
    command = f"    {facts.command}\n\n" if facts.command else ""
    start = _start(facts)
    trained = f"{fit.epochs} epochs of AdamW"
    if fit.frozen:
        trained = "the last layer alone, by logistic regression on features as they are"
    origin = f"\n- Initial weights: SHA-256 {facts.run.init}." if facts.run.init else ""
    if origin and facts.demonstration:
        origin += (
            "\n  Earlier versions of a shipped model are in the repository's history, from which"
            " `make model`\n  takes them."
        )
    return f"""\
## How it was made

{command}- Network: {fit.network} of width {fit.width:g}, {spec.size} x {spec.size} px of {pixel},
  mean of {fit.views} mirrored and rotated views; {trained} from {start},
  classes weighted equally; use of DAPI images: {fit.dapi}; seed {fit.seed}.{origin}
- Python {platform.python_version()}, {libraries}."""


def _limits(facts: CardFacts) -> str:
    scale = (
        "The um/px of the training images is unknown: crops must come from the same instrument\n"
        "  and magnification."
        if facts.run.input.um_per_px is None
        else "Crops need a known um/px: size is a feature."
    )
    simulated = (
        "\n- The simulator only approximates DEPArray crops; it was made without real ones."
        if facts.demonstration
        else ""
    )
    return f"""\
## Limits

- {scale}
- The probability holds at the stated CTC fraction; where CTCs are rare, most `CTC` calls are wrong
  unless the threshold is raised.
- The call is for the central cell alone.
- The FP16 graph's figures come from the CPU provider, not from a GPU.{simulated}"""


def _rate(rate: Rate, digits: int) -> str:
    return f"{rate.value:.{digits}f} ({rate.low:.{digits}f} to {rate.high:.{digits}f})"


def _has(name: str) -> bool:
    try:
        installed(name)
    except PackageNotFoundError:
        return False
    return True
