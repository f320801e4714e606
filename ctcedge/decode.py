"""From the bytes of an image file to grey pixels; nothing is scaled or normalised here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**24))  # read when OpenCV is imported

import cv2
import numpy as np
from numpy.typing import NDArray

from ctcedge.errors import BadImage
from ctcedge.headers import ImageHeader, png_without_metadata, read_header

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

GreyImage = NDArray[np.uint8] | NDArray[np.uint16]

DECODING = "grey/1"
"""Names the rules below; part of the settings hash, so that a change of rules makes calls stale."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded crop.

    Attributes:
        pixels: (height, width), uint8 or uint16, values as stored in the file.
        header: what the file states about itself.
    """

    pixels: GreyImage
    header: ImageHeader


def decode(data: bytes) -> Decoded:
    """Decode the bytes of a PNG or TIFF file to grey.

    RGB becomes grey by the BT.601 weights, which leave equal channels exactly as they are. An alpha
    channel is dropped when it is opaque everywhere.

    Raises:
        BadImage: the file is damaged or of a kind that is not supported.
    """
    header = read_header(data)
    if header.format == "PNG":
        data = png_without_metadata(data)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise BadImage("unreadable", f"truncated or damaged {header.format}")
    return Decoded(_to_grey(pixels), header)


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
