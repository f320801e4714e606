"""Opening what comes from outside: plain files only, without blocking."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_plain(path: Path, *, follow: bool = False) -> BinaryIO | None:
    """Open a plain file for reading; None where something else stands at its place.

    Args:
        path: the file.
        follow: whether a symbolic link is followed; otherwise it is an error.

    Raises:
        OSError: it cannot be opened.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return open(descriptor, "rb")
