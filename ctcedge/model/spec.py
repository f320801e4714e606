"""A model is a folder: graphs, a strict spec that pins every file's hash, golden outputs, a card.

    models/<name>/
        model.json          the spec; its own SHA-256 is the model's identity
        model.int8.onnx     QDQ, U8 activations, S8 weights: the CPU's graph
        model.fp16.onnx     optional: the GPU's graph; and others, see `Variant`
        golden.npz          small crops and the probabilities that each graph gives for them
        features.npz        optional: what features cells like those of training have
        training.npz        optional: what baselines see of the training cells, without names
        README.md           the model card

Every graph takes `image`, uint8 (batch, 1, size, size) made by `preprocess.network_input`, and
returns `logit`, float32 (batch,), positive for CTC. It may also return `features`, float32
(batch, d), the average over space of the network's last maps, and `activation`, float32
(batch, h, w), the class-activation map: where in the image the logit comes from. The mean of the
map, plus a constant, is the logit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from ctcedge.images.preprocess import InputSpec

SCHEMA = "ctcedge/model/1"
SPEC_NAME = "model.json"
INPUT_NAME = "image"
OUTPUT_NAME = "logit"
FEATURES_NAME = "features"
ACTIVATION_NAME = "activation"
OPERATING_POINTS = ("screening", "balanced", "confirm")
_MAX_FILE_BYTES = 1024 * 1024 * 1024
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

Variant: TypeAlias = Literal["int8", "int8-symmetric", "fp16", "fp32"]


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A file of the model folder, pinned by content."""

    file: str
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        if not _FILE_NAME.fullmatch(self.file):
            raise ValueError(f"{self.file!r} must be a plain file name in the model folder")
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError("'sha256' must be 64 hexadecimal digits")
        if not 0 <= self.bytes <= _MAX_FILE_BYTES:
            raise ValueError(f"'bytes' must lie between 0 and {_MAX_FILE_BYTES:,}")


@dataclass(frozen=True, slots=True)
class Golden:
    """Crops with known answers.

    Attributes:
        file: an npz with `crops` (n, height, width) uint8, `um_per_px` (n,), which a model that
            knows no um/px goes without, and, for each graph, `probability_<variant>` (n,).
        tolerance: largest allowed difference of a probability.
    """

    file: PinnedFile
    tolerance: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Probability of CTC = sigmoid(slope * logit + intercept), at the spec's prior."""

    slope: float
    intercept: float


@dataclass(frozen=True, slots=True)
class DecisionThresholds:
    """From probability to call: at or above `threshold` CTC, inside the band review.

    Attributes:
        threshold: least probability of the call CTC.
        review: [low, high]: a probability in low <= p < high is called review.
    """

    threshold: float
    review: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.review) != 2:
            raise ValueError("'review' must be two numbers, [low, high]")
        low, high = self.review
        if not 0 <= low <= self.threshold <= high <= 1:
            raise ValueError("must satisfy 0 <= review low <= threshold <= review high <= 1")


@dataclass(frozen=True, slots=True)
class Parity:
    """How a graph's answers differ from those of the trained network, on the validation cells.

    Attributes:
        cells: their number.
        auc: of the graph.
        auc_loss: AUC of the network in PyTorch, less the graph's.
        largest_difference: of a probability.
        mean_difference: of the probabilities.
        changed_calls: share of cells that are called something else.
        flips: share of cells called CTC by one and leukocyte by the other.
    """

    cells: int
    auc: float
    auc_loss: float
    largest_difference: float
    mean_difference: float
    changed_calls: float
    flips: float


@dataclass(frozen=True, slots=True)
class Rate:
    """A measured rate and its 95 % interval."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.value <= self.high:
            raise ValueError("must satisfy 0 <= low <= value <= high")


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold for a purpose, with what was measured on cells that did not choose it.

    Attributes:
        aim: what it was chosen for, one line.
        threshold: least probability, at the spec's prior, of the call CTC.
        sensitivity: share of the CTCs that are called.
        false_calls_per_10000: cells called CTC of every 10,000 others.
        false_calls_upper: upper 95 % bound (one-sided) of their true number per 10,000.
        ctcs: on how many it was measured.
        others: on how many it was measured.
        samples: that these cells are of: samples, or patients where they are known.
    """

    aim: str
    threshold: float
    sensitivity: Rate
    false_calls_per_10000: Rate
    false_calls_upper: float
    ctcs: int
    others: int
    samples: int

    def __post_init__(self) -> None:
        if not self.aim.isprintable():
            raise ValueError("'aim' must be printable text")
        if not 0 <= self.threshold <= 1:
            raise ValueError("'threshold' must lie between 0 and 1")
        if self.sensitivity.high > 1:
            raise ValueError("'sensitivity' must lie between 0 and 1")
        if max(self.false_calls_per_10000.high, self.false_calls_upper) > 10_000:
            raise ValueError("there cannot be more than 10,000 false calls per 10,000")


@dataclass(frozen=True, slots=True)
class Labels:
    """The names of the two classes; `negative` means 'not a CTC'."""

    positive: Literal["CTC"]
    negative: Literal["leukocyte"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The contents of model.json.

    Attributes:
        prior: share of CTCs at which the probability is calibrated.
        training: one line: on what data the weights were trained.
        demonstration: true for weights trained on simulated images, which say nothing yet about
            a patient's cells.
        parity: by graph, also of those that are not in the folder; empty where it is unknown.
        operating_points: by name; None where the cells at hand could not support its aim. Empty
            where nobody measured.
        features: an npz, see `train.export.ood_statistics.Features`.
        training_table: an npz, see `train.baselines.baselines.Table`.
    """

    schema: Literal["ctcedge/model/1"]
    name: str
    version: str
    training: str
    demonstration: bool
    labels: Labels
    input: InputSpec
    calibration: Calibration
    prior: float
    decision: DecisionThresholds
    opset: int
    graphs: dict[str, PinnedFile]
    golden: Golden
    card: PinnedFile
    parity: dict[str, Parity] = field(default_factory=dict)
    operating_points: dict[str, OperatingPoint | None] = field(default_factory=dict)
    features: PinnedFile | None = None
    training_table: PinnedFile | None = None

    def __post_init__(self) -> None:
        if "int8" not in self.graphs:
            raise ValueError("'graphs' must hold 'int8'")
        for where, names, known in (
            ("graphs", self.graphs, get_args(Variant)),
            ("parity", self.parity, get_args(Variant)),
            ("operating_points", self.operating_points, OPERATING_POINTS),
        ):
            if unknown := names.keys() - set(known):
                raise ValueError(f"unknown name '{min(unknown)}' in '{where}'")
        if self.operating_points and self.operating_points.keys() != set(OPERATING_POINTS):
            raise ValueError(f"'operating_points' must hold {', '.join(OPERATING_POINTS)}")
        if not 0 < self.prior < 1:
            raise ValueError("'prior' must lie between 0 and 1")
        if not all(text.isprintable() for text in (self.name, self.version, self.training)):
            raise ValueError("'name', 'version' and 'training' must be printable text")
        self._check_input()

    def _check_input(self) -> None:
        """Refuse what no network needs and `preprocess.network_input` cannot compute."""
        if self.input.um_per_px is None:
            scale = ("crop_px", self.input.crop_px or 0, 0.01, 100)
        else:
            scale = ("um_per_px", self.input.um_per_px, 0.01, 20)
        for name, value, low, high in (
            scale,
            ("disk", self.input.disk, 2 / self.input.size, 2),
            ("floor", self.input.floor, 0, 100),
            ("gain", self.input.gain, 0, 10_000),
        ):
            if not low <= value <= high:
                raise ValueError(f"'input.{name}' must lie between {low:g} and {high:g}")
