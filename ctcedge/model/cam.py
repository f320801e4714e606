"""Where in an image the logit comes from: class-activation maps (Zhou et al., 2016)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ctcedge.errors import ModelError
from ctcedge.images.preprocess import BACKGROUND_LEVEL

_STEPS = 4
"""Places to which an image is moved within one field of the network's last maps, along an edge."""


class Explaining(Protocol):
    """What gives the network's own maps, as `engine.Engine` does."""

    def activation(self, inputs: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Return (n, h, w) maps of (n, size, size) inputs; None where the graph gives none."""


def activation_maps(engine: Explaining, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Say where in each image the logit comes from: above zero speaks for a CTC.

    The network's last maps are coarse: each value is of a field of 32 px. So the network also sees
    the image moved by parts of a field, filled up with background, and the maps are interleaved
    (Giusti et al., 2013): each value is what the network gives for a field whose centre lies there.
    A place still speaks for its surroundings too, for fields overlap, and each looks beyond its
    edges. The network runs 16 times: this is for the few cells that a person looks at.

    Args:
        engine: of a model whose graphs give activation maps.
        inputs: (n, size, size), made by `preprocess.network_input`.

    Returns:
        (n, h, w) float32, units of the logit, over the whole input: 8 x 8 for one of 64 px.

    Raises:
        ModelError: the model's graphs give no activation maps.
    """
    coarse = _own_maps(engine, inputs[:1])
    fields = np.array(coarse.shape[1:])
    offsets = [
        np.rint(((step + 0.5) / _STEPS - 0.5) * inputs.shape[1] / fields).astype(int)
        for step in range(_STEPS)
    ]
    fine = np.empty((len(inputs), *(_STEPS * fields)), np.float32)
    for row, (down, _) in enumerate(offsets):
        for column, (_, right) in enumerate(offsets):
            maps = _own_maps(engine, _window(inputs, down, right))
            fine[:, row::_STEPS, column::_STEPS] = maps
    return fine


def _own_maps(engine: Explaining, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
    maps = engine.activation(inputs)
    if maps is None:
        raise ModelError(
            "this model cannot show where its calls come from: its graphs give no 'activation';"
            " export it anew with 'python -m train export'"
        )
    return maps


def _window(inputs: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    """Look at images through a window that lies so many pixels further down and right."""
    reach = max(abs(down), abs(right))
    wide = np.pad(
        inputs, ((0, 0), (reach, reach), (reach, reach)), constant_values=BACKGROUND_LEVEL
    )
    size = inputs.shape[1]
    return wide[:, reach + down :, reach + right :][:, :size, :size]
