"""What there is to see in a crop, as the quality gate needs it: objects, their shape and sharpness.

An object is where the deviation from the background, or rather the local mean of its size, here
called energy, stands out from the ring along the crop's edge. Outlines are coarse: a small pixel is
one to three pixels of the crop, and some of the diffraction at a cell's rim lies within.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ctcedge.images.batching import map_same_shape, take_pixels
from ctcedge.images.decode import GreyImage
from ctcedge.quality.background import Backdrop, Floats, backdrop, shrunk

_Box = tuple[slice, slice]

_OUTLINE = 6.5
"""Least energy of an object's pixels above the ring's, in standard deviations there."""
_OBJECT = 8.0
"""The same for the largest energy in an object. The noise of an empty crop reaches 4 to 8."""
_HALF = 0.33
"""Where the outline lies, as a share of the energy in the middle: weak halos stay outside."""
_PALE = 0.12
"""The same where a paler cell beside the main one is looked for."""
_LITTLE = 1.4
"""Largest area of what is found so, over that of a single round cell's outline."""
_LEAST_AREA = 0.004
"""Of an object, as a share of the picture."""
_NOTCHED = 0.025, 0.35
"""By how much the hull of several cells exceeds them; more is a cell of which a part is pale."""
_LEAST_NOTCH = 0.8
"""Depth of a notch in an outline, in small pixels."""
_NOTCHES = 4
"""How many of the deepest notches are looked at."""
_LEAST_PART = 0.1
"""Area of a part beside two notches, over the object's."""
_COMPACT = 0.53
"""Least share of its enclosing circle that a cell fills, be it a part of an outline or all."""
_OUTSIDE = 1.2
"""How far outside a cell its outline lies, in small pixels."""
_CLEAR = 2.0
"""Least energy of an object, over that of the noise, for its sharpness to be told."""
_PLAIN = 50.0
"""The same, from which on the noise's gradient matters to blurred objects alone."""
_CRISP = 6.0
"""Least sharpness of objects that are not blurred."""
_STRIP = 5
"""Width of the strips that the noise's gradient is taken from, small pixels."""


class Object(NamedTuple):
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
    def is_compact(self) -> bool:
        return _is_compact(self.outline)

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
        return self.fill > 0.72 and max(high, wide) < 1.2 * min(high, wide)


class Rest(NamedTuple):
    """How the energy is where no object is, told from the ring's quieter part.

    Attributes:
        base: its value there.
        spread: its standard deviation.
        upper: what a quarter of the ring lies above, less the base.
        peak: value that hardly more than a cell's brightest spots exceed, less the base.
        highest: largest value in the middle, less the base.
    """

    base: float
    spread: float
    upper: float
    peak: float
    highest: float

    @classmethod
    def of(cls, energy: Floats, behind: Backdrop) -> list[Rest]:
        """Tell it of each energy of (n, h, w)."""
        ring, middle = take_pixels(energy, behind.ring), take_pixels(energy, behind.middle)
        ring.sort(axis=1)
        middle.sort(axis=1)
        last = ring.shape[1] - 1
        low, base, upper = (ring[:, round(share * last)] for share in (0.08, 0.35, 0.75))
        peak, highest = middle[:, round(0.96 * (middle.shape[1] - 1))], middle[:, -1]
        values = (each.tolist() for each in (low, base, upper, peak, highest))
        return [cls._told(*each) for each in zip(*values, strict=True)]

    @classmethod
    def _told(cls, low: float, base: float, upper: float, peak: float, highest: float) -> Rest:
        # Of a normal variable, the first two are a standard deviation apart.
        spread = max(base - low, 0.1 * base, 0.001)
        return cls(base, spread, upper - base, peak - base, highest - base)

    def sigmas(self, value: float) -> float:
        return value / self.spread

    def outline(self, share: float) -> float:
        """Return the energy at outlines for a share of the peak; a restless ring raises it."""
        least = min(max(share * self.peak, 1.3 * self.upper), 0.5 * self.peak)
        return self.base + max(_OUTLINE * self.spread, least)


class Sight(NamedTuple):
    """A crop seen in small.

    Attributes:
        level: the background's value.
        soft: smoothed relative deviation from the background.
        energy: local mean of its size.
        rest: how the energy is where no object is.
        noise: standard deviation of `soft` without an object.
        sigmas: largest energy in the middle above the ring's, in standard deviations there.
        contrast: the same as a share of the background.
        unrest: what a quarter of the ring lies above, like `sigmas`: 1.3 for noise, more for a
            pattern or a cell that fills the crop.
        objects: the main one first: large, and near the middle.
    """

    level: float
    soft: Floats
    energy: Floats
    rest: Rest
    noise: float
    sigmas: float
    contrast: float
    unrest: float
    objects: tuple[Object, ...]


def look(crops: Sequence[GreyImage]) -> list[Sight]:
    """Find what lies in crops; each comes out as it would alone.

    Args:
        crops: each (height, width), uint8 or uint16, at least 8 pixels a side.
    """
    return map_same_shape(_sights, [shrunk(pixels) for pixels in crops])


def _sights(small: GreyImage) -> list[Sight]:
    """Look at (n, h, w), made by `shrunk`."""
    behind = backdrop(small)
    soft = _filtered(behind.flat, lambda rows: cv2.GaussianBlur(rows, (3, 3), 0.8))
    energy = _filtered(np.abs(soft), lambda rows: cv2.blur(rows, (3, 3)))
    rests = Rest.of(energy, behind)
    outlines = np.array([rest.outline(_HALF) for rest in rests], np.float32)
    masks = energy > outlines[:, None, None]
    return [_sight(*each) for each in zip(behind.levels, soft, energy, rests, masks, strict=True)]


def _filtered(pictures: Floats, filtering: Callable[[Floats], NDArray[Any]]) -> Floats:
    """Filter each of (n, h, w), 3 by 3: one above the other, rows that mirror it between them."""
    number, height, width = pictures.shape
    apart = np.empty((number, height + 2, width), np.float32)
    apart[:, 1:-1] = pictures
    apart[:, 0], apart[:, -1] = pictures[:, 1], pictures[:, -2]
    filtered: Floats = filtering(apart.reshape(-1, width)).reshape(apart.shape)
    return filtered[:, 1:-1]


def _sight(
    level: float, soft: Floats, energy: Floats, rest: Rest, mask: NDArray[np.bool_]
) -> Sight:
    return Sight(
        level=level,
        soft=soft,
        energy=energy,
        rest=rest,
        noise=1.25 * rest.base,
        sigmas=rest.sigmas(rest.highest),
        contrast=rest.highest,
        unrest=rest.sigmas(rest.upper),
        objects=_objects(mask, energy, rest),
    )


def sharpness(sight: Sight, thing: Object) -> float | None:
    """Return how sharp an object is, whatever its size and contrast.

    The root mean square of the gradient over that of the deviation, both less what noise gives,
    times the diameter: 2.4 for a Gaussian blob, about 3 for a strongly blurred disc, and 6 to 20
    for cells whose inside shows. None where there is more noise than object.
    """
    box = sight.soft[thing.box]
    noise = sight.noise**2 * box.size
    deviating = cv2.norm(box, cv2.NORM_L2SQR) - noise
    if deviating < _CLEAR * noise:
        return None
    steep = _gradient(box) + cv2.norm(box[1:], box[:-1], cv2.NORM_L2SQR)
    if steep * thing.diameter**2 < _CRISP**2 * deviating or deviating < _PLAIN * noise:
        strips = sight.soft[:_STRIP], sight.soft[-_STRIP:]
        # Along the quieter of two edges, for both directions.
        steep -= 2 * min(map(_gradient, strips)) / strips[0].size * box.size
    return math.sqrt(max(steep, 0.0) / deviating) * thing.diameter


def _gradient(values: Floats) -> float:
    return cv2.norm(values[:, 1:], values[:, :-1], cv2.NORM_L2SQR)


def with_paler(sight: Sight) -> tuple[Object, ...]:
    """Return the objects again, with what is paler than the main one; none where it is alone."""
    main, mask = sight.objects[0], sight.energy > sight.rest.outline(_PALE)
    if main.is_round and np.count_nonzero(mask) < _LITTLE * main.area:
        return ()
    return _objects(mask, sight.energy, sight.rest)


def distance(thing: Object) -> float | None:
    """Return how far apart two cells lie that share an outline, over the sum of their radii.

    Two discs are fitted that meet in two notches of the outline: about 1 where cells touch, less
    where they overlap, more where only blurred rims join them. The narrowest pair of notches counts
    that leaves a part of a cell's size on either side. None for an outline without such a pair, as
    that of cells that overlap by half, or where a part is no cell, but ragged or a tail.
    """
    outline, whole = thing.outline, cv2.contourArea(thing.outline)
    if thing.is_round or whole == 0:  # as along a line
        return None
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
    narrowest, where = math.inf, None
    for one, other in combinations(deep, 2):
        part = cv2.contourArea(outline[one : other + 1])
        part = min(part, whole - part)
        if part < _LEAST_PART * whole:
            continue
        half = math.dist(outline[one, 0].tolist(), outline[other, 0].tolist()) / 2
        radii = _radius(part, half), _radius(whole - part, half)
        if half / radii[0] < narrowest:
            narrowest, where = half / radii[0], (one, other, half, radii)
    if where is None:
        return None
    one, other, half, radii = where
    parts = outline[one : other + 1], np.concatenate((outline[other:], outline[: one + 1]))
    if not all(map(_is_compact, parts)):
        return None
    between = sum(math.sqrt(max(radius**2 - half**2, 0)) for radius in radii)
    return between / sum(max(radius - _OUTSIDE, 1) for radius in radii)


def _is_compact(outline: NDArray[np.int32]) -> bool:
    radius = cv2.minEnclosingCircle(outline)[1]
    return cv2.contourArea(outline) >= _COMPACT * math.pi * radius**2


def _radius(area: float, half: float) -> float:
    """Return the radius of a disc of which a chord, of half that length, leaves an area."""
    radius = max(math.sqrt(area / math.pi), half)
    for _ in range(3):
        turn = math.asin(min(1.0, half / radius))
        sector = math.pi - turn + math.sin(turn) * math.cos(turn)
        radius = max(half, math.sqrt(area / sector))
    return radius


def edge_share(sight: Sight, thing: Object) -> float:
    """Return the longest stretch of the picture's edge in an object, over its diameter."""
    rows, columns = thing.box
    height, width = sight.soft.shape
    if rows.start and columns.start and rows.stop < height and columns.stop < width:
        return 0.0
    x, y = thing.outline[:, 0, 0], thing.outline[:, 0, 1]
    edges = (
        (rows.start == 0, y, 0),
        (rows.stop == height, y, height - 1),
        (columns.start == 0, x, 0),
        (columns.stop == width, x, width - 1),
    )
    longest = max((np.count_nonzero(at == edge) for met, at, edge in edges if met), default=0)
    return int(longest) / thing.diameter


def _objects(mask: NDArray[np.bool_], energy: Floats, rest: Rest) -> tuple[Object, ...]:
    """Outline what is large and clear enough within a mask, (h, w), of high energy."""
    height, width = energy.shape
    outlines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    least = max(6, _LEAST_AREA * mask.size)
    reach = 0.175 * max(height, width)
    found = []
    for outline in outlines:
        length = len(outline)
        if length**2 < 4 * math.pi * least / 3:  # too short to enclose that much
            continue
        # An outline runs through the middle of its pixels.
        area = cv2.contourArea(outline) + length / 2
        if area < least:
            continue
        left, top, wide, high = cv2.boundingRect(outline)
        box = slice(top, top + high), slice(left, left + wide)
        sigmas = rest.sigmas(cv2.minMaxLoc(energy[box])[1] - rest.base)
        if sigmas >= _OBJECT:
            far = math.hypot(left + (wide - width) / 2, top + (high - height) / 2)
            thing = Object(np.asarray(outline, np.int32), area, box, sigmas)
            found.append((area / (1 + (far / reach) ** 2), thing))
    found.sort(key=lambda each: -each[0])
    return tuple(thing for _, thing in found)
