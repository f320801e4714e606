"""A crop in small, as relative deviations from its background: where objects are looked for.

The background is not flat: light varies slowly over a crop, and electrodes run straight through it.
Both show alike at opposite edges of the crop, where cells seldom lie.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

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
_HEAVY = 2.3
"""Where lines are looked for: range of the ring's values, but for 3 % at either end, over that but
for 16 %; 1.9 for noise."""


class Backdrop(NamedTuple):
    """A crop in small, without the pattern that it lies on.

    Attributes:
        factor: edge length of a small pixel in pixels of the crop.
        level: the background's value.
        flat: relative deviation from it.
        ring: indices of every third pixel of the ring along the edge.
        middle: indices of pixels of the part where cells are looked for, a grid of every third.
    """

    factor: int
    level: float
    flat: Floats
    ring: NDArray[np.intp]
    middle: NDArray[np.intp]


def backdrop(pixels: GreyImage) -> Backdrop:
    """Shrink a crop, and take away what its opposite edges share.

    Slow courses add up, lines cross.

    Args:
        pixels: (height, width), uint8 or uint16, at least 8 pixels a side.
    """
    small, factor = _shrunk(pixels)
    frame = _frame(*small.shape)
    edges = frame.rows @ small, (small @ frame.columns).T
    slow = _minmod(edges[0] @ frame.along_x) + _minmod(edges[1] @ frame.along_y)
    small -= (np.array(slow, np.float32) @ frame.slow).reshape(small.shape)
    ring = small.take(frame.ring)
    ring.sort()
    low, calm, level, upper, high = (float(ring[place]) for place in frame.places)
    if high - low > max(_HEAVY * (upper - calm), _LEAST_LINES * level):
        _take_lines(small, frame, level)
    level = max(level, 1e-3)
    flat = np.asarray(cv2.addWeighted(small, 1 / level, small, 0, -1), np.float32)
    return Backdrop(factor, level, flat, frame.ring, frame.middle)


def _minmod(edges: NDArray[np.floating]) -> list[float]:
    """Return what two opposite edges, (2, n), have in common: the smaller, 0 where at odds."""
    pairs = zip(*edges.tolist(), strict=True)
    return [
        0.0 if one * other <= 0 else one if abs(one) < abs(other) else other for one, other in pairs
    ]


def _take_lines(field: Floats, frame: _Frame, level: float) -> None:
    """Take away straight lines, which opposite edges share; where two cross, the stronger."""
    along_x, along_y = _shared(frame.rows @ field), _shared((field @ frame.columns).T)
    if max(cv2.norm(along, cv2.NORM_INF) for along in (along_x, along_y)) > _LEAST_LINES * level:
        along_y = along_y[:, None]
        field -= np.where(np.abs(along_x) > np.abs(along_y), along_x, along_y)


def _shared(edges: Floats) -> Floats:
    """Return what two opposite edges, (2, n), have in common beside their medians."""
    half = edges.shape[1] // 2
    one, other = edges - np.partition(edges, half, axis=1)[:, half : half + 1]
    both: Floats = np.maximum(np.minimum(one, other), np.minimum(np.maximum(one, other), 0))
    return both


class _Frame(NamedTuple):
    """Places in a small picture, (h, w), and what is worked out once for each shape.

    Attributes:
        ring: see `Backdrop`.
        middle: see `Backdrop`.
        places: where in the sorted ring 3, 16, 50, 84 and 97 % lie below.
        rows: (2, h) weights that average the first and the last rows.
        columns: (w, 2) weights that average the first and the last columns.
        along_x: (w, 2), a slope and a bow along x, orthonormal.
        along_y: (h, 2), the same along y.
        slow: (4, h * w), pictures of these four.
    """

    ring: NDArray[np.intp]
    middle: NDArray[np.intp]
    places: tuple[int, ...]
    rows: Floats
    columns: Floats
    along_x: Floats
    along_y: Floats
    slow: Floats


@lru_cache(64)  # an export has crops of few sizes
def _frame(height: int, width: int) -> _Frame:
    edge = max(2, round(_RING * min(height, width)))
    places = np.arange(height * width).reshape(height, width)
    outside = np.ones((height, width), bool)
    outside[edge:-edge, edge:-edge] = False
    ring = places[outside][::3]
    top, left = height // 5, width // 5
    along_x, along_y = _courses(width), _courses(height)
    flat = np.ones((2, height, width), np.float32)
    return _Frame(
        ring,
        places[top : height - top : 3, left : width - left : 3].ravel(),
        tuple(round(share * (ring.size - 1)) for share in (0.03, 0.16, 0.5, 0.84, 0.97)),
        _ends(height, edge),
        np.ascontiguousarray(_ends(width, edge).T),
        along_x,
        along_y,
        np.concatenate((flat * along_x.T[:, None], flat * along_y.T[..., None])).reshape(4, -1),
    )


def _ends(size: int, edge: int) -> Floats:
    weights = np.zeros((2, size), np.float32)
    weights[0, :edge] = weights[1, -edge:] = 1 / edge
    return weights


def _courses(size: int) -> Floats:
    basis, _ = np.linalg.qr(np.linspace(-1, 1, size)[:, None] ** np.arange(3))
    return np.asarray(basis[:, 1:], np.float32)


def _shrunk(pixels: GreyImage) -> tuple[Floats, int]:
    height, width = pixels.shape
    factor = max(1, min(round(max(height, width) / _SIDE), min(height, width) // 8))
    if factor == 1:
        return pixels.astype(np.float32), 1
    rows, columns = height // factor, width // factor
    whole = pixels[: rows * factor, : columns * factor]
    small = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32), factor
