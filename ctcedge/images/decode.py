"""Decode image files to grey pixels, without scaling or normalising them."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from ctcedge.errors import BadImage
from ctcedge.images.header import refuse_other_format
from ctcedge.images.orientation import UPRIGHT, upright
from ctcedge.images.png import PNG_MAGIC, inflated_png
from ctcedge.images.tiff import WHITE_IS_ZERO, TiffLayout, tiff_layout
from ctcedge.images.tiff_directory import is_tiff
from ctcedge.images.tiff_pixels import tiff_pixels
from ctcedge.images.types import MAX_FRAME_PIXELS, MAX_PIXELS, ImageHeader

os.environ.setdefault(
    "OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_FRAME_PIXELS)
)  # read at OpenCV's import

import cv2
import numpy as np
from numpy.typing import NDArray

from ctcedge.images.png_filters import unfiltered

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

GreyImage = NDArray[np.uint8] | NDArray[np.uint16]

_MAX_COLOUR_DIFFERENCE = 0.03
"""Largest difference of the colours of a pixel of a grey image, as a fraction of the range."""

DECODING_VERSION = "grey/2"
"""Version of the rules below; part of the fingerprint of stored calls."""


class CropImage(NamedTuple):
    """Pixels to classify.

    Attributes:
        pixels: (height, width), uint8 or uint16.
        bits: of a sample, as the file states it; None for the array's own.
        is_colour: whether the colours of a pixel differed before they were made grey.
    """

    pixels: GreyImage
    bits: int | None = None
    is_colour: bool = False


class Decoded(NamedTuple):
    """One decoded crop.

    Attributes:
        pixels: (height, width), uint8 or uint16, values as stored in the file, but turned as its
            orientation states, and inverted where it states that zero is white.
        header: what the file states about itself.
        is_colour: whether the colours of a pixel differ, so that it is not a grey image.
    """

    pixels: GreyImage
    header: ImageHeader
    is_colour: bool = False

    @property
    def image(self) -> CropImage:
        """What preprocessing and quality checks need of it."""
        return CropImage(self.pixels, self.header.bits, self.is_colour)


def decode(data: bytes) -> Decoded:
    """Decode the bytes of a PNG or TIFF file to grey, upright, with black as zero.

    RGB becomes grey by the BT.601 weights, which leave equal channels exactly as they are. An alpha
    channel is dropped when it is opaque everywhere.

    A TIFF that another program is still writing may have its full size already, with zeros where
    pixels will be. It is noticed, and `unreadable`, when
    - its directory is missing or leads beyond the end of the file, or
    - a compressed strip ends in eight zero bytes, or
    - all its pixels are zero, or its last row is, the zeros begin in the middle of a row and no
      other pixel of the image is zero.
    It is not noticed when less than its last row is missing, when its zeros begin exactly with a
    row (just as those of a crop that was padded with black at the edge of the field), when pixels
    elsewhere are zero (as in fluorescence), or in the last tiles of an uncompressed tiled TIFF.

    Raises:
        BadImage: the file is damaged or of a kind that is not supported.
    """
    if data.startswith(PNG_MAGIC):
        return decode_png(data)
    if is_tiff(data):
        return _decoded_tiff(data)
    refuse_other_format(data)


def _decoded_tiff(data: bytes) -> Decoded:
    return decode_page(data, tiff_layout(data))


def decode_page(data: bytes, layout: TiffLayout) -> Decoded:
    """Decode one page of a TIFF, as `decode` does.

    Args:
        data: the whole file.
        layout: of the page.

    Raises:
        BadImage: its pixel data are damaged.
    """
    pixels = tiff_pixels(data, layout)
    if _ends_in_unwritten_zeros(pixels):
        raise BadImage("unreadable", "looks half-written: TIFF whose pixels end in zeros")
    if layout.photometric == WHITE_IS_ZERO:
        pixels = np.array(2**layout.header.bits - 1, pixels.dtype) - pixels
    if layout.orientation != UPRIGHT:
        pixels = np.ascontiguousarray(upright(pixels, layout.orientation))
    return Decoded(_to_grey(pixels), layout.header, _is_colour(pixels))


def decode_png(data: bytes, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode a PNG of at most `max_pixels`, as `decode` does."""
    png = inflated_png(data, max_pixels)
    header = png.header
    if png.is_plain_grey and (grey := unfiltered(png.rows, header)) is not None:
        return Decoded(grey, header)
    try:
        pixels = cv2.imdecode(np.frombuffer(png.stored(), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise BadImage("unreadable", "truncated or damaged PNG")
    if png.orientation != UPRIGHT:
        pixels = np.ascontiguousarray(upright(pixels, png.orientation))
    if pixels.shape[:2] != (header.height, header.width):
        raise BadImage("unreadable", "truncated or damaged PNG")
    return Decoded(_to_grey(pixels), header, _is_colour(pixels))


def _ends_in_unwritten_zeros(pixels: NDArray[Any]) -> bool:
    if pixels[-1].any():
        return False
    black = (pixels == 0).reshape(*pixels.shape[:2], -1).all(axis=-1)
    written = black.size - int(np.count_nonzero(black))
    return written == 0 or (written % black.shape[1] != 0 and not black.flat[:written].any())


def _is_colour(pixels: NDArray[Any]) -> bool:
    """Whether the colours of some pixel differ by more than JPEG's rounding of grey."""
    if pixels.ndim == 2:
        return False
    colours = pixels[..., :3]
    differences = colours.max(axis=2) - colours.min(axis=2)
    return int(differences.max()) > _MAX_COLOUR_DIFFERENCE * np.iinfo(pixels.dtype).max


def _to_grey(pixels: NDArray[Any]) -> GreyImage:
    if pixels.dtype not in (np.uint8, np.uint16):
        raise BadImage("unsupported", f"pixels of type {pixels.dtype}; 8 to 16 bits are accepted")
    if pixels.ndim == 2:
        return pixels
    channels = pixels.shape[2]
    if channels == 4:
        if (pixels[..., 3] != np.iinfo(pixels.dtype).max).any():
            raise BadImage("unsupported", "image with transparent pixels")
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2GRAY), pixels.dtype)
    if channels == 3:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), pixels.dtype)
    raise BadImage("unsupported", f"image of {channels} channels; grey and RGB are accepted")
