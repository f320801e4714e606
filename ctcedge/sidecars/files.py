"""File operations below a directory descriptor, by which sidecars are read, locked and replaced.

No symbolic link is followed: a descriptor of the directory and a bare name always mean that very
directory, whatever is renamed meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator

from ctcedge.fs import unfinished
from ctcedge.fs.descriptors import close_unwritten
from ctcedge.fs.tree import walk
from ctcedge.fs.unfinished import ReplacedError, UnfinishedFile

NOT_A_FILE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENXIO,
    errno.ENAMETOOLONG,
    errno.EISDIR,
}
"""Errors of opening a path at which there is no regular file."""

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}
_MAX_LOCK_WAIT_S = 10.0
_MIN_LOCK_WAIT_S = 0.01
_MAX_KEPT_ASIDE = 10_000
_MAX_ATTEMPTS = 3


class LockTimeoutError(Exception):
    """Another program holds the lock on a file."""


class AppearedError(Exception):
    """Another program created a file where there was none."""


class DirFdCache:
    """Keeps the directory open that was asked for last.

    Only for a moment, as directories may be replaced.

    Args:
        open_directory: opens a directory by its path below the root.
    """

    def __init__(self, open_directory: Callable[[str], int]) -> None:
        self._open = open_directory
        self._path: str | None = None
        self._descriptor = -1

    def __enter__(self) -> DirFdCache:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def descriptor(self, path: str) -> int:
        """The descriptor of a directory, by its path below the root."""
        if path != self._path:
            self._close()
            self._descriptor = self._open(path)
            self._path = path
        return self._descriptor

    def forget(self) -> None:
        """Open the directory anew when it is asked for next."""
        self._close()

    def _close(self) -> None:
        if self._path is not None:
            self._path = None
            close_unwritten(self._descriptor)


def put(
    name: str, data: bytes, directory: int, *, replaces: bool, durable: bool, keep: bool
) -> str | None:
    """Give a file its content, whole or not at all; a link of its name is replaced.

    Args:
        name: of the file.
        data: its content.
        directory: descriptor of its directory.
        replaces: whether there is a file of that name, whose owner and mode are kept.
        durable: sync the content to disk before the file gets its name.
        keep: keep the file that is replaced under another name.

    Returns:
        The name under which the replaced file was kept, if any.

    Raises:
        ReplacedError: another program replaced the file each time.
        AppearedError: there is a file, and `replaces` is false.
    """
    aside = None
    for attempt in range(_MAX_ATTEMPTS):
        file = UnfinishedFile(directory)
        try:
            file.write(data)
            if durable:
                os.fsync(file.descriptor)
            if replaces:
                _copy_ownership(name, file.descriptor, directory)
            if keep and aside is None:
                aside = keep_aside(name, directory)
            if not replaces:
                try:
                    file.create(name)
                    break
                except FileExistsError:  # a link, for instance
                    if _is_regular(name, directory):
                        raise AppearedError from None
            file.replace(name)
            break
        except ReplacedError:
            if attempt == _MAX_ATTEMPTS - 1:
                raise
        finally:
            file.close()
    return aside


def _copy_ownership(name: str, descriptor: int, directory: int) -> None:
    """Give a new file the owner and mode of the one that it replaces."""
    old = os.stat(name, dir_fd=directory, follow_symlinks=False)
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    if old.st_mode != new.st_mode:
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def keep_aside(name: str, directory: int) -> str:
    """Give a file a second name, `NAME.damaged-N`, that no file has yet.

    On a file system without hard links the file loses its first name.

    Returns:
        The second name.
    """
    for number in range(1, _MAX_KEPT_ASIDE):
        aside = f"{name}.damaged-{number}"
        try:
            try:
                os.link(
                    name, aside, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False
                )
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                os.close(os.open(aside, _NEW_FILE, 0o666, dir_fd=directory))
                os.replace(name, aside, src_dir_fd=directory, dst_dir_fd=directory)
            return aside
        except FileExistsError:
            continue
    raise OSError(errno.EEXIST, f"there are {_MAX_KEPT_ASIDE} damaged files of this name")


@contextlib.contextmanager
def locked_file(
    name: str, directory: int, max_bytes: int, *, patient: bool = True
) -> Iterator[bytes | None]:
    """Lock a file and yield its bytes, one more than `max_bytes` at most.

    None is yielded where there is no regular file.

    Args:
        name: of the file.
        directory: descriptor of its directory.
        max_bytes: bytes to read.
        patient: whether to wait seconds for the lock, or an instant only.

    Raises:
        LockTimeoutError: another program holds the lock.
    """
    end = time.monotonic() + (_MAX_LOCK_WAIT_S if patient else _MIN_LOCK_WAIT_S)
    while True:
        try:
            descriptor = _open_for_lock(name, directory)
        except OSError as error:
            if error.errno not in NOT_A_FILE:
                raise
            yield None
            return
        try:
            opened = os.fstat(descriptor)
            if not stat.S_ISREG(opened.st_mode):
                yield None
                return
            if _try_lock(descriptor) and _is_same_file(name, directory, opened):
                with open(descriptor, "rb", closefd=False) as file:
                    data = file.read(max_bytes + 1)
                yield data
                return
        finally:
            close_unwritten(descriptor)
        if time.monotonic() > end:
            raise LockTimeoutError
        time.sleep(0.001)


def remove_abandoned(root: os.PathLike[str], now: float) -> None:
    """Remove the temporary files below a directory that a crash left behind.

    Args:
        root: the directory.
        now: the present on the clock of its file system, Unix time.
    """
    for listed in walk(root):
        unfinished.remove_abandoned(listed.descriptor, listed.others, now)


def _open_for_lock(name: str, directory: int) -> int:
    """Open a file, for writing where that is permitted: NFS locks no other files."""
    flags = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(name, os.O_RDWR | flags, dir_fd=directory)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        return os.open(name, os.O_RDONLY | flags, dir_fd=directory)


def _try_lock(descriptor: int) -> bool:
    """Take the lock; also True on a file system that has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _is_regular(name: str, directory: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _is_same_file(name: str, directory: int, opened: os.stat_result) -> bool:
    """Whether nobody replaced the file before it was locked."""
    try:
        return os.path.samestat(os.stat(name, dir_fd=directory, follow_symlinks=False), opened)
    except OSError:
        return False
