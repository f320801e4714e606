"""Class-activation maps (Zhou et al., 2016): contribution of each image region to the logit."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ctcedge.errors import ModelError
from ctcedge.images.preprocess import BACKGROUND_LEVEL

_SHIFTS = 4
"""Shifts of an image within one field of the network's last feature maps, along each axis."""


class HasActivation(Protocol):
    """An engine that returns the network's own maps, such as `session.Engine`."""

    def activation(self, inputs: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Return (n, h, w) maps of (n, size, size) inputs; None where the graph has none."""


def activation_maps(engine: HasActivation, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute class-activation maps; values above zero are evidence for a CTC.

    The network's last feature maps are coarse: each value covers a field of 32 px. The network is
    therefore also run on the image shifted by fractions of a field, padded with background, and
    the maps are interleaved (Giusti et al., 2013), so that each value belongs to a field centred
    there. Values still depend on their surroundings, as fields overlap and the network sees beyond
    a field's edges. The network runs 16 times, so this is for the few cells that a person views.

    Args:
        engine: engine of a model whose graphs return activation maps.
        inputs: (n, size, size), made by `preprocess.network_input`.

    Returns:
        (n, h, w) float32, in units of the logit, over the whole input: 8 x 8 for one of 64 px.

    Raises:
        ModelError: the model's graphs have no such output.
    """
    coarse = _coarse_maps(engine, inputs[:1])
    fields = np.array(coarse.shape[1:])
    offsets = [
        np.rint(((step + 0.5) / _SHIFTS - 0.5) * inputs.shape[1] / fields).astype(int)
        for step in range(_SHIFTS)
    ]
    fine = np.empty((len(inputs), *(_SHIFTS * fields)), np.float32)
    for row, (down, _) in enumerate(offsets):
        for column, (_, right) in enumerate(offsets):
            maps = _coarse_maps(engine, _shifted(inputs, down, right))
            fine[:, row::_SHIFTS, column::_SHIFTS] = maps
    return fine


def _coarse_maps(engine: HasActivation, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
    maps = engine.activation(inputs)
    if maps is None:
        raise ModelError(
            "this model cannot compute activation maps: its graphs have no output 'activation';"
            " export it again with 'ctcedge-train export'"
        )
    return maps


def _shifted(inputs: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    """Return images shifted up and left by so many pixels, padded with background."""
    margin = max(abs(down), abs(right))
    padded = np.pad(
        inputs, ((0, 0), (margin, margin), (margin, margin)), constant_values=BACKGROUND_LEVEL
    )
    size = inputs.shape[1]
    return padded[:, margin + down :, margin + right :][:, :size, :size]
