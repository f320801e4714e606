"""Shape of an object's outline: compactness, and the separation of two cells that share one.

An outline is (n, 1, 2) int32, x and y of the pixels along it, as OpenCV's contours are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Outline = NDArray[np.int32]

_MIN_COMPACTNESS = 0.53
"""Fraction of its enclosing circle that a cell fills at least, be it part of an outline or all."""
_CONCAVITY = 0.025, 0.35
"""By what fraction the hull of two cells exceeds their outline; a larger one is that of a cell with
a pale part."""
_MIN_NOTCH_DEPTH = 0.8
"""Depth of a notch in an outline, in pixels."""
_MAX_NOTCHES = 4
"""How many of the deepest notches are considered."""
_MIN_PART = 0.1
"""Area of either part of an outline that two notches divide, as a fraction of the whole."""
_RIM = 1.2
"""How far outside a cell its outline is, in pixels."""


class _Division(NamedTuple):
    """An outline divided in two by the line between two of its points.

    Attributes:
        first: index of one point.
        second: index of the other, larger.
        half_width: half the distance between them.
        radii: of the discs that have the areas of the two parts and meet in the two points.
    """

    first: int
    second: int
    half_width: float
    radii: tuple[float, float]

    @property
    def relative_width(self) -> float:
        """Width over the diameter of the first disc."""
        return self.half_width / self.radii[0]


def is_compact(outline: Outline) -> bool:
    """Whether an outline fills its enclosing circle as a cell does, and is neither ragged nor long.

    Args:
        outline: closed, or a part of one.
    """
    radius = cv2.minEnclosingCircle(outline)[1]
    return cv2.contourArea(outline) >= _MIN_COMPACTNESS * math.pi * radius**2


def separation(outline: Outline) -> float | None:
    """Return the distance of two cells that share an outline, over the sum of their radii.

    Two discs are fitted that meet in two notches of the outline: about 1 where cells touch, less
    where they overlap, more where only their blurred rims join. The narrowest pair of notches
    counts that leaves a part of a cell's size on either side.

    Returns:
        None for an outline without such a pair, as that of one cell or of cells that overlap by
        half, or where a part is not a cell but ragged or a tail.
    """
    area = cv2.contourArea(outline)
    notches = _notches(outline, area)
    if (division := _narrowest(outline, area, notches)) is None:
        return None
    first, second, half_width, radii = division
    parts = outline[first : second + 1], np.concatenate((outline[second:], outline[: first + 1]))
    if not all(map(is_compact, parts)):
        return None
    distance = sum(math.sqrt(max(radius**2 - half_width**2, 0)) for radius in radii)
    return distance / sum(max(radius - _RIM, 1) for radius in radii)


def _notches(outline: Outline, area: float) -> list[int]:
    """Return the indices of the deepest points of an outline's notches, rising."""
    if area == 0:  # as along a line
        return []
    hull = np.asarray(cv2.convexHull(outline, returnPoints=False), np.int32)
    if not _CONCAVITY[0] <= cv2.contourArea(outline[hull[:, 0]]) / area - 1 <= _CONCAVITY[1]:
        return []
    try:
        defects = cv2.convexityDefects(outline, hull)
    except cv2.error:  # an outline that intersects itself
        return []
    if defects is None:
        return []
    deepest = sorted(defects.reshape(-1, 4).tolist(), key=lambda defect: -defect[3])[:_MAX_NOTCHES]
    # OpenCV gives depths in 1/256 of a pixel.
    return sorted(int(at) for _, _, at, depth in deepest if depth >= 256 * _MIN_NOTCH_DEPTH)


def _narrowest(outline: Outline, area: float, notches: Iterable[int]) -> _Division | None:
    narrowest: _Division | None = None
    for first, second in combinations(notches, 2):
        part = cv2.contourArea(outline[first : second + 1])
        part = min(part, area - part)
        if part < _MIN_PART * area:
            continue
        half_width = math.dist(outline[first, 0].tolist(), outline[second, 0].tolist()) / 2
        radii = _radius(part, half_width), _radius(area - part, half_width)
        division = _Division(first, second, half_width, radii)
        if narrowest is None or division.relative_width < narrowest.relative_width:
            narrowest = division
    return narrowest


def _radius(area: float, half_width: float) -> float:
    """Return the radius of a disc from which a chord of that half length cuts off an area."""
    radius = max(math.sqrt(area / math.pi), half_width)
    for _ in range(3):
        angle = math.asin(min(1.0, half_width / radius))
        sector = math.pi - angle + math.sin(angle) * math.cos(angle)
        radius = max(half_width, math.sqrt(area / sector))
    return radius
