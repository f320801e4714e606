"""Images of a folder, as they are now."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ctcedge.crops import Crop
from ctcedge.decode import GreyImage, decode
from ctcedge.errors import BadImage
from ctcedge.files import open_plain
from ctcedge.headers import MAX_BYTES
from ctcedge.report.gather import Cell

SHOWN, CHANGED, UNREADABLE = 0, 1, 2
"""What became of a cell's image."""


def called_image(folder: Path, cell: Cell) -> tuple[int, GreyImage | None]:
    """The image of a call; a person must not review another than the model saw."""
    data = _bytes(folder, cell.crop.path)
    if data is None:
        return UNREADABLE, None
    if hashlib.sha256(data).hexdigest() != cell.sha256:
        return CHANGED, None
    try:
        return SHOWN, decode(data).pixels
    except BadImage:
        return UNREADABLE, None


def read_image(folder: Path, crop: Crop) -> GreyImage | None:
    """A crop's pixels; None where they cannot be read."""
    data = _bytes(folder, crop.path)
    try:
        return None if data is None else decode(data).pixels
    except BadImage:
        return None


def _bytes(folder: Path, path: str) -> bytes | None:
    try:
        file = open_plain(folder / path)
    except OSError:
        return None
    if file is None:
        return None
    with file:
        data = file.read(MAX_BYTES + 1)
    return data if len(data) <= MAX_BYTES else None
