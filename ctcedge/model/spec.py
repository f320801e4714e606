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

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from ctcedge import validation as strict
from ctcedge.errors import ModelError
from ctcedge.fs.files import open_plain
from ctcedge.images.preprocess import InputSpec

SCHEMA = "ctcedge/model/1"
SPEC_NAME = "model.json"
INPUT_NAME = "image"
OUTPUT_NAME = "logit"
FEATURES_NAME = "features"
ACTIVATION_NAME = "activation"
OPERATING_POINTS = ("screening", "balanced", "confirm")
_MAX_SPEC_BYTES = 1024 * 1024
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
class Decision:
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
    decision: Decision
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


@dataclass(frozen=True, slots=True)
class Model:
    """A model folder whose spec was read and found valid.

    Attributes:
        folder: where it lies.
        spec: the contents of model.json.
        sha256: hash of model.json, which pins all other files: the model's identity.
    """

    folder: Path
    spec: ModelSpec
    sha256: str

    def read(self, pinned: PinnedFile) -> bytes:
        """Return a pinned file's bytes.

        Raises:
            ModelError: it is missing or not the file that the spec pins.
        """
        path = self.folder / pinned.file
        try:
            data = _read_plain(path, pinned.bytes)
        except OSError as error:
            raise ModelError(
                f"{path}: cannot be read ({error.strerror}); copy the model folder anew"
            ) from None
        if data is None or hashlib.sha256(data).hexdigest() != pinned.sha256:
            raise ModelError(
                f"{path} is not the file that {SPEC_NAME} pins (its SHA-256 differs);"
                " copy the model folder anew"
            )
        return data

    def check_files(self) -> None:
        """See that every file is the one that the spec pins, also those that will not be used.

        Raises:
            ModelError: naming the first that is not, or that refers to data outside itself.
        """
        for variant in self.spec.graphs:
            self.read_graph(variant)
        spec = self.spec
        for pinned in (spec.golden.file, spec.card, spec.features, spec.training_table):
            if pinned is not None:
                self.read(pinned)

    def read_graph(self, variant: str) -> bytes:
        """Return a graph's bytes.

        Raises:
            ModelError: the model has no such graph, the file is changed, or it refers to data
                outside itself.
        """
        if variant not in self.spec.graphs:
            known = ", ".join(self.spec.graphs)
            raise ModelError(f"model {self.spec.name} has no {variant} graph; it has {known}")
        data = self.read(self.spec.graphs[variant])
        # ONNX keeps external data under the key "location", which no graph of ours contains.
        if b"location" in data:
            path = self.folder / self.spec.graphs[variant].file
            raise ModelError(f"{path} keeps weights in another file, which is refused; save as one")
        return data


def load_model(name_or_folder: str | Path | None = None) -> Model:
    """Find and read a model folder; its graphs are read, and checked, when a session opens.

    Args:
        name_or_folder: a folder, the name of a model that comes with ctcedge, or None for the
            default model.

    Raises:
        ModelError: not found, or its spec is not valid.
    """
    folder = _find(name_or_folder)
    path = folder / SPEC_NAME
    try:
        data = _read_plain(path, _MAX_SPEC_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    if data is None:
        raise ModelError(f"{path}: not a plain file of at most {_MAX_SPEC_BYTES:,} bytes")
    try:
        spec = strict.build(ModelSpec, json.loads(data))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: {error}") from None
    return Model(folder, spec, hashlib.sha256(data).hexdigest())


def models_folder() -> Path:
    """The folder of the models that come with ctcedge: in the package, or in a source checkout."""
    package = Path(__file__).parents[1]
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def shipped_models() -> list[str]:
    """Names of the models that come with ctcedge; the first is the default."""
    return sorted(path.parent.name for path in models_folder().glob(f"*/{SPEC_NAME}"))


def models_at_hand(given: Model | None = None) -> dict[str, Model]:
    """Models that may have made a call, by their hash: those that come with ctcedge, and another.

    Args:
        given: the other.
    """
    found = [] if given is None else [given]
    for name in shipped_models():
        with contextlib.suppress(ModelError):  # what made calls counts, not what is broken
            found.append(load_model(name))
    return {model.sha256: model for model in found}


def _read_plain(path: Path, most: int) -> bytes | None:
    """Return a file's bytes; None where it is no plain file, or a larger one.

    Links are followed, as package stores use them: what they lead to is pinned by its hash.
    """
    file = open_plain(path, follow=True)
    if file is None:
        return None
    with file:
        return file.read(most) if os.fstat(file.fileno()).st_size <= most else None


def _find(name_or_folder: str | Path | None) -> Path:
    names = shipped_models()
    if name_or_folder is None:
        if not names:
            raise ModelError(
                f"no model in {models_folder()}; reinstall ctcedge or give --model FOLDER"
            )
        return models_folder() / names[0]
    if Path(name_or_folder).is_dir():
        return Path(name_or_folder).resolve()
    if str(name_or_folder) in names:
        return models_folder() / str(name_or_folder)
    known = ", ".join(names) or "none"
    raise ModelError(f"no model folder or shipped model '{name_or_folder}' (shipped: {known})")
