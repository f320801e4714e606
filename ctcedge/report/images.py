"""Reads the images of a report's cells."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

from ctcedge.discovery.naming import Crop
from ctcedge.errors import BadImage
from ctcedge.images.decode import GreyImage, decode
from ctcedge.report.cells import Cell
from ctcedge.sidecars.scan import read_current_image


class ImageState(IntEnum):
    """Whether a cell's image can be shown."""

    SHOWN = 0
    CHANGED = 1
    UNREADABLE = 2


IMAGE_PROBLEMS = {
    ImageState.SHOWN: "",
    ImageState.CHANGED: "The image changed since the call, and is not shown."
    " Run 'ctcedge classify' again.",
    ImageState.UNREADABLE: "The image cannot be read.",
}


def classified_image(folder: Path, cell: Cell) -> tuple[ImageState, GreyImage | None]:
    """Return the state and pixels of the image that the model classified.

    The pixels are None if the file has changed: a person must review what the model has seen.
    """
    now = read_current_image(folder, cell.crop)
    if now.data is not None and now.sha256 != cell.sha256:
        return ImageState.CHANGED, None
    pixels = _decoded(now.data)
    return (ImageState.UNREADABLE if pixels is None else ImageState.SHOWN), pixels


def read_image(folder: Path, crop: Crop) -> GreyImage | None:
    """Return a crop's pixels; None if they cannot be read."""
    return _decoded(read_current_image(folder, crop).data)


def _decoded(data: bytes | None) -> GreyImage | None:
    try:
        return None if data is None else decode(data).pixels
    except BadImage:
        return None
