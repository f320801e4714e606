"""Opening what comes from outside, plain files only and without blocking; replacing files whole."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
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


@contextlib.contextmanager
def replaced(
    path: Path, temporary: str, *, everyone: bool = False, last: bool = True
) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when all went well, and is gone otherwise.

    Args:
        path: the file to replace.
        temporary: name, in the same folder, under which it is written; what a crash left there is
            replaced.
        everyone: let everyone read it, whatever the umask.
        last: wait until it is on the disk, so that it outlasts a power cut.

    Raises:
        OSError: it cannot be written.
    """
    place = path.parent / temporary
    with contextlib.suppress(FileNotFoundError):
        place.unlink()
    try:
        with open(place, "xb") as file:
            if everyone:
                os.fchmod(file.fileno(), 0o644)
            yield file
            if last:
                file.flush()
                os.fsync(file.fileno())
        os.replace(place, path)
    except BaseException:
        with contextlib.suppress(OSError):
            place.unlink()
        raise
