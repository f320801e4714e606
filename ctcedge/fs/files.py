"""Bounded reads of regular files, atomic writes, and signatures by which a change is noticed.

Files come from outside: what is not a regular file (a FIFO, a device) is never read from and cannot
block, symbolic links are followed only where the caller asks for it, and no read is unbounded.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

from ctcedge.fs.descriptors import close_unwritten
from ctcedge.fs.unfinished import (
    TEMPORARY,
    UnfinishedFile,
    open_folder,
    remove_abandoned,
    sync_folder,
)

Signature: TypeAlias = tuple[int, ...]
"""Size, mtime_ns, ctime_ns and inode of a file."""


class UnsuitableFileError(OSError):
    """A file that `read_limited` does not read; its text is in `strerror`, as of any OSError."""


class NotRegularFileError(UnsuitableFileError):
    """A directory, FIFO, socket or device."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(errno.EINVAL, "not a regular file", os.fspath(path))


class FileTooLargeError(UnsuitableFileError):
    """A file that is larger than the caller's limit.

    Attributes:
        size: its size, bytes.
        data: its beginning, one byte longer than the limit.
    """

    def __init__(self, path: str | Path, max_bytes: int, size: int, data: bytes) -> None:
        super().__init__(errno.EFBIG, f"larger than {max_bytes:,} bytes", os.fspath(path))
        self.size = size
        self.data = data


def is_absence(error: OSError) -> bool:
    """Whether an error of opening a path, or asking for its state, means that it is not there.

    Any other error leaves that open.
    """
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def read_limited(path: str | Path, max_bytes: int, *, follow: bool = False) -> bytes:
    """Read a regular file whole.

    Args:
        path: the file.
        max_bytes: size of the largest file that is read.
        follow: whether a symbolic link is followed; otherwise it is an error (ELOOP).

    Raises:
        UnsuitableFileError: it is not a regular file, or it is larger than that.
        OSError: it cannot be opened or read.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    return read_descriptor(os.open(path, flags), path, max_bytes)


def read_descriptor(descriptor: int, path: str | Path, max_bytes: int) -> bytes:
    """Read an opened file whole, as `read_limited` does, and close it.

    Args:
        descriptor: of the file.
        path: for messages.
        max_bytes: size of the largest file that is read.
    """
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotRegularFileError(path)
        # One byte more than the limit, so that a file that grows meanwhile is noticed.
        remaining = min(status.st_size, max_bytes) + 1
        parts = []
        size = 0
        while remaining > size and (part := os.read(descriptor, remaining - size)):
            parts.append(part)
            size += len(part)
    finally:
        close_unwritten(descriptor)
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    if size > max_bytes:
        raise FileTooLargeError(path, max_bytes, max(size, status.st_size), data)
    return data


def file_signature(path: str) -> Signature | None:
    """Return the values by which a change of a regular file is noticed; None where there is none.

    They are empty where the file system does not tell: there may be a file, which cannot be read.

    Args:
        path: the file; a symbolic link is not followed.
    """
    try:
        status = os.lstat(path)
    except OSError as error:
        return None if is_absence(error) else ()
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def modified_ns(signature: Signature | None) -> int:
    """The modification time of a signature, Unix time in ns; 0 where it is not known."""
    return signature[1] if signature else 0


def atomic_write(
    path: Path, data: bytes, *, durable: bool = True, world_readable: bool = False
) -> None:
    """Write a file whole, or leave what was there; see `atomic_writer`.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_writer(path, durable=durable, world_readable=world_readable) as file:
        file.write(data)


@contextlib.contextmanager
def atomic_writer(
    path: Path, *, durable: bool = True, world_readable: bool = False
) -> Iterator[BinaryIO]:
    """Open a file that gets the name `path` on success, and is removed on failure.

    What has that name is replaced, a symbolic link too; it is never followed. See
    `ctcedge.fs.unfinished`.

    Args:
        path: the file to write.
        durable: sync file and folder before returning, so that the file survives a power cut, and
            remove what crashes left in the folder.
        world_readable: let everyone read it, whatever the umask.

    Raises:
        OSError: it cannot be written.
    """
    directory = open_folder(path.parent)
    try:
        unfinished = UnfinishedFile(directory)
        try:
            with open(unfinished.descriptor, "wb", closefd=False) as file:
                if world_readable:
                    os.fchmod(unfinished.descriptor, 0o644)
                yield file
            if durable:
                os.fsync(unfinished.descriptor)
            written = os.fstat(unfinished.descriptor).st_mtime
            unfinished.replace(path.name)
        finally:
            unfinished.close()
        if durable:
            sync_folder(directory)
            with contextlib.suppress(OSError):  # a folder that must not be listed
                remove_abandoned(directory, os.listdir(directory), written)
    except OSError as error:
        if error.filename is None or TEMPORARY.fullmatch(os.fspath(error.filename)):
            error.filename = os.fspath(path)
            error.filename2 = None
        raise
    finally:
        close_unwritten(directory)
