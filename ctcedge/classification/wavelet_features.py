"""Multi-scale Haar wavelet energies, which change with focus and magnification."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ctcedge.images.preprocess import BACKGROUND_LEVEL

SCALES = 4
RINGS = 3
FEATURE_COUNT = SCALES * (RINGS + 1)
MIN_INPUT_SIDE = 2 ** (SCALES + 2)
"""Side of the smallest input that has the coarsest scale, in pixels."""

_FLOOR = 0.5  # added to squared differences of levels, so that a flat image has a logarithm


def wavelet_energies(inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure the Haar wavelet energies of network inputs.

    For each scale, finest first: half the logarithm of the mean squared difference along the
    diagonals, in three rings (the inner and outer half of the largest disk, and the corners), and
    of the difference between the diagonals, in the whole image.

    Args:
        inputs: (n, size, size), made by `preprocess.network_input`, of `LEAST_SIDE` or more.

    Returns:
        (n, MEASURES).
    """
    coarse = inputs.astype(np.float32) - np.float32(BACKGROUND_LEVEL)
    energies: list[NDArray[np.float32]] = []
    for _ in range(SCALES):
        side = coarse.shape[1] // 2 * 2
        upper, lower = coarse[:, :side:2, :side], coarse[:, 1:side:2, :side]
        a, b, c, d = upper[..., ::2], upper[..., 1::2], lower[..., ::2], lower[..., 1::2]
        falling, rising = a - d, b - c
        outer, inner = a + d, b + c
        energy = np.square(falling) + np.square(rising)
        energies.append(energy.reshape(len(inputs), -1) @ _rings(side // 2))
        energies.append(np.square(outer - inner).reshape(len(inputs), -1) @ _mean(side // 2))
        coarse = (outer + inner) / np.float32(4)
    measures: NDArray[np.float32] = np.log(np.hstack(energies) + np.float32(_FLOOR)) / 2
    return measures


@cache
def _mean(side: int) -> NDArray[np.float32]:
    """Weights, (side * side, 1), of the mean over a square."""
    return np.full((side * side, 1), 1 / side**2, np.float32)


@cache
def _rings(side: int) -> NDArray[np.float32]:
    """Weights, (side * side, RINGS), of the mean over each ring of a square."""
    offset = (np.arange(side) + 0.5) / side * 2 - 1
    radius = np.hypot(offset[:, None], offset[None, :]).ravel()
    ring = np.digitize(radius, [0.5, 1.0])
    inside = np.eye(RINGS, dtype=np.float32)[ring]
    weights: NDArray[np.float32] = inside / inside.sum(axis=0)
    return weights
