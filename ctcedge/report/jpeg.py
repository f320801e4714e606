"""Crops as a person sees them: 8-bit greys in JPEG sheets and strips.

Bright field is shown as deviations from each crop's own background, mid-grey, so that exposure
drops out as it does for the network. Fluorescence is not: how bright a stain is says something, so
all cells of a sample share one scale.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ctcedge.images.decode import GreyImage

TILE = 72
"""Side of a tile, pixels."""
ACROSS = 8
"""Tiles beside and below each other on a sheet."""
MOST_SIDE = 256
"""Longest side of a picture in a strip, pixels; larger crops are scaled down."""
CROPS_A_SHEET = ACROSS * ACROSS

_GREY = 128
_MOST_ZOOM = 4.0
_BLOCK = 8  # of a JPEG: a picture that fills whole blocks leaves no trace on its neighbour
_TILE_QUALITY = 85
_STRIP_QUALITY = 92
_LEAST_CONTRAST = 0.06  # of the background: the noise of an empty crop is not blown up
_LEAST_RANGE = 0.02  # of the brightest value: nor is that of an unstained sample

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Scale:
    """The pixel values shown as black and as white."""

    black: float
    white: float

    def apply(self, pixels: GreyImage) -> Picture:
        """Map (height, width) pixels of 8 or 16 bits to 8 bits."""
        unit = 255 / (self.white - self.black)
        shown = (pixels.astype(np.float32) - self.black) * unit
        return np.asarray(np.clip(np.rint(shown), 0, 255), np.uint8)


def bright_field(pixels: GreyImage) -> Picture:
    """Map a bright-field crop to 8 bits, its background to mid-grey.

    Args:
        pixels: (height, width), uint8 or uint16.
    """
    low, background, high = np.percentile(pixels, (0.3, 50, 99.7))
    reach = max(high - background, background - low, _LEAST_CONTRAST * background, 1.0)
    return Scale(float(background - reach), float(background + reach)).apply(pixels)


def common_scale(images: Iterable[GreyImage]) -> Scale:
    """The scale that suits fluorescence crops of one sample and channel.

    The few brightest crops, often debris, may saturate.
    """
    ends = np.array([np.percentile(pixels, (5, 99.7)) for pixels in images])
    black = float(np.median(ends[:, 0]))
    white = float(np.percentile(ends[:, 1], 95))
    return Scale(black, max(white, black + max(8.0, _LEAST_RANGE * white)))


def resized(picture: Picture, zoom: float) -> Picture:
    """Scale a picture."""
    height, width = picture.shape
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    if size == (width, height):
        return picture
    method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)


def tile_zooms(longest_sides: Sequence[int], um_per_px: Sequence[float | None]) -> list[float]:
    """How many pixels of its tile one pixel of each crop becomes.

    Nearly all crops fill at most a tile at one scale, so that sizes compare across tiles: a scale
    in um where that is known of all crops, else in their pixels. Larger ones are made to fit.

    Args:
        longest_sides: of each crop, pixels.
        um_per_px: of each crop.
    """
    known = [um for um in um_per_px if um is not None]
    units = known if len(known) == len(longest_sides) else [1.0] * len(longest_sides)
    if not units:
        return []
    lengths = [side * unit for side, unit in zip(longest_sides, units, strict=True)]
    common = TILE / float(np.percentile(lengths, 95))
    return [
        min(common * unit, TILE / side, _MOST_ZOOM)
        for side, unit in zip(longest_sides, units, strict=True)
    ]


def tile(picture: Picture, zoom: float) -> Picture:
    """Place a bright-field picture in the middle of a (TILE, TILE) tile.

    Args:
        picture: from `bright_field`.
        zoom: from `tile_zooms`.
    """
    small = resized(picture, zoom)
    placed = np.full((TILE, TILE), _GREY, np.uint8)
    height, width = small.shape
    top, left = (TILE - height) // 2, (TILE - width) // 2
    placed[top : top + height, left : left + width] = small
    return placed


def sheet(tiles: Sequence[Picture | None]) -> str:
    """A JPEG in base64 of up to CROPS_A_SHEET tiles, row by row; None stays grey."""
    whole = np.full((ACROSS * TILE, ACROSS * TILE), _GREY, np.uint8)
    for slot, picture in enumerate(tiles):
        if picture is not None:
            row, column = divmod(slot, ACROSS)
            whole[row * TILE :, column * TILE :][:TILE, :TILE] = picture
    return _jpeg(whole, _TILE_QUALITY)


def strip(pictures: Sequence[Picture]) -> tuple[str, int, int, int]:
    """A JPEG in base64 of one cell's channels beside each other, all as large as the first.

    Returns:
        The JPEG, width and height of one picture, and the distance from one to the next, pixels.
    """
    first = resized(pictures[0], min(1.0, MOST_SIDE / max(pictures[0].shape)))
    height, width = first.shape
    margin = ((0, 0), (0, -width % _BLOCK))
    fitted = [first]
    for picture in pictures[1:]:
        if picture.shape != first.shape:
            same = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            picture = np.asarray(same, np.uint8)
        fitted.append(picture)
    whole = np.hstack([np.pad(picture, margin, "edge") for picture in fitted])
    return _jpeg(whole, _STRIP_QUALITY), width, height, width + margin[1][1]


def _jpeg(picture: Picture, quality: int) -> str:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return base64.b64encode(data.tobytes()).decode("ascii")
