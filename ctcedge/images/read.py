"""Bounded read of an image file."""

from __future__ import annotations

import os
from pathlib import Path

from ctcedge.errors import BadImage
from ctcedge.fs.files import FileTooLargeError, NotRegularFileError, read_limited
from ctcedge.images.types import MAX_BYTES


def read_file(path: str | Path) -> bytes:
    """Read an image file, without following a link or blocking on what replaced it.

    Raises:
        BadImage: larger than any image that is accepted.
        FileNotFoundError: gone, or no longer a regular file.
        OSError: any other failure.
    """
    try:
        return read_limited(path, MAX_BYTES)
    except NotRegularFileError:
        raise FileNotFoundError(path) from None
    except FileTooLargeError:
        size = os.path.getsize(path)
        raise BadImage(
            "unsupported", f"too large: {size:,} bytes (at most {MAX_BYTES:,})"
        ) from None
    except OSError:
        if not os.path.isfile(path) or os.path.islink(path):
            raise FileNotFoundError(path) from None
        raise
