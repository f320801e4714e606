"""Files below a folder, opened relative to its descriptor: no symbolic link below it is followed.

A path that was listed a moment ago may lead elsewhere by now: another account may have put a link
in the place of a folder. The kernel refuses such a path (`openat2`, since Linux 5.6); where it
cannot, each folder on the way is opened on its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ctcedge.fs.descriptors import close_unwritten
from ctcedge.fs.files import is_absence, read_descriptor

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags to open a folder."""

_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_BARE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC  # needs no permission to list
_SYS_OPENAT2 = 437  # on every architecture
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08


class FolderLostError(OSError):
    """The folder itself cannot be opened, so that no file below it can be read."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Tree:
    """Context in which files below a folder are read.

    The folder, and the sub-folder that was used last, stay open; it is meant for a moment only, as
    folders may be replaced, and as an open folder cannot be unmounted. It is used by one thread.

    Args:
        root: the folder; it may be a symbolic link itself.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root_path = root
        self._root = -1
        self._parent = -1
        self._parent_path: str | None = None

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *error: object) -> None:
        self._close_parent()
        if self._root >= 0:
            close_unwritten(self._root)
            self._root = -1

    def read(self, path: str, max_bytes: int) -> bytes:
        """Read a regular file whole, as `files.read_limited` does.

        Args:
            path: relative to the folder, without `.` and `..`.
            max_bytes: size of the largest file that is read.

        Raises:
            FolderLostError: the folder itself cannot be opened.
            UnsuitableFileError: it is not a regular file, or it is larger than that.
            OSError: it cannot be opened or read, or there is a symbolic link on the way.
        """
        return read_descriptor(self._open(path, _FILE | os.O_NOFOLLOW), path, max_bytes)

    def is_gone(self, path: str) -> bool:
        """Whether there is no regular file; False where that cannot be found out."""
        try:
            descriptor = self._open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FolderLostError:
            return False
        except OSError as error:
            return is_absence(error)
        try:
            return not stat.S_ISREG(os.fstat(descriptor).st_mode)
        except OSError:
            return False
        finally:
            close_unwritten(descriptor)

    def identity(self) -> tuple[int, int] | None:
        """Device and inode of the folder; None where it cannot be opened."""
        try:
            status = os.fstat(self._root_descriptor())
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _open(self, path: str, flags: int) -> int:
        parent, _, name = path.rpartition("/")
        if parent != self._parent_path:
            self._close_parent()
            root = self._root_descriptor()
            self._parent = open_beneath(root, parent, _BARE) if parent else os.dup(root)
            self._parent_path = parent
        try:
            return os.open(name, flags, dir_fd=self._parent)
        except OSError:
            self._close_parent()  # it may have been replaced
            raise

    def _root_descriptor(self) -> int:
        if self._root < 0:
            try:
                self._root = os.open(self._root_path, _BARE)
            except OSError as error:
                raise FolderLostError(
                    error.errno, error.strerror, os.fspath(self._root_path)
                ) from None
        return self._root

    def _close_parent(self) -> None:
        if self._parent_path is not None:
            close_unwritten(self._parent)
            self._parent_path = None


def read_beneath(root: str | os.PathLike[str], path: str, max_bytes: int) -> bytes:
    """Read one file below a folder, as `Tree.read` does."""
    with Tree(root) as tree:
        return tree.read(path, max_bytes)


def open_beneath(root: int, path: str, flags: int) -> int:
    """Open a path below a folder; a symbolic link anywhere on the way is an error.

    Args:
        root: descriptor of the folder.
        path: relative to it, without `.` and `..`.
        flags: as of `os.open`, for an existing file or folder.

    Raises:
        OSError: it cannot be opened; ELOOP or ENOTDIR where a link is on the way.
    """
    open_below = _openat2()
    return _walk_open(root, path, flags) if open_below is None else open_below(root, path, flags)


@contextlib.contextmanager
def opened_folder(root: str | os.PathLike[str], path: str) -> Iterator[int]:
    """Open a folder below another for listing; a symbolic link on the way is an error.

    Args:
        root: the folder that is searched; it may be a symbolic link itself.
        path: relative to it; empty for itself.

    Yields:
        Its descriptor.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(root, DIRECTORY)
    try:
        if path:
            base, descriptor = descriptor, -1
            try:
                descriptor = open_beneath(base, path, DIRECTORY)
            finally:
                close_unwritten(base)
        yield descriptor
    finally:
        if descriptor >= 0:
            close_unwritten(descriptor)


class Listed(NamedTuple):
    """A folder of a tree, while it is walked.

    Attributes:
        path: relative to the root of the tree; empty for the root.
        descriptor: of the folder; closed when the walk goes on.
        folders: names of its sub-folders, which are walked next; names may be removed.
        others: names of everything else.
    """

    path: str
    descriptor: int
    folders: list[str]
    others: list[str]


def walk(
    root: str | os.PathLike[str], on_error: Callable[[str, OSError], object] = lambda *_: None
) -> Iterator[Listed]:
    """Walk a folder and its sub-folders at any depth, without following symbolic links.

    Args:
        root: the folder.
        on_error: called with the relative path of each folder that cannot be listed.
    """
    try:
        base = os.open(root, DIRECTORY)
    except OSError as error:
        on_error("", error)
        return
    try:
        pending = [""]
        while pending:
            path = pending.pop()
            try:
                descriptor = open_beneath(base, path, DIRECTORY) if path else os.dup(base)
            except OSError as error:
                on_error(path, error)
                continue
            try:
                try:
                    folders, others = _names(descriptor)
                except OSError as error:
                    on_error(path, error)
                    continue
                yield Listed(path, descriptor, folders, others)
                pending.extend(f"{path}/{name}" if path else name for name in folders)
            finally:
                close_unwritten(descriptor)
    finally:
        close_unwritten(base)


def _names(descriptor: int) -> tuple[list[str], list[str]]:
    folders: list[str] = []
    others: list[str] = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            (folders if is_folder(entry) else others).append(entry.name)
    return folders, others


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, and no link to one; False where that cannot be found out."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _walk_open(root: int, path: str, flags: int) -> int:
    """Open a path folder by folder."""
    *parents, name = path.split("/")
    descriptor = os.dup(root)
    try:
        for parent in parents:
            below = os.open(parent, _BARE | os.O_NOFOLLOW, dir_fd=descriptor)
            close_unwritten(descriptor)
            descriptor = below
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=descriptor)
    finally:
        close_unwritten(descriptor)


@functools.cache
def _openat2() -> Callable[[int, str, int], int] | None:
    """The kernel's call; None where it has none, or does not permit it."""
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    arguments = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    syscall.argtypes = arguments

    def open_below(root: int, path: str, flags: int) -> int:
        how = _OpenHow(flags, 0, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS)
        name = os.fsencode(path)
        while True:
            size = ctypes.sizeof(how)
            descriptor = syscall(_SYS_OPENAT2, root, name, ctypes.byref(how), size)
            if descriptor >= 0:
                return int(descriptor)
            number = ctypes.get_errno()
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number), path)

    try:
        base = os.open("/", _BARE)
        try:
            close_unwritten(open_below(base, ".", _BARE))
        finally:
            close_unwritten(base)
    except OSError:
        return None
    return open_below
