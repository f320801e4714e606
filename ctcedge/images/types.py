"""Header of an image file and the size limits that every image must meet."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ctcedge.errors import BadImage

MAX_BYTES = 40 * 1024 * 1024
"""Size of the largest image file that is read."""
MAX_PIXELS = 2048 * 2048
"""Width times height of the largest image that is decoded."""
MAX_FRAME_BYTES = 512 * 1024 * 1024
"""Size of the largest file that cells are cut from."""
MAX_FRAME_PIXELS = 2**27
"""Width times height of the largest page that cells are cut from."""
MIN_SIDE = 8
"""Shorter side of the smallest image that is decoded, pixels."""


class ImageHeader(NamedTuple):
    """Header of an image file.

    Attributes:
        format: by magic bytes, not by the file's name.
        width: in pixels.
        height: in pixels.
        bits: bits per sample as stored, 8 to 16.
        um_per_px: edge length of a pixel as the file states it, um; None where it states none.
    """

    format: Literal["PNG", "TIFF"]
    width: int
    height: int
    bits: int
    um_per_px: float | None = None


def check_limits(header: ImageHeader, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Return the header of an image within the limits.

    Args:
        header: of the image.
        max_pixels: width times height of the largest image.

    Raises:
        BadImage: it has too many pixels, or a side is too short.
    """
    if header.width * header.height > max_pixels:
        raise BadImage(
            "unsupported",
            f"too large: {header.width} x {header.height} pixels (at most {max_pixels:,} in all)",
        )
    if min(header.width, header.height) < MIN_SIDE:
        raise BadImage(
            "unsupported",
            f"too small: {header.width} x {header.height} pixels (at least {MIN_SIDE} a side)",
        )
    return header
