"""Check of a model's outputs on this machine against its stored reference outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcedge.classification.classifier import Classifier
from ctcedge.errors import ModelError
from ctcedge.fs.npz import read_npz
from ctcedge.images.types import MIN_SIDE
from ctcedge.model.folder import Model

_MAX_UNPACKED_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """The contents of golden.npz.

    Attributes:
        crops: (n, height, width) uint8, bright field as exported by an instrument.
        um_per_px: (n,) float64, um; None where the model has no um/px.
        probabilities: reference outputs by graph variant, (n,) float64.
    """

    crops: NDArray[np.uint8]
    um_per_px: NDArray[np.float64] | None
    probabilities: dict[str, NDArray[np.float64]]


def read_golden(model: Model) -> GoldenSet:
    """Read the model's golden crops.

    Raises:
        ModelError: the file is missing, changed or incomplete.
    """
    path = model.folder / model.spec.golden.file.file
    data = model.read(model.spec.golden.file)
    try:
        return _parse(data, with_um_per_px=model.spec.input.um_per_px is not None)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: {error}") from None


def _parse(data: bytes, *, with_um_per_px: bool) -> GoldenSet:
    prefix = "probability_"
    arrays = read_npz(data, _MAX_UNPACKED_BYTES)
    probabilities = {
        name.removeprefix(prefix): array.astype(np.float64, casting="safe")
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
    um_per_px = None
    if with_um_per_px:
        um_per_px = arrays["um_per_px"].astype(np.float64, casting="safe")
    crops = arrays["crops"]
    if crops.ndim != 3 or crops.dtype != np.uint8 or not len(crops):
        raise ValueError("'crops' must be (n, height, width) of uint8")
    if min(crops.shape[1:]) < MIN_SIDE:
        raise ValueError(f"'crops' must have at least {MIN_SIDE} pixels a side")
    if any(array.shape != (len(crops),) for array in probabilities.values()):
        raise ValueError("each crop needs one probability of each graph")
    if um_per_px is not None:
        if um_per_px.shape != (len(crops),):
            raise ValueError("each crop needs one um/px")
        if not ((um_per_px >= 0.01) & (um_per_px <= 20)).all():
            raise ValueError("um/px must lie between 0.01 and 20")
    return GoldenSet(crops, um_per_px, probabilities)


def max_difference(classifier: Classifier) -> float:
    """Return the maximum difference of a probability from its reference, for the graph in use.

    Raises:
        ModelError: there are no golden outputs for this graph.
    """
    golden = read_golden(classifier.model)
    variant = classifier.engine.variant
    if variant not in golden.probabilities:
        raise ModelError(f"model {classifier.model.spec.name} has no golden outputs for {variant}")
    scales = [None] * len(golden.crops) if golden.um_per_px is None else golden.um_per_px.tolist()
    probabilities = [
        classifier.classify([crop], um_per_px)[0].probability
        for crop, um_per_px in zip(golden.crops, scales, strict=True)
    ]
    return float(np.abs(np.array(probabilities) - golden.probabilities[variant]).max())


def verify(model: Model) -> float:
    """Check every pinned file's hash and the CPU graph's golden outputs.

    Returns:
        The largest difference of a probability.

    Raises:
        ModelError: a file is missing or changed, or an output differs by more than the tolerance.
    """
    # Opening the model checks its files.
    difference = max_difference(Classifier.open(model, "cpu"))
    if not difference <= model.spec.golden.tolerance:  # also when it is not a number
        raise ModelError(
            f"model {model.spec.name}: golden outputs differ by {difference:.6f} (at most"
            f" {model.spec.golden.tolerance:g}); this computer does not reproduce the model"
        )
    return difference
