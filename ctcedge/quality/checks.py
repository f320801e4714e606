"""The quality gate: what makes a crop unfit to be called by a network alone.

A gated crop keeps its probability and goes to a person, with reasons:

    empty             no cell is to be seen
    out-of-focus      the cell is a blur without an edge
    truncated         the cell reaches over the crop's edge
    debris            too small for a cell, alive or dead
    under-exposed     next to no light, or pixels at zero
    over-exposed      pixels pile up at the largest value
    low-resolution    crop or scale are too coarse to judge a cell
    multiple-objects  another object of a cell's size is in view, apart from the first
    overlap           cells lie on top of each other

Touching cells are a `cluster`, which is a flag and no reason. The three are told apart by how far
apart the two cells lie, over the sum of their radii.

Rules on true sizes, as that of debris, need um/px, and are left out where nobody knows it.

The thresholds were chosen on simulated and real crops so that ordinary cells pass: a gate that
sends everything to review is of no use. What cannot be told is left alone: a dead cell or debris of
a live cell's size, cells that lie half or more on each other, a cell far paler than the one beside
it, and an empty cage whose electrodes look like an object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ctcedge.images.decode import GreyImage
from ctcedge.images.preprocess import BACKGROUND_LEVEL, InputSpec
from ctcedge.quality.background import shrinkage
from ctcedge.quality.segmentation import (
    Object,
    Sight,
    distance,
    edge_share,
    look,
    sharpness,
    with_paler,
)

QUALITY_VERSION = "quality/2"
"""Names the rules below; part of what a stored call depends on."""

_LEAST_SIDE = 20
"""Pixels of the crop's shorter side."""
_LARGEST_ZOOM = 2.5
"""Input pixels to a pixel of the crop: at 0.5 um/px of the model, 1.25 um/px."""
_BLANK = 2
"""Levels of the network's input about the background's."""
_EMPTY_SIGMAS = 9.0
_EMPTY_CONTRAST = 0.12
"""Largest energy, as a share of the background, that noise may make."""
_CALM = 2.2
"""Largest unrest of the ring of an empty crop."""
_CUT_SIGMAS = 12.0
_BLUR_SIGMAS = 18.0
"""How far a cell must stand out for its blur to be told from the noise."""
_SHAPE_SIGMAS = 24.0
"""The same for its outline."""
_LEAST_SHARPNESS = 3.3
_LEAST_OF_SHARPEST = 0.85
"""The same, over that of a plain disc of the cell's size in focus."""
_LEAST_UM = 6.0
"""Diameter of the outline, which lies about 1 um outside: small leukocytes have 5 um and more."""
_LEAST_NEIGHBOUR_UM = 7.8
"""The same of the outline that a paler cell has too, which lies farther outside."""
_CUT = 0.45
"""Stretch of the crop's edge that lies in a cell, over its diameter."""
_NEIGHBOUR = 0.35
"""Area of a neighbour, over the cell's."""
_OVERLAPPING, _TOUCHING, _APART = 0.58, 0.74, 1.0
"""Least distance of overlapping cells, of touching ones, and of neighbours, over their radii."""
_DARK = 0.04
"""Least background, as a share of the full range."""
_BLACK = 0.02
"""Largest share of pixels at zero."""
_PILED = 0.04
"""Largest share of pixels at the largest value."""


class Quality(NamedTuple):
    """What the gate found.

    Attributes:
        reasons: codes; none for a crop that passes.
        cluster: whether cells touch.
        measures: rounded numbers. `cells`: objects of a cell's size that can be told apart;
            `saturated`: share of pixels at the largest value, where they pile up there; of the
            main object, where there is one, `area_um2`, or `area_px` where um/px is unknown, and
            `focus`, see `objects.sharpness`, where it stands out from the noise.
    """

    reasons: tuple[str, ...]
    cluster: bool
    measures: dict[str, float]


def assess(
    images: Sequence[tuple[GreyImage, int | None]],
    windows: NDArray[np.uint8],
    um_per_px: float | None,
    spec: InputSpec,
) -> list[Quality]:
    """Judge crops; each comes out as it would alone.

    Only what lies within twice the network's view is looked at. Rows and columns of zeros along the
    edge are padding, and no part of the crop.

    Args:
        images: of each its pixels, (height, width), uint8 or uint16, values as stored, at least 8
            pixels a side, and the bit depth as the file states it; None for the array's own.
        windows: (n, size, size), the network's inputs made of them.
        um_per_px: edge length of a pixel, um; None where unknown: no rule on true sizes then.
        spec: the network's expectations.
    """
    zoom = spec.zoom(um_per_px)
    parts = [_part(pixels, bits, round(2 * spec.size / zoom)) for pixels, bits in images]
    sights = look([part.field for part in parts])
    return [
        _quality(part, sight, window, um_per_px, zoom)
        for part, sight, window in zip(parts, sights, windows, strict=True)
    ]


class _Part(NamedTuple):
    """What is looked at of a crop.

    Attributes:
        field: its middle, without padding.
        side: shorter one of the crop without padding.
        whole: whether nothing but padding is left out.
        low: least value of the whole crop, padding included.
        high: its largest.
        bits: bit depth as the file states it.
    """

    field: GreyImage
    side: int
    whole: bool
    low: int
    high: int
    bits: int | None

    @property
    def depth(self) -> int:
        """Bits that a value can have."""
        return min(self.bits or 16, 8 * self.field.itemsize)


def _part(pixels: GreyImage, bits: int | None, side: int) -> _Part:
    low, high, _, _ = cv2.minMaxLoc(pixels)
    crop = pixels if low > 0 else _without_padding(pixels)
    field = _middle(crop, side)
    return _Part(field, min(crop.shape), field.shape == crop.shape, int(low), int(high), bits)


def _quality(
    part: _Part, sight: Sight, window: NDArray[np.uint8], um_per_px: float | None, zoom: float
) -> Quality:
    saturated = _saturated(part, sight.level)
    reasons = []
    if part.side < _LEAST_SIDE or (um_per_px is not None and zoom > _LARGEST_ZOOM):
        reasons.append("low-resolution")
    if _is_dark(part, sight.level):
        reasons.append("under-exposed")
    if saturated > _PILED:
        reasons.append("over-exposed")
    measures = {"cells": 0.0, "saturated": round(saturated, 4)}
    if _is_empty(sight, window):
        return Quality((*reasons, "empty"), False, measures)
    if not sight.objects:
        return Quality(tuple(reasons), False, measures)
    main, factor = sight.objects[0], shrinkage(*part.field.shape)
    px_um = None if um_per_px is None else factor * um_per_px
    focus = sharpness(sight, main)
    least = min(_LEAST_SHARPNESS, _LEAST_OF_SHARPEST * main.sharpest)
    clear = main.sigmas >= _BLUR_SIGMAS and _is_central(sight, main)
    if focus is not None and focus < least and clear:
        reasons.append("out-of-focus")
    if part.whole and main.sigmas >= _CUT_SIGMAS and edge_share(sight, main) > _CUT:
        reasons.append("truncated")
    if px_um is not None and main.diameter * px_um < _LEAST_UM:
        reasons.append("debris")
    company = _company(sight, px_um)
    measures["cells"] = float(company.cells)
    if px_um is None:
        measures["area_px"] = float(round(main.area * factor**2))
    else:
        measures["area_um2"] = round(main.area * px_um**2, 1)
    if focus is not None:
        measures["focus"] = round(focus, 2)
    return Quality((*reasons, *company.reasons), company.cluster, measures)


def _without_padding(pixels: GreyImage) -> GreyImage:
    """Leave out rows and columns of zeros along the edge, where 8 pixels a side remain."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not len(rows) or min(np.ptp(rows), np.ptp(columns)) < 7:
        return pixels
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _middle(pixels: GreyImage, side: int) -> GreyImage:
    height, width = pixels.shape
    side = max(side, 16)
    if height <= side and width <= side:
        return pixels
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return pixels[top : top + side, left : left + side]


def _is_empty(sight: Sight, window: NDArray[np.uint8]) -> bool:
    """Whether nothing stands out, or the network's input is blank."""
    if sight.contrast > _EMPTY_CONTRAST:
        return False
    if not sight.objects and sight.sigmas < _EMPTY_SIGMAS and sight.unrest < _CALM:
        return True
    low, high, _, _ = cv2.minMaxLoc(window)
    return max(BACKGROUND_LEVEL - low, high - BACKGROUND_LEVEL) <= _BLANK


def _is_central(sight: Sight, thing: Object) -> bool:
    """Whether an object covers the picture's middle, as electrodes beside a cell do not."""
    (rows, columns), (height, width) = thing.box, sight.soft.shape
    return bool(
        rows.start <= height // 2 < rows.stop and columns.start <= width // 2 < columns.stop
    )


def _is_dark(part: _Part, level: float) -> bool:
    """Whether the background is near zero, for the bit depth that the values suggest.

    Cameras of 10 to 14 bits store their values in 16: the depth is the least of 12, 14 and 16 bits
    that holds them.
    """
    pixels = part.field
    if part.low == 0 and pixels.size - np.count_nonzero(pixels) > _BLACK * pixels.size:
        return True
    depth = part.depth
    if depth > 8:
        depth = max(12, part.high.bit_length() + part.high.bit_length() % 2)
    return bool(level < _DARK * 2**depth)


def _saturated(part: _Part, level: float) -> float:
    """Return the share of pixels at the largest value where they pile up there, else 0.

    A pile is one at the end of a range of 8, 10, 12, 14 or 16 bits, or anywhere when it holds most
    of the brightest pixels and is not the background.
    """
    pixels, high = part.field, part.high
    piled = float(np.count_nonzero(pixels == high)) / pixels.size
    if piled < _PILED / 4:
        return 0.0
    ends = (each for each in (8, 10, 12, 14, 16) if each <= part.depth)
    if any(0.995 * 2**each <= high < 2**each for each in ends):
        return piled
    near = float(np.count_nonzero(pixels >= 0.98 * high)) / pixels.size
    return piled if level < 0.98 * high and piled > near / 2 else 0.0


class _Company(NamedTuple):
    """What else there is beside the cell."""

    cells: int = 1
    cluster: bool = False
    reasons: tuple[str, ...] = ()


def _company(sight: Sight, px_um: float | None) -> _Company:
    """Tell other objects of a cell's size, apart from the main one or within its outline."""
    if sight.objects[0].sigmas < _SHAPE_SIGMAS or sight.unrest > max(5.0, 0.2 * sight.sigmas):
        return _Company()
    things = with_paler(sight)
    if not things:
        return _Company()
    main = things[0]
    others = sum(
        thing.area >= _NEIGHBOUR * main.area
        and thing.sigmas >= _SHAPE_SIGMAS
        and (px_um is None or thing.diameter * px_um >= _LEAST_NEIGHBOUR_UM)
        and thing.is_compact
        for thing in things[1:]
    )
    apart = distance(main)
    if apart is None or apart < _OVERLAPPING:
        return _Company(1 + others, False, ("multiple-objects",) * (others > 0))
    reasons = ["multiple-objects"] if others or apart >= _APART else []
    if apart < _TOUCHING:
        reasons.append("overlap")
    return _Company(2 + others, _TOUCHING <= apart < _APART, tuple(reasons))
