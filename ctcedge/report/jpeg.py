"""Pictures of crops for people: 8-bit grey levels in JPEG sheets and strips.

Bright field is scaled about the median of each crop, its background, which becomes mid-grey: as for
the network, exposure has no influence. Fluorescence is not, because the brightness of a stain is
informative: all cells of a sample share one scale.
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
"""Tiles in a row of a sheet, and rows of a sheet."""
MAX_SIDE = 256
"""Longest side of a picture in a strip, pixels; larger crops are scaled down."""
TILES_PER_SHEET = ACROSS * ACROSS

_GREY = 128
_MAX_ZOOM = 4.0
_BLOCK = 8  # of a JPEG: pictures that fill whole blocks do not affect their neighbours
_TILE_QUALITY = 85
_STRIP_QUALITY = 92
_MIN_CONTRAST = 0.06  # of the background: does not amplify the noise of an empty crop
_MIN_RANGE = 0.02  # of the brightest value: does not amplify the noise of an unstained sample

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear scale: the pixel values that become black and white."""

    black: float
    white: float

    def apply(self, pixels: GreyImage) -> Picture:
        """Map pixels to 8 bits.

        Args:
            pixels: (height, width), uint8 or uint16.
        """
        gain = 255 / (self.white - self.black)
        levels = (pixels.astype(np.float32) - self.black) * gain
        return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


def bright_field(pixels: GreyImage) -> Picture:
    """Map a bright-field crop to 8 bits, with its background at mid-grey.

    Args:
        pixels: (height, width), uint8 or uint16.
    """
    low, background, high = np.percentile(pixels, (0.3, 50, 99.7))
    contrast = max(high - background, background - low, _MIN_CONTRAST * background, 1.0)
    return Scale(float(background - contrast), float(background + contrast)).apply(pixels)


def common_scale(images: Iterable[GreyImage]) -> Scale:
    """Return the scale for the fluorescence crops of one sample and channel.

    The brightest few percent of the crops, often debris, may saturate.
    """
    ranges = np.array([np.percentile(pixels, (5, 99.7)) for pixels in images])
    black = float(np.median(ranges[:, 0]))
    white = float(np.percentile(ranges[:, 1], 95))
    return Scale(black, max(white, black + max(8.0, _MIN_RANGE * white)))


def resized(picture: Picture, zoom: float) -> Picture:
    """Return a picture enlarged or reduced by a factor."""
    height, width = picture.shape
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    if size == (width, height):
        return picture
    method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)


def tile_zooms(longest_sides: Sequence[int], um_per_px: Sequence[float | None]) -> list[float]:
    """Return the pixels of its tile per pixel of each crop.

    One scale, at which 95 % of the crops fit into a tile, makes sizes comparable across tiles. It
    is a scale in um if um/px is known for all crops, else in pixels. Larger crops are reduced to
    fit.

    Args:
        longest_sides: longest side of each crop, pixels.
        um_per_px: pixel size of each crop.
    """
    known = [um for um in um_per_px if um is not None]
    units = known if len(known) == len(longest_sides) else [1.0] * len(longest_sides)
    if not units:
        return []
    lengths = [side * unit for side, unit in zip(longest_sides, units, strict=True)]
    common = TILE / float(np.percentile(lengths, 95))
    return [
        min(common * unit, TILE / side, _MAX_ZOOM)
        for side, unit in zip(longest_sides, units, strict=True)
    ]


def tile(picture: Picture, zoom: float) -> Picture:
    """Return a (TILE, TILE) tile with a bright-field picture in its middle.

    Args:
        picture: from `bright_field`.
        zoom: from `tile_zooms`.
    """
    scaled = resized(picture, zoom)
    result = np.full((TILE, TILE), _GREY, np.uint8)
    height, width = scaled.shape
    top, left = (TILE - height) // 2, (TILE - width) // 2
    result[top : top + height, left : left + width] = scaled
    return result


def sheet(tiles: Sequence[Picture | None]) -> str:
    """Return a JPEG in base64 of up to TILES_PER_SHEET tiles, row by row; None is a grey tile."""
    image = np.full((ACROSS * TILE, ACROSS * TILE), _GREY, np.uint8)
    for slot, picture in enumerate(tiles):
        if picture is not None:
            row, column = divmod(slot, ACROSS)
            image[row * TILE :, column * TILE :][:TILE, :TILE] = picture
    return _jpeg(image, _TILE_QUALITY)


def strip(pictures: Sequence[Picture]) -> tuple[str, int, int, int]:
    """Join pictures of one cell's channels side by side, all resized to the size of the first.

    Returns:
        A JPEG in base64, width and height of one picture, and the distance from one picture to the
        next, pixels.
    """
    first = resized(pictures[0], min(1.0, MAX_SIDE / max(pictures[0].shape)))
    height, width = first.shape
    margin = ((0, 0), (0, -width % _BLOCK))
    same_size = [first]
    for picture in pictures[1:]:
        if picture.shape != first.shape:
            fitted = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            picture = np.asarray(fitted, np.uint8)
        same_size.append(picture)
    image = np.hstack([np.pad(picture, margin, "edge") for picture in same_size])
    return _jpeg(image, _STRIP_QUALITY), width, height, width + margin[1][1]


def _jpeg(picture: Picture, quality: int) -> str:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return base64.b64encode(data.tobytes()).decode("ascii")
