"""The types of model.json, the specification in a model folder.

    models/<name>/
        model.json          the spec; its own SHA-256 is the model's identity
        model.int8.onnx     graph for CPUs: QDQ, U8 activations, S8 weights
        model.fp16.onnx     optional: graph for GPUs; and others, see `Variant`
        golden.npz          small crops and the probabilities that each graph gives for them
        features.npz        optional: in-distribution feature statistics
        training.npz        optional: size and texture features of the training cells, no names
        README.md           the model card

Every graph takes `image`, uint8 (batch, 1, size, size) made by `preprocess.network_input`, and
returns `logit`, float32 (batch,), positive for CTC. It may also return `features`, float32
(batch, d), the spatial average of the network's last feature maps, and `activation`, float32
(batch, h, w), the class-activation map. The mean of that map, plus a constant, is the logit.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta

from ctcedge.images.preprocess import InputSpec
from ctcedge.records import Count, Fraction, Number, Sha256

SCHEMA = "ctcedge/model/1"
SPEC_NAME = "model.json"
INPUT_NAME = "image"
OUTPUT_NAME = "logit"
FEATURES_NAME = "features"
ACTIVATION_NAME = "activation"
OPERATING_POINTS = ("screening", "balanced", "confirm")
MAX_FILE_BYTES = 1024 * 1024 * 1024

Variant: TypeAlias = Literal["int8", "fp16", "fp32"]
_FORMER_VARIANTS = ("int8-symmetric",)  # of earlier model folders; never run

_Text: TypeAlias = Annotated[str, Meta(max_length=10_000)]
_Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1000)]  # sidecars hold it
_FileName: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z",
        extra={"wanted": "a plain file name in the model folder"},
    ),
]
_Per10000: TypeAlias = Annotated[float, Meta(ge=0, le=10_000)]


class PinnedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the model folder, pinned by content.

    Attributes:
        file: name of the file, without a folder.
        sha256: hash of its content.
        bytes: its size.
    """

    file: _FileName
    sha256: Sha256
    bytes: Annotated[int, Meta(ge=0, le=MAX_FILE_BYTES)]


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Crops with stored reference outputs.

    Attributes:
        file: an npz with `crops` (n, height, width) uint8, `um_per_px` (n,), which is absent where
            the model has no um/px, and, for each graph, `probability_<variant>` (n,).
        tolerance: maximum allowed difference of a probability.
    """

    file: PinnedFile
    tolerance: Fraction


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Probability of CTC = sigmoid(slope * logit + intercept), at the spec's prior.

    Attributes:
        slope: factor of the logit.
        intercept: added to the product.
    """

    slope: Number
    intercept: Number


class DecisionThresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From probability to call: CTC at or above `threshold`, review inside the band.

    Attributes:
        threshold: smallest probability of the call CTC.
        review: [low, high]: a probability in low <= p < high is called review.
    """

    threshold: Fraction
    review: tuple[Fraction, Fraction]

    def __post_init__(self) -> None:
        low, high = self.review
        if not 0 <= low <= self.threshold <= high <= 1:
            raise ValueError("must satisfy 0 <= review low <= threshold <= review high <= 1")


class Parity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Difference of a graph's outputs from those of the trained network, on the validation cells.

    Attributes:
        cells: number of cells.
        auc: AUC of the graph.
        auc_loss: AUC of the network in PyTorch minus the graph's.
        largest_difference: maximum difference of a probability.
        mean_difference: mean difference of the probabilities.
        changed_calls: fraction of cells that are called differently.
        flips: fraction of cells called CTC by one and leukocyte by the other.
    """

    cells: Count
    auc: Fraction
    auc_loss: Annotated[float, Meta(ge=-1, le=1)]
    largest_difference: Fraction
    mean_difference: Fraction
    changed_calls: Fraction
    flips: Fraction


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A measured rate and its 95 % confidence interval.

    Attributes:
        value: the rate.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    value: _Per10000
    low: _Per10000
    high: _Per10000

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.value <= self.high:
            raise ValueError("must satisfy 0 <= low <= value <= high")


class OperatingPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A threshold for a purpose, with its performance on cells that did not choose it.

    Attributes:
        aim: purpose, one line.
        threshold: smallest probability, at the spec's prior, of the call CTC.
        sensitivity: fraction of the CTCs that are called CTC.
        false_positives_per_10000: cells called CTC per 10,000 negatives.
        false_positives_upper: one-sided upper 95 % bound of their true number per 10,000.
        ctcs: number of CTCs that it was measured on.
        negatives: number of other cells that it was measured on.
        samples: number of samples, or of patients where they are known, of these cells.
    """

    aim: _Text
    threshold: Fraction
    sensitivity: Rate
    false_positives_per_10000: Rate = msgspec.field(name="false_calls_per_10000")
    false_positives_upper: _Per10000 = msgspec.field(name="false_calls_upper")
    ctcs: Count
    negatives: Count = msgspec.field(name="others")
    samples: Count

    def __post_init__(self) -> None:
        if not self.aim.isprintable():
            raise ValueError("'aim' must be printable text")
        if self.sensitivity.high > 1:
            raise ValueError("'sensitivity' must lie between 0 and 1")


class Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The names of the two classes.

    Attributes:
        positive: call of a CTC.
        negative: call of everything else: 'not a CTC'.
    """

    positive: Literal["CTC"]
    negative: Literal["leukocyte"]


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of model.json.

    Attributes:
        schema: version of this format.
        name: name of the model.
        version: version of the model.
        training: one line: data that the weights were trained on.
        demonstration: true for weights trained on simulated images, whose performance on patients'
            cells is unknown.
        labels: names of the two classes.
        input: input that the network expects.
        calibration: from the logit to a probability.
        prior: fraction of CTCs at which the probability is calibrated.
        decision: from the probability to a call.
        opset: ONNX operator set of the graphs.
        graphs: ONNX files by graph: `int8`, `fp16`, `fp32`. In earlier models also
            `int8-symmetric`, which is not used.
        golden: reference outputs.
        card: the model card.
        parity: by graph, also of graphs that are not in the folder; empty where it is unknown.
        operating_points: by name; None where the validation cells could not support its aim. Empty
            where none was measured.
        features: an npz with the statistics of in-distribution features, which
            `train.export.ood_statistics` writes.
        training_table: an npz with size and texture of the training cells, which
            `train.baselines.baselines` writes.
    """

    schema: Literal["ctcedge/model/1"]
    name: _Name
    version: _Name
    training: _Text
    demonstration: bool
    labels: Labels
    input: InputSpec
    calibration: Calibration
    prior: Annotated[float, Meta(gt=0, lt=1)]
    decision: DecisionThresholds
    opset: Annotated[int, Meta(ge=1, le=1000)]
    graphs: dict[str, PinnedFile]
    golden: Golden
    card: PinnedFile
    parity: dict[str, Parity] = {}
    operating_points: dict[str, OperatingPoint | None] = {}
    features: PinnedFile | None = None
    training_table: PinnedFile | None = None

    def __post_init__(self) -> None:
        if "int8" not in self.graphs:
            raise ValueError("'graphs' must contain 'int8'")
        variants = (*get_args(Variant), *_FORMER_VARIANTS)
        for where, names, known in (
            ("graphs", self.graphs, variants),
            ("parity", self.parity, variants),
            ("operating_points", self.operating_points, OPERATING_POINTS),
        ):
            if unknown := names.keys() - set(known):
                raise ValueError(f"unknown name '{min(unknown)}' in '{where}'")
        if self.operating_points and self.operating_points.keys() != set(OPERATING_POINTS):
            raise ValueError(f"'operating_points' must contain {', '.join(OPERATING_POINTS)}")
        if not all(text.isprintable() for text in (self.name, self.version, self.training)):
            raise ValueError("'name', 'version' and 'training' must be printable text")
