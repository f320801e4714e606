"""Opening what comes from outside, plain files only and without blocking; replacing files whole."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

Signature: TypeAlias = tuple[int, ...]
"""Size, mtime_ns, ctime_ns and inode of a file."""

_TO_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def open_plain(path: str | Path, *, follow: bool = False) -> BinaryIO | None:
    """Open a plain file for reading; None where something else stands at its place.

    Args:
        path: the file.
        follow: whether a symbolic link is followed; otherwise it is an error.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, _TO_READ | (0 if follow else os.O_NOFOLLOW))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return open(descriptor, "rb")


def read_plain(path: str | Path, most: int) -> bytes | None:
    """Read a plain file, without following a link; None where something else stands at its place.

    Args:
        path: the file.
        most: a longer one is cut off one byte later, which tells that it is too long.

    Raises:
        OSError: it cannot be opened or read.
    """
    descriptor = os.open(path, _TO_READ | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        left = min(status.st_size, most) + 1
        parts = []
        while left and (part := os.read(descriptor, left)):
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(descriptor)


def file_signature(path: str) -> Signature | None:
    """The values by which a change of a regular file is recognised; None where there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


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
