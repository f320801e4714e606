"""Images of a folder, as they are now."""

from __future__ import annotations

from pathlib import Path

from ctcedge.discovery.naming import Crop
from ctcedge.errors import BadImage
from ctcedge.images.decode import GreyImage, decode
from ctcedge.report.cells import Cell
from ctcedge.sidecars.scan import read_current_image

SHOWN, CHANGED, UNREADABLE = 0, 1, 2
"""What became of a cell's image."""


def called_image(folder: Path, cell: Cell) -> tuple[int, GreyImage | None]:
    """The image of a call; a person must not review another than the model saw."""
    now = read_current_image(folder, cell.crop)
    if now.data is not None and now.sha256 != cell.sha256:
        return CHANGED, None
    pixels = _decoded(now.data)
    return (UNREADABLE if pixels is None else SHOWN), pixels


def read_image(folder: Path, crop: Crop) -> GreyImage | None:
    """A crop's pixels; None where they cannot be read."""
    return _decoded(read_current_image(folder, crop).data)


def _decoded(data: bytes | None) -> GreyImage | None:
    try:
        return None if data is None else decode(data).pixels
    except BadImage:
        return None
