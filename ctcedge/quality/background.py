"""Crops in small, as relative deviations from their background: where objects are looked for.

The background is not flat: light varies slowly over a crop, and electrodes run straight through it.
Both show alike at opposite edges of the crop, where cells seldom lie.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ctcedge.images.batching import take_pixels
from ctcedge.images.decode import GreyImage

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
    """Crops in small, all of one shape, without the pattern that they lie on.

    Attributes:
        levels: the background's value of each.
        flat: (n, h, w), relative deviation from it.
        ring: indices of every third pixel of the ring along the edge.
        middle: indices of pixels of the part where cells are looked for, a grid of every third.
    """

    levels: list[float]
    flat: Floats
    ring: NDArray[np.intp]
    middle: NDArray[np.intp]


@lru_cache(64)  # an export has crops of few sizes
def shrinkage(height: int, width: int) -> int:
    """Return the edge length of a small pixel, in pixels of a crop of this shape."""
    return max(1, min(round(max(height, width) / _SIDE), min(height, width) // 8))


def shrunk(pixels: GreyImage) -> GreyImage:
    """Shrink a crop, (height, width) of at least 8 pixels a side, by its `shrinkage`."""
    height, width = pixels.shape
    factor = shrinkage(height, width)
    if factor == 1:
        return pixels
    rows, columns = height // factor, width // factor
    whole = pixels[: rows * factor, : columns * factor]
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def backdrop(small: GreyImage) -> Backdrop:
    """Take away what the opposite edges of each crop share.

    Slow courses add up, lines cross. What comes out for a crop does not depend on the others.

    Args:
        small: (n, h, w), uint8 or uint16, made by `shrunk`.
    """
    frame = _frame(*small.shape[1:])
    fields = small.astype(np.float32)
    along_x = frame.rows @ fields @ frame.along_x
    along_y = (fields @ frame.columns).swapaxes(1, 2) @ frame.along_y
    edges = np.concatenate((along_x, along_y), axis=2)
    slow = _in_common(edges[:, 0], edges[:, 1])
    fields -= (slow[:, None] @ frame.slow).reshape(fields.shape)
    rings = take_pixels(fields, frame.ring)
    rings.sort(axis=1)
    levels = []
    for field, values in zip(fields, rings.take(frame.places, axis=1).tolist(), strict=True):
        low, calm, level, upper, high = values
        if high - low > max(_HEAVY * (upper - calm), _LEAST_LINES * level):
            _take_lines(field, frame, level)
        levels.append(max(level, 1e-3))
    fields *= np.array([1 / level for level in levels], np.float32)[:, None, None]
    fields -= 1
    return Backdrop(levels, fields, frame.ring, frame.middle)


def _in_common(one: NDArray[Any], other: NDArray[Any]) -> Floats:
    """Return the smaller of two values of the same sign; 0 where they are at odds."""
    both: Floats = np.maximum(np.minimum(one, other), np.minimum(np.maximum(one, other), 0))
    return both


def _take_lines(field: Floats, frame: _Frame, level: float) -> None:
    """Take away straight lines, which opposite edges share; where two cross, the stronger."""
    along_x, along_y = _shared(frame.rows @ field), _shared((field @ frame.columns).T)
    if max(cv2.norm(along, cv2.NORM_INF) for along in (along_x, along_y)) > _LEAST_LINES * level:
        along_y = along_y[:, None]
        field -= np.where(np.abs(along_x) > np.abs(along_y), along_x, along_y)


def _shared(edges: Floats) -> Floats:
    """Return what two opposite edges, (2, n), have in common beside their medians."""
    half = edges.shape[1] // 2
    return _in_common(*(edges - np.partition(edges, half, axis=1)[:, half : half + 1]))


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
    places: NDArray[np.intp]
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
        np.array([round(share * (ring.size - 1)) for share in (0.03, 0.16, 0.5, 0.84, 0.97)]),
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
