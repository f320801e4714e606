"""Bounded read of an image file."""

from __future__ import annotations

import os
from pathlib import Path

from ctcedge.errors import BadImage
from ctcedge.fs.files import read_plain
from ctcedge.images.types import MAX_BYTES


def read_file(path: str | Path) -> bytes:
    """Read a plain file without following a link or blocking on what took its place.

    Raises:
        BadImage: larger than any image that is accepted.
        FileNotFoundError: gone, or no longer a plain file.
        OSError: any other failure.
    """
    try:
        data = read_plain(path, MAX_BYTES)
    except OSError:
        if not os.path.isfile(path) or os.path.islink(path):
            raise FileNotFoundError(path) from None
        raise
    if data is None:
        raise FileNotFoundError(path)
    if len(data) > MAX_BYTES:
        size = os.path.getsize(path)
        raise BadImage("unsupported", f"too large: {size:,} bytes (at most {MAX_BYTES:,})")
    return data
