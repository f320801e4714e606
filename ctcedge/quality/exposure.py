"""Part of a crop that is checked, and its exposure."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from ctcedge.images.decode import GreyImage
from ctcedge.quality.extent import is_oversized

MAX_SATURATED_FRACTION = 0.04
"""Largest fraction of pixels at the largest value of a crop that is not over-exposed."""
_MIN_BACKGROUND = 0.04
"""Smallest background of a crop that is not under-exposed, as a fraction of the full range."""
_MAX_BLACK_FRACTION = 0.02
"""Largest fraction of pixels at zero."""
SIGN_OFFSET = 32_768.0
"""What is added to a signed number of 16 bits that is written as unsigned."""
_MAX_OFFSET_VALUE = 32_768 + 16_384
_MIN_VIEW_SIDE = 16
_MIN_UNPADDED_SIDE = 8
_BIT_DEPTHS = (8, 10, 12, 14, 16)


class View(NamedTuple):
    """The central part of a crop, without padding, that is checked.

    Attributes:
        pixels: of the part.
        shorter_side: of the crop without padding.
        is_whole: whether nothing but padding is left out.
        lowest: smallest value of the crop, padding included.
        highest: largest value of the crop.
        bits: bit depth as the file states it; None for the array's own.
        is_colour: whether the colours of a pixel differed.
        is_oversized: whether the crop is far larger than a cell, see `extent.is_oversized`.
    """

    pixels: GreyImage
    shorter_side: int
    is_whole: bool
    lowest: int
    highest: int
    bits: int | None
    is_colour: bool = False
    is_oversized: bool = False

    @classmethod
    def of(cls, pixels: GreyImage, bits: int | None, side: int, *, is_colour: bool = False) -> View:
        """Take the central part of a crop.

        Args:
            pixels: (height, width) of the crop.
            bits: bit depth as the file states it; None for the array's own.
            side: of the part, in pixels: twice the network's field of view.
            is_colour: whether the colours of a pixel differed.
        """
        lowest, highest, _, _ = cv2.minMaxLoc(pixels)
        crop = pixels if lowest > 0 else pixels[unpadded_box(pixels)]
        center = _center(crop, side)
        is_whole = center.shape == crop.shape
        return cls(
            center,
            min(crop.shape),
            is_whole,
            int(lowest),
            int(highest),
            bits,
            is_colour,
            not is_whole and is_oversized(crop, side // 2),
        )

    @property
    def depth(self) -> int:
        """Bits that a value can have."""
        return min(self.bits or 16, 8 * self.pixels.itemsize)


def is_dark(view: View, background: float) -> bool:
    """Whether a crop is under-exposed: the background is near zero, or pixels are black.

    Cameras of 10 to 14 bits store their values in 16: the background is compared with the range of
    12, 14 or 16 bits, the smallest that holds the crop's values.
    """
    pixels = view.pixels
    black = pixels.size - np.count_nonzero(pixels) if view.lowest == 0 else 0
    if black > _MAX_BLACK_FRACTION * pixels.size:
        return True
    depth = view.depth
    if depth > 8:
        depth = max(12, view.highest.bit_length() + view.highest.bit_length() % 2)
    return bool(background < _MIN_BACKGROUND * 2**depth)


def is_offset(view: View) -> bool:
    """Whether all values are those of signed numbers that were written as unsigned.

    They are where they begin at 32768 or above and use less than a quarter of the range; not where
    they are 8 bits times 257.
    """
    if not (view.bits or 16) == 16 or view.lowest < SIGN_OFFSET:
        return False
    return view.highest < _MAX_OFFSET_VALUE and bool((view.pixels % 257).any())


def saturated_fraction(view: View, background: float) -> float:
    """Return the fraction of pixels at the largest value where they are saturated, else 0.

    They are where the value is at the end of a range of 8, 10, 12, 14 or 16 bits, or where most of
    the brightest pixels have it and it is not the background.
    """
    pixels, highest = view.pixels, view.highest
    at_highest = float(np.count_nonzero(pixels == highest)) / pixels.size
    if at_highest < MAX_SATURATED_FRACTION / 4:
        return 0.0
    depths = (bits for bits in _BIT_DEPTHS if bits <= view.depth)
    if any(0.995 * 2**bits <= highest < 2**bits for bits in depths):
        return at_highest
    near_highest = float(np.count_nonzero(pixels >= 0.98 * highest)) / pixels.size
    is_peak = background < 0.98 * highest and at_highest > near_highest / 2
    return at_highest if is_peak else 0.0


def unpadded_box(pixels: GreyImage) -> tuple[slice, slice]:
    """Return rows and columns without zeros along the edge; all where less than 8 remain."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not len(rows) or min(np.ptp(rows), np.ptp(columns)) < _MIN_UNPADDED_SIDE - 1:
        return slice(None), slice(None)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _center(pixels: GreyImage, side: int) -> GreyImage:
    height, width = pixels.shape
    side = max(side, _MIN_VIEW_SIDE)
    if height <= side and width <= side:
        return pixels
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return pixels[top : top + side, left : left + side]
