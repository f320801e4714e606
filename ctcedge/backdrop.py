"""A crop in small, as relative deviations from its background: where objects are looked for.

The background is not flat: light varies slowly over a crop, and electrodes run straight through it.
Both show alike at opposite edges of the crop, where cells seldom lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ctcedge.decode import GreyImage

Floats = NDArray[np.float32]

_SIDE = 48
"""Wanted size of the small picture; whole pixels are averaged, so that 32 to 72 come out."""
_RING = 0.1
"""Width of the ring along the edge, as a share of the shorter side."""
_LEAST_LINES = 0.02
"""Relative deviation from which on straight lines are taken away."""


@dataclass(frozen=True, slots=True)
class Backdrop:
    """A crop in small, without the pattern that it lies on.

    Attributes:
        factor: edge length of a small pixel in pixels of the crop.
        level: the background's value.
        flat: relative deviation from it.
        ring: indices of every other pixel of the ring along the edge.
        middle: every other row and column of the part where cells are looked for.
    """

    factor: int
    level: float
    flat: Floats
    ring: NDArray[np.intp]
    middle: tuple[slice, slice]


def backdrop(pixels: GreyImage) -> Backdrop:
    """Shrink a crop, and take away what its opposite edges share.

    Args:
        pixels: (height, width), uint8 or uint16, at least 8 pixels a side.
    """
    small, factor = _shrunk(pixels)
    frame = _frame(*small.shape)
    level = max(_median(small.take(frame.ring)), 1e-3)
    small *= np.float32(1 / level)
    return Backdrop(factor, level, _flattened(small, frame), frame.ring, frame.middle)


@dataclass(frozen=True, slots=True)
class _Frame:
    """Places in a small picture, worked out once for each shape.

    Attributes:
        ring: indices of every other pixel of it.
        middle: every other row and column of the part where cells are looked for.
        edges: (2, n) weights that average the first and last pixels along an axis, for either axis.
        parabolas: (n, n) matrices that fit a parabola along an axis.
    """

    ring: NDArray[np.intp]
    middle: tuple[slice, slice]
    edges: tuple[Floats, Floats]
    parabolas: tuple[Floats, Floats]


@cache
def _frame(height: int, width: int) -> _Frame:
    ring = max(2, round(_RING * min(height, width)))
    places = np.arange(height * width).reshape(height, width)
    outside = np.ones((height, width), bool)
    outside[ring:-ring, ring:-ring] = False
    middle = slice(height // 5, height - height // 5, 2), slice(width // 5, width - width // 5, 2)
    return _Frame(
        places[outside][::2],
        middle,
        (_edges(height, ring), _edges(width, ring)),
        (_parabola(height), _parabola(width)),
    )


def _edges(size: int, ring: int) -> Floats:
    weights = np.zeros((2, size), np.float32)
    weights[0, :ring] = weights[1, -ring:] = 1 / ring
    return weights


def _parabola(size: int) -> Floats:
    axis = np.linspace(-1, 1, size)
    basis, _ = np.linalg.qr(np.stack([np.ones(size), axis, axis**2], 1))
    return np.asarray(basis @ basis.T, np.float32)


def _shrunk(pixels: GreyImage) -> tuple[Floats, int]:
    height, width = pixels.shape
    factor = max(1, min(round(max(height, width) / _SIDE), min(height, width) // 8))
    if factor == 1:
        return pixels.astype(np.float32), 1
    rows, columns = height // factor, width // factor
    whole = pixels[: rows * factor, : columns * factor]
    small = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32), factor


def _median(values: Floats) -> float:
    half = values.size // 2
    values.partition(half)
    return float(values[half])


def _flattened(field: Floats, frame: _Frame) -> Floats:
    """Take away what the picture's opposite edges share: slow courses add up, lines cross."""
    along_x = _shared(frame.edges[0] @ field)
    along_y = _shared((field @ frame.edges[1].T).T)
    slow_x, slow_y = frame.parabolas[1] @ along_x, frame.parabolas[0] @ along_y
    along_x -= slow_x
    along_y -= slow_y
    flat: Floats = field - slow_x
    flat -= slow_y[:, None]
    if max(along_x.max(), -along_x.min(), along_y.max(), -along_y.min()) > _LEAST_LINES:
        lines_y = along_y[:, None]
        flat -= np.where(np.abs(along_x) > np.abs(lines_y), along_x, lines_y)
    flat -= _median(flat.take(frame.ring))
    return flat


def _shared(edges: Floats) -> Floats:
    """Return what two opposite edges, (2, n), have in common: less where they differ, 0 at odds."""
    half = edges.shape[1] // 2
    one, other = edges - np.partition(edges, half, axis=1)[:, half : half + 1]
    both: Floats = np.maximum(np.minimum(one, other), 0)
    both += np.minimum(np.maximum(one, other), 0)
    return both
