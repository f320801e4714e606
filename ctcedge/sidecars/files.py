"""File operations below a directory descriptor, by which sidecars are read, locked and replaced.

No symbolic link is followed: a descriptor of the directory and a bare name always mean that very
directory, whatever is renamed meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator

NOT_A_FILE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENXIO,
    errno.ENAMETOOLONG,
    errno.EISDIR,
}
"""Errors of opening a path at which there is no regular file."""

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags to open a directory."""

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}
_TEMPORARY = re.compile(r"\.ctcedge-(\d+)-\d+\.tmp")
_MAX_WRITE_S = 3600.0  # after this a process number was given to another process
_MAX_LOCK_WAIT_S = 10.0
_MAX_KEPT_ASIDE = 10_000


class LockTimeoutError(Exception):
    """Another program holds the lock on a file."""


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

    def _close(self) -> None:
        if self._path is not None:
            self._path = None
            os.close(self._descriptor)


def temporary_name(number: int) -> str:
    """Name of a file of this process that is not complete yet."""
    return f".ctcedge-{os.getpid()}-{number}.tmp"


def create(name: str, data: bytes, directory: int, *, durable: bool = False) -> None:
    """Create a file; anything that has its name, such as a link, is removed first.

    Args:
        name: of the file.
        data: its contents.
        directory: descriptor of its directory.
        durable: fsync before returning.
    """
    try:
        descriptor = os.open(name, _NEW_FILE, 0o666, dir_fd=directory)
    except FileExistsError:
        os.unlink(name, dir_fd=directory)
        descriptor = os.open(name, _NEW_FILE, 0o666, dir_fd=directory)
    try:
        remaining = memoryview(data)
        while remaining:
            remaining = remaining[os.write(descriptor, remaining) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_ownership(name: str, temporary: str, directory: int) -> None:
    """Give a new file the owner and mode of the one that it replaces."""
    old = os.stat(name, dir_fd=directory, follow_symlinks=False)
    new = os.stat(temporary, dir_fd=directory, follow_symlinks=False)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with contextlib.suppress(PermissionError):
            os.chown(temporary, old.st_uid, old.st_gid, dir_fd=directory, follow_symlinks=False)
    if old.st_mode != new.st_mode:
        os.chmod(temporary, stat.S_IMODE(old.st_mode), dir_fd=directory)


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
def locked_file(name: str, directory: int, max_bytes: int) -> Iterator[bytes | None]:
    """Lock a file and yield its bytes, one more than `max_bytes` at most.

    None is yielded where there is no regular file.

    Raises:
        LockTimeoutError: another program holds the lock.
    """
    end = time.monotonic() + _MAX_LOCK_WAIT_S
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
            os.close(descriptor)
        if time.monotonic() > end:
            raise LockTimeoutError
        time.sleep(0.001)


def remove_abandoned(root: os.PathLike[str]) -> None:
    """Remove the temporary files below a directory whose process is gone."""
    for parent, _, names in os.walk(root):
        for name in names:
            match = _TEMPORARY.fullmatch(name)
            if match and not _in_use(os.path.join(parent, name), int(match[1])):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(parent, name))


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


def _is_same_file(name: str, directory: int, opened: os.stat_result) -> bool:
    """Whether nobody replaced the file before it was locked."""
    try:
        return os.path.samestat(os.stat(name, dir_fd=directory, follow_symlinks=False), opened)
    except OSError:
        return False


def _in_use(path: str, pid: int) -> bool:
    """Whether a temporary file may belong to a running ctcedge on a directory within this one."""
    if pid == os.getpid():  # a crashed process had the number of this one, as in a container
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    try:
        return time.time() - os.lstat(path).st_mtime < _MAX_WRITE_S
    except OSError:
        return False
