"""What there is to see in a crop, as the quality gate needs it: objects, their shape and sharpness.

An object is where the deviation from the background, or rather the local mean of its size, here
called energy, stands out from the ring along the crop's edge. Outlines are coarse: a small pixel is
one to three pixels of the crop, and some of the diffraction at a cell's rim lies within.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from ctcedge.backdrop import Backdrop, Floats, backdrop
from ctcedge.decode import GreyImage

_Box = tuple[slice, slice]

_OUTLINE = 5.5
"""Least energy of an object's pixels above the ring's, in standard deviations there."""
_OBJECT = 10.0
"""The same for the largest energy in an object. The noise of an empty crop reaches 4 to 10."""
_HALF = 0.33
"""Where the outline lies, as a share of the energy in the middle: weak halos stay outside."""
_LEAST_AREA = 0.004
"""Of an object, as a share of the picture."""
_NOTCHED = 0.04, 0.45
"""By how much the hull of several cells exceeds them; more is a cell of which a part is pale."""
_LEAST_NOTCH = 1.0
"""Depth of a notch in an outline, in small pixels."""
_NOTCHES = 5
"""How many of the deepest notches are looked at."""
_LEAST_PART = 0.15
"""Area of a part beside a waist, over the object's."""
_CLEAR = 2.0
"""Least energy of an object, over that of the noise, for its sharpness to be told."""
_PLAIN = 50.0
"""The same, from which on the noise's gradient does not matter."""
_STRIP = 5
"""Width of the strips that the noise's gradient is taken from, small pixels."""


@dataclass(frozen=True, slots=True)
class Object:
    """One thing in the picture; lengths in small pixels.

    Attributes:
        outline: (n, 1, 2) int32, x and y of the pixels along it.
        area: of what the outline encloses.
        box: rows and columns that it covers.
        sigmas: its largest energy above the ring's, in standard deviations there.
    """

    outline: NDArray[np.int32]
    area: float
    box: _Box
    sigmas: float

    @property
    def diameter(self) -> float:
        """Diameter of a disc of the same area."""
        return 2 * math.sqrt(self.area / math.pi)

    @property
    def sharpest(self) -> float:
        """Sharpness of a plain disc of its size in focus: small ones have few pixels to a side."""
        return math.sqrt(0.94 * self.diameter)

    @property
    def fill(self) -> float:
        """Share of its box."""
        rows, columns = self.box
        return float(self.area / ((rows.stop - rows.start) * (columns.stop - columns.start)))

    @property
    def is_round(self) -> bool:
        """Whether it fills its box about as a disc does, which two discs side by side do not."""
        high, wide = (int(side.stop - side.start) for side in self.box)
        return self.fill > 0.68 and max(high, wide) < 1.3 * min(high, wide)


@dataclass(frozen=True, slots=True)
class Sight:
    """A crop seen in small.

    Attributes:
        factor: edge length of a small pixel in pixels of the crop.
        level: the background's value.
        soft: smoothed relative deviation from the background.
        noise: standard deviation of `soft` without an object.
        sigmas: largest energy in the middle above the ring's, in standard deviations there.
        contrast: the same as a share of the background.
        unrest: what a quarter of the ring lies above, like `sigmas`: 1.3 for noise, more for a
            pattern or a cell that fills the crop.
        objects: the main one first: large, and near the middle.
    """

    factor: int
    level: float
    soft: Floats
    noise: float
    sigmas: float
    contrast: float
    unrest: float
    objects: tuple[Object, ...]


def look(pixels: GreyImage) -> Sight:
    """Find what lies in a crop.

    Args:
        pixels: (height, width), uint8 or uint16, at least 8 pixels a side.
    """
    behind = backdrop(pixels)
    soft = np.asarray(cv2.GaussianBlur(behind.flat, (5, 5), 1.0), np.float32)
    energy = np.asarray(cv2.GaussianBlur(np.abs(soft), (5, 5), 1.2), np.float32)
    rest = _Rest.of(energy, behind)
    return Sight(
        factor=behind.factor,
        level=behind.level,
        soft=soft,
        noise=1.25 * rest.base,
        sigmas=rest.sigmas(rest.highest),
        contrast=rest.highest,
        unrest=rest.sigmas(rest.upper),
        objects=_objects(energy, rest),
    )


def sharpness(sight: Sight, thing: Object) -> float | None:
    """Return how sharp an object is, whatever its size and contrast.

    The root mean square of the gradient over that of the deviation, both less what noise gives,
    times the diameter: 2.4 for a Gaussian blob, about 3 for a strongly blurred disc, and 6 to 20
    for cells whose inside shows. None where there is more noise than object.
    """
    box = sight.soft[thing.box]
    noise = sight.noise**2 * box.size
    deviating = _energy(box) - noise
    if deviating < _CLEAR * noise:
        return None
    steep = _energy(box[:, 1:] - box[:, :-1]) + _energy(box[1:] - box[:-1])
    if deviating < _PLAIN * noise:
        steep -= _steepness(sight.soft) * box.size
    return math.sqrt(max(steep, 0.0) / deviating) * thing.diameter


def _energy(values: Floats) -> float:
    flat = values.ravel()
    return float(np.dot(flat, flat))


def waist(thing: Object) -> float | None:
    """Return how narrow an object is between two notches of its outline.

    The distance of the notches, over the diameter of a disc of the smaller part's area: below 0.4
    where only blurred rims join two cells, about 0.7 where two cells touch, 0.9 where they overlap
    by a quarter. The narrowest pair of notches counts that leaves a part of a cell's size on either
    side. None for an outline without such a pair, as that of cells that overlap by half.
    """
    if thing.is_round:
        return None
    outline, whole = thing.outline, cv2.contourArea(thing.outline)
    hull = np.asarray(cv2.convexHull(outline, returnPoints=False), np.int32)
    if not _NOTCHED[0] <= cv2.contourArea(outline[hull[:, 0]]) / whole - 1 <= _NOTCHED[1]:
        return None
    try:
        notches = cv2.convexityDefects(outline, hull)
    except cv2.error:  # an outline that meets itself
        return None
    if notches is None:
        return None
    found = sorted(notches.reshape(-1, 4).tolist(), key=lambda notch: -notch[3])[:_NOTCHES]
    deep = sorted(int(place) for _, _, place, depth in found if depth >= 256 * _LEAST_NOTCH)
    widths = []
    for one, other in combinations(deep, 2):
        part = cv2.contourArea(outline[one : other + 1])
        part = min(part, whole - part)
        if part >= _LEAST_PART * whole:
            apart = math.dist(outline[one, 0].tolist(), outline[other, 0].tolist()) + 1
            widths.append(apart / (2 * math.sqrt(part / math.pi)))
    return min(widths, default=None)


def edge_share(sight: Sight, thing: Object) -> float:
    """Return the longest stretch of the picture's edge in an object, over its diameter."""
    rows, columns = thing.box
    height, width = sight.soft.shape
    x, y = thing.outline[:, 0, 0], thing.outline[:, 0, 1]
    edges = []
    if rows.start == 0:
        edges.append(y == 0)
    if rows.stop == height:
        edges.append(y == height - 1)
    if columns.start == 0:
        edges.append(x == 0)
    if columns.stop == width:
        edges.append(x == width - 1)
    return max((int(np.count_nonzero(edge)) for edge in edges), default=0) / thing.diameter


def _steepness(soft: Floats) -> float:
    """Mean squared gradient along the quieter of two edges, for both directions."""
    strips = soft[:_STRIP], soft[-_STRIP:]
    return 2 * min(_energy(strip[:, 1:] - strip[:, :-1]) / strip.size for strip in strips)


@dataclass(frozen=True, slots=True)
class _Rest:
    """How the energy is where no object is, told from the ring's quieter part.

    Attributes:
        base: its value there.
        spread: its standard deviation.
        upper: what a quarter of the ring lies above, less the base.
        highest: largest value in the middle, less the base.
        outline: value at an object's outline; a restless ring raises it.
    """

    base: float
    spread: float
    upper: float
    highest: float
    outline: float

    @classmethod
    def of(cls, energy: Floats, behind: Backdrop) -> _Rest:
        ring, inner = energy.take(behind.ring), energy[behind.middle].ravel()
        low, calm, upper = (round(share * (ring.size - 1)) for share in (0.08, 0.35, 0.75))
        ring.partition((low, calm, upper))
        base = float(ring[calm])
        # Of a normal variable, these two are a standard deviation apart.
        spread = max(base - float(ring[low]), 0.1 * base, 0.001)
        place = round(0.96 * (inner.size - 1))
        inner.partition(place)
        peak, restless = float(inner[place]) - base, float(ring[upper]) - base
        outline = max(_OUTLINE * spread, min(max(_HALF * peak, 1.3 * restless), 0.5 * peak))
        return cls(base, spread, restless, float(inner[place:].max()) - base, base + outline)

    def sigmas(self, value: float) -> float:
        return value / self.spread


def _objects(energy: Floats, rest: _Rest) -> tuple[Object, ...]:
    """Outline what is large and clear enough."""
    height, width = energy.shape
    mask = (energy > rest.outline).view(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    least = max(6, _LEAST_AREA * mask.size)
    reach = 0.175 * max(height, width)
    found = []
    for outline in outlines:
        # An outline runs through the middle of its pixels.
        area = cv2.contourArea(outline) + len(outline) / 2
        if area < least:
            continue
        left, top, wide, high = cv2.boundingRect(outline)
        box = slice(top, top + high), slice(left, left + wide)
        sigmas = rest.sigmas(float(energy[box].max()) - rest.base)
        if sigmas >= _OBJECT:
            far = math.hypot(left + (wide - width) / 2, top + (high - height) / 2)
            found.append(
                (
                    area / (1 + (far / reach) ** 2),
                    Object(np.asarray(outline, np.int32), area, box, sigmas),
                )
            )
    found.sort(key=lambda each: -each[0])
    return tuple(thing for _, thing in found)
