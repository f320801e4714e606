"""Files that get their name only when they are complete, and folders that are synced to disk.

Where the file system can, a file has no name while it is written (`O_TMPFILE`). Elsewhere it has a
name that nobody can guess, and the kernel's lock for as long as it is in use. So two writers never
share a temporary file, be they in two containers or on two computers with the same process number.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from ctcedge.fs.descriptors import close_unwritten

TEMPORARY = re.compile(r"\.ctcedge-(?:[0-9a-f]{32}|\d+-\d+)\.tmp")
"""Names of files that are not complete yet; the second form is that of earlier versions."""

MAX_UNFINISHED_S = 3600.0
"""Age in seconds after which a file that nobody has locked counts as left behind by a crash."""

_UNNAMED = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
_NAMED = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_DIRECTORY = os.O_DIRECTORY | os.O_CLOEXEC
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}
_NO_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EROFS, errno.EBADF}
_RENAME_NOREPLACE = 1
_BLOCK = 1 << 20


class ReplacedError(OSError):
    """Another program put a file in the place of one that was being written."""

    def __init__(self, name: str) -> None:
        text = "another program replaced the file while it was written"
        super().__init__(errno.EBUSY, text, name)


class UnfinishedFile:
    """A file that is being written and gets its name at the end.

    `close` must be called in any case; it removes what did not get a name.

    Args:
        directory: descriptor of the folder.
        mode: permissions of the file, before the umask.

    Attributes:
        descriptor: of the file, for reading and writing.
    """

    __slots__ = ("_directory", "_name", "descriptor")

    def __init__(self, directory: int, mode: int = 0o666) -> None:
        self._directory = directory
        self._name: str | None = None
        try:
            self.descriptor = os.open(".", _UNNAMED, mode, dir_fd=directory)
        except OSError:  # of the file system's kind, or one that the next attempt raises as well
            self._name = _new_name()
            self.descriptor = os.open(self._name, _NAMED, mode, dir_fd=directory)
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass  # without locks, its age protects the file

    def write(self, data: bytes) -> None:
        """Write all of the bytes."""
        remaining = memoryview(data)
        while remaining:
            remaining = remaining[os.write(self.descriptor, remaining) :]

    def create(self, name: str) -> None:
        """Give the file its name.

        Raises:
            FileExistsError: there is a file of that name.
            ReplacedError: another program replaced it meanwhile.
        """
        self._flush()
        if self._name is None:
            try:
                return self._link(name)  # of the very file that was written
            except FileExistsError:
                raise
            except OSError:
                self._become_named()
        assert self._name is not None
        try:
            os.link(
                self._name,
                name,
                src_dir_fd=self._directory,
                dst_dir_fd=self._directory,
                follow_symlinks=False,
            )
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            _rename_new(self._name, name, self._directory)
            self._name = None
        self._check(name)

    def replace(self, name: str) -> None:
        """Give the file its name; a file or link of that name is replaced.

        Raises:
            ReplacedError: another program replaced it meanwhile.
        """
        self._flush()
        if self._name is None:
            self._become_named()
            assert self._name is not None
        os.replace(self._name, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        self._name = None
        self._check(name)

    def close(self) -> None:
        """Close the file, and remove it unless it got its name."""
        if self._name is not None:
            try:
                os.unlink(self._name, dir_fd=self._directory)
            except OSError:
                pass
        try:
            os.close(self.descriptor)
        except OSError:
            pass  # what `_flush` did not report is written

    def _flush(self) -> None:
        """Let a network file system report what it could not write, which it does on closing."""
        os.close(os.dup(self.descriptor))

    def _link(self, name: str) -> None:
        source = f"/proc/self/fd/{self.descriptor}"
        os.link(source, name, dst_dir_fd=self._directory, follow_symlinks=True)

    def _become_named(self) -> None:
        """Give an unnamed file a temporary name."""
        name = _new_name()
        try:
            self._link(name)
            self._name = name
        except OSError:  # no /proc, or a file system that cannot: into a file that has a name
            own = os.fstat(self.descriptor)
            named = os.open(name, _NAMED, stat.S_IMODE(own.st_mode), dir_fd=self._directory)
            unnamed = os.dup(self.descriptor)
            os.dup2(named, self.descriptor, inheritable=False)
            os.close(named)
            self._name = name
            try:
                os.fchmod(self.descriptor, stat.S_IMODE(own.st_mode))
                for offset in range(0, own.st_size, _BLOCK):
                    self.write(os.pread(unnamed, _BLOCK, offset))
                os.fsync(self.descriptor)
            finally:
                os.close(unnamed)

    def _check(self, name: str) -> None:
        """Check that the file of that name is the one that was written.

        Raises:
            ReplacedError: it is another one.
        """
        own = os.fstat(self.descriptor)
        there = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        if own.st_ino != there.st_ino or own.st_dev != there.st_dev:
            # Some network file systems have no lasting inode numbers.
            if own.st_size != there.st_size or not self._has_same_bytes(name):
                raise ReplacedError(name)

    def _has_same_bytes(self, name: str) -> bool:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        there = os.open(name, flags, dir_fd=self._directory)
        try:
            offset = 0
            while block := os.pread(self.descriptor, _BLOCK, offset):
                if os.pread(there, len(block), offset) != block:
                    return False
                offset += len(block)
            return True
        finally:
            os.close(there)


def try_in(directory: int) -> float:
    """Create an empty file in a folder, and remove it; it has no name where that is possible.

    Args:
        directory: descriptor of the folder.

    Returns:
        The file's modification time: the present on the clock of its file system, Unix time.

    Raises:
        OSError: it cannot be written.
    """
    try:
        unnamed = os.open(".", _UNNAMED, 0o666, dir_fd=directory)
    except OSError:  # of the file system's kind, or one that the next attempt raises as well
        return _try_named_in(directory)
    try:
        return os.fstat(unnamed).st_mtime
    finally:
        close_unwritten(unnamed)


def _try_named_in(directory: int) -> float:
    name = _new_name()
    descriptor = os.open(name, _NAMED, 0o666, dir_fd=directory)
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        close_unwritten(descriptor)
        try:
            os.unlink(name, dir_fd=directory)
        except OSError:
            os.unlink(name, dir_fd=directory)


def try_replacing_in(directory: int, size: int) -> None:
    """Create, replace and remove a file in a folder, as the writing of sidecars does.

    Args:
        directory: descriptor of the folder.
        size: bytes to write.

    Raises:
        OSError: it cannot be done.
    """
    name = _new_name()
    try:
        for finish in (UnfinishedFile.create, UnfinishedFile.replace):
            file = UnfinishedFile(directory)
            try:
                file.write(bytes(size))
                finish(file, name)
            finally:
                file.close()
    finally:
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            pass


def open_folder(path: str | os.PathLike[str]) -> int:
    """Return a descriptor of a folder; the caller closes it."""
    try:
        return os.open(path, os.O_RDONLY | _DIRECTORY)
    except PermissionError:  # files may be put into a folder that must not be listed
        return os.open(path, os.O_PATH | _DIRECTORY)


def sync_folder(descriptor: int) -> None:
    """Bring the names in a folder to the disk, so that they survive a power cut.

    Nothing is done where the file system has no such operation.

    Raises:
        OSError: it failed.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def make_folders(path: Path, mode: int = 0o777) -> None:
    """Make a folder with its parents, and bring their names to the disk.

    Raises:
        OSError: it failed.
    """
    missing = []
    folder = path
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    for made in missing:
        descriptor = open_folder(made.parent)
        try:
            sync_folder(descriptor)
        finally:
            close_unwritten(descriptor)


def remove_abandoned(directory: int, names: Iterable[str], now: float) -> None:
    """Remove temporary files that a crash left behind.

    Args:
        directory: descriptor of the folder.
        names: names in it.
        now: the present on the clock of its file system, Unix time.
    """
    for name in names:
        if TEMPORARY.fullmatch(name):
            try:
                if not _in_use(name, directory, now):
                    os.unlink(name, dir_fd=directory)
            except OSError:
                pass


def _in_use(name: str, directory: int, now: float) -> bool:
    """Whether a temporary file may still be written, by a process on any computer."""
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or now - status.st_mtime < MAX_UNFINISHED_S:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass  # no locks here
        return False
    finally:
        close_unwritten(descriptor)


def _new_name() -> str:
    return f".ctcedge-{os.urandom(16).hex()}.tmp"


def _rename_new(old: str, new: str, directory: int) -> None:
    """Rename a file unless there is one of the new name.

    Raises:
        FileExistsError: there is one.
    """
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(old), os.fsencode(new)
    try:
        rename = library.renameat2
    except AttributeError:  # an old C library
        error = errno.ENOSYS
    else:
        if rename(directory, names[0], directory, names[1], _RENAME_NOREPLACE) == 0:
            return
        error = ctypes.get_errno()
    if error not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(error, os.strerror(error), new)
    try:
        os.stat(new, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(old, new, src_dir_fd=directory, dst_dir_fd=directory)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
