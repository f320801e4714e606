"""The folder of the sidecars of one searched folder: reading, locking and replacing them.

A sidecar is written to a temporary name in its own folder and then renamed, so that a reader sees
all of it or none. No symbolic link below the root is followed, so that nothing is written
elsewhere. After a power cut a sidecar may still be torn: it then counts as missing, and its crop is
classified again.

What a sidecar replaces is kept in `history`: a call that someone may have acted on is never erased.
Nor is a person's `review`, which `ctcedge review import` may add while a watch runs: whoever
replaces a sidecar holds the kernel's lock on the file that is replaced. Reviews and calls in a
damaged file are carried over as far as they can be read; if some cannot, the file is kept under
another name.

Longer than most modules: reading, ownership, locking and replacing depend on each other, and on one
lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ctcedge.discovery.naming import SIDECAR_SUFFIX, Crop
from ctcedge.errors import OutputError
from ctcedge.fs.descriptors import close_unwritten
from ctcedge.fs.files import FileTooLargeError, UnsuitableFileError
from ctcedge.fs.tree import DIRECTORY, Tree
from ctcedge.fs.unfinished import ReplacedError, sync_folder, try_in, try_replacing_in
from ctcedge.sidecars import files
from ctcedge.sidecars.chain import chained
from ctcedge.sidecars.ownership import folded
from ctcedge.sidecars.parse import MAX_BYTES, Parsed, encode
from ctcedge.sidecars.replacement import (
    NotRead,
    NotWritten,
    OtherCropError,
    check_owner,
    check_size,
    parse_file,
    replacement,
    with_salvaged,
)
from ctcedge.sidecars.schema import Sidecar

__all__ = ["NotWritten", "SidecarStore", "WriteSidecar", "Written", "try_writing"]

_OF_ONE_FOLDER = (errno.EACCES, errno.EPERM)  # others may have other permissions
_MIN_PROBE = 64 * 1024  # bytes
_PROBE_INTERVAL = 1.0  # seconds for which the root counts as writable
_IMPATIENT_S = 60.0  # after a sidecar was held, for which others are not waited for long
_LOCK_RETRY_S = 0.2
_REPLACED_TOGETHER = 64


class Written(NamedTuple):
    """What is at a sidecar's path after a write.

    Attributes:
        sidecar: its content.
        kept_aside: name under which a damaged file was kept that had this path; None where there
            was none, or all reviews and calls in it could be carried over.
    """

    sidecar: Sidecar
    kept_aside: str | None


WriteSidecar: TypeAlias = Callable[[Crop, Sidecar | None], Written]


def try_writing(folder: Path) -> float:
    """Write and remove an empty file in the folder.

    Returns:
        The file's modification time: the present on the clock of the file system, Unix time.

    Raises:
        OSError: it cannot be written.
    """
    descriptor = os.open(folder, DIRECTORY)
    try:
        return try_in(descriptor)
    finally:
        close_unwritten(descriptor)


class SidecarStore:
    """The sidecars of one searched folder: beside the images, or below another folder.

    Args:
        folder: the searched folder.
        out: root of the sidecars; None for beside the images.

    Attributes:
        root: root of the sidecars.
    """

    def __init__(self, folder: Path, out: Path | None = None) -> None:
        self.root = folder if out is None else out
        self._folder = folder
        self._beside = out is None or out.resolve() == folder.resolve()
        self._locked: int | None = None
        self._lock_is_lent = False
        self._locking = threading.Lock()
        self._replacing = [threading.Lock() for _ in range(_REPLACED_TOGETHER)]
        self._writable_until = 0.0
        self._impatient_until = 0.0

    @classmethod
    def under_lock(cls, folder: Path, out: Path | None, descriptor: int | None) -> SidecarStore:
        """The store in a worker process, whose root the process that started it has locked.

        Args:
            folder: the searched folder.
            out: root of the sidecars; None for beside the images.
            descriptor: of the locked root, inherited; the lock lasts while it is open.
        """
        store = cls(folder, out)
        store._locked, store._lock_is_lent = descriptor, True
        return store

    @property
    def lock_descriptor(self) -> int | None:
        """Descriptor of the locked root; None where it is not locked."""
        return self._locked

    @property
    def out(self) -> Path | None:
        """Root of the sidecars; None for beside the images."""
        return None if self._beside else self.root

    def path(self, crop: Crop) -> Path:
        """The path of the crop's sidecar."""
        return self.root / (crop.path + SIDECAR_SUFFIX)

    def read(self, crop: Crop) -> Sidecar | None:
        """Return the crop's sidecar, as `load` does."""
        parsed = self.load(crop)
        return None if parsed is None else parsed.sidecar

    def load(self, crop: Crop, tree: Tree | None = None) -> Parsed | None:
        """Return the crop's sidecar and its schema version; None where there is no sidecar.

        Beside the images a sidecar belongs to its image, whatever the folder was called when it
        was written. Below another folder, one of another sample means that two exports share it.

        Args:
            crop: the crop.
            tree: the root, opened for the reading of several; None to open it for this one.

        Raises:
            NotWritten: it must not be replaced: it is another sample's, or a newer ctcedge's, or
                cannot be read now.
        """
        path = f"{self.root}/{crop.path}{SIDECAR_SUFFIX}"
        try:
            with contextlib.nullcontext(tree) if tree is not None else Tree(self.root) as opened:
                data = opened.read(crop.path + SIDECAR_SUFFIX, MAX_BYTES)
            parsed = parse_file(data, path)
        except FileTooLargeError as error:
            check_size(error.data)
            parsed = None
        except UnsuitableFileError:
            parsed = None
        except OSError as error:
            if error.errno in files.NOT_A_FILE:
                return None
            raise NotRead(f"sidecar cannot be read: {error.strerror}") from None
        if parsed is not None:
            self._check_owner(crop, parsed.sidecar)
        return parsed

    def _check_owner(self, crop: Crop, sidecar: Sidecar) -> None:
        check_owner(crop, sidecar, self._folder, None if self._beside else self.root)

    def check(self, crops: Iterable[Crop | None]) -> None:
        """Check, before anything is written, that the sidecars that are there may be replaced.

        Where one may, those that must not be are named one by one by `batch`.

        Args:
            crops: the crops of the folder; None for one whose sidecar is known to be its own.

        Raises:
            OutputError: naming the first, where none may be replaced.
        """
        refused = None
        with Tree(self.root) as tree:
            for crop in crops:
                try:
                    if crop is None or self.load(crop, tree) is not None:
                        return
                except (NotRead, OtherCropError):
                    pass
                except NotWritten as error:
                    refused = refused or error
        if refused is not None:
            raise OutputError(str(refused))

    @contextlib.contextmanager
    def batch(self) -> Iterator[WriteSidecar]:
        """Write several sidecars from one thread; the directory of the last one stays open.

        Yields:
            A function that writes a crop's sidecar, whole or not at all; None in the place of a
            sidecar upgrades the one that is there to the present schema. `review` and `history`
            follow from the file that is replaced. It raises `NotWritten` where this path cannot be
            written but others may, and `OutputError` where no sidecar can be written now, for
            instance because the disk is full.
        """
        with files.DirFdCache(self._open_directory) as directories:
            yield lambda crop, sidecar: self._replace(crop, replacement(crop, sidecar), directories)

    def write(self, crop: Crop, sidecar: Sidecar) -> Written:
        """Write one sidecar, as `batch` does."""
        with self.batch() as write:
            return write(crop, sidecar)

    def amend(self, crop: Crop, change: Callable[[Sidecar], Sidecar]) -> Sidecar:
        """Change the crop's sidecar, also while another ctcedge writes there.

        Args:
            crop: the crop.
            change: given the sidecar as it is now, returns the one to write.

        Returns:
            What was written.

        Raises:
            NotWritten: there is no sidecar of this crop, or its path cannot be written.
            OutputError: no sidecar can be written now.
        """

        def changed(old: Sidecar | None) -> Sidecar:
            if old is None:
                raise NotWritten(f"{self.path(crop)} is not a whole sidecar")
            return change(old)

        if self.read(crop) is None:
            changed(None)
        with files.DirFdCache(self._open_directory) as directories:
            return self._replace(crop, changed, directories).sidecar

    def sync(self, crops: Iterable[Crop]) -> None:
        """Bring the names of crops' sidecars to the disk; their content with reviews is there.

        Raises:
            OutputError: it failed.
        """
        folders = {""}
        for crop in crops:
            parent = crop.path.rpartition("/")[0]
            while parent not in folders:
                folders.add(parent)
                parent = parent.rpartition("/")[0]
        for folder in sorted(folders):
            try:
                descriptor = self._open_directory(folder)
                try:
                    sync_folder(descriptor)
                finally:
                    close_unwritten(descriptor)
            except OSError as error:
                raise OutputError(
                    f"{self.root / folder} cannot be brought to the disk: {error.strerror}; what is"
                    " written there may be lost in a power cut, run again"
                ) from None

    def _replace(
        self, crop: Crop, change: Callable[[Sidecar | None], Sidecar], directories: files.DirFdCache
    ) -> Written:
        parent, _, image = crop.path.rpartition("/")
        name = image + SIDECAR_SUFFIX
        try:
            directory = directories.descriptor(parent)
            # Two crops whose names lead to the same file may both be new.
            replacing = self._replacing[hash(folded(crop.path)) % _REPLACED_TOGETHER]
            patient = time.monotonic() >= self._impatient_until
            with (
                replacing,
                files.locked_file(name, directory, MAX_BYTES, patient=patient) as data,
            ):
                old = None if data is None else parse_file(data, name)
                check_size(data)
                previous = None if old is None else old.sidecar
                if previous is not None:
                    self._check_owner(crop, previous)
                sidecar, complete = change(previous), True
                if data is not None and previous is None:
                    sidecar, complete = with_salvaged(sidecar, data)
                else:
                    sidecar = chained(sidecar, previous)
                content = encode(sidecar)
                if len(content) > MAX_BYTES:  # it could not be read again
                    raise NotWritten(
                        f"sidecar would be larger than {MAX_BYTES:,} bytes, with"
                        f" {len(sidecar.reviews):,} reviews and {len(sidecar.history):,} earlier"
                        " calls; what is there is kept"
                    )
                aside = files.put(
                    name,
                    content,
                    directory,
                    replaces=data is not None,
                    # A review is a person's work, which no run brings back after a power cut.
                    durable=sidecar.review is not None,
                    keep=not complete,
                )
                return Written(sidecar, aside)
        except files.LockTimeoutError:
            if patient:  # not as long for each of many
                self._impatient_until = time.monotonic() + _IMPATIENT_S
            raise NotWritten("sidecar cannot be written: another program holds it") from None
        except files.AppearedError:  # its reviews and calls are carried over
            return self._replace(crop, change, directories)
        except ReplacedError as error:
            raise NotWritten(f"sidecar cannot be written: {error.strerror}") from None
        except OSError as error:
            try:
                self._check_root()
            finally:
                directories.forget()  # its folder may have been replaced
            raise NotWritten(f"sidecar cannot be written: {error.strerror}") from None

    def _check_root(self) -> None:
        """Find out, where a sidecar could not be written, whether others can be.

        Raises:
            OutputError: none can be written now.
        """
        now = time.monotonic()
        if now < self._writable_until:
            return
        try:
            descriptor = os.open(self.root, DIRECTORY)
            try:
                try_replacing_in(descriptor, _MIN_PROBE)
            finally:
                close_unwritten(descriptor)
        except OSError as error:
            if error.errno in _OF_ONE_FOLDER:
                return
            raise OutputError(
                f"cannot write into {self.root}: {error.strerror}; what is written stays, run again"
            ) from None
        self._writable_until = now + _PROBE_INTERVAL

    def _open_directory(self, path: str) -> int:
        """Open a directory below the root, step by step; a missing one is made."""
        if not self._beside:
            self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root, DIRECTORY)
        try:
            self._keep_locked(descriptor)
            for name in path.split("/") if path else ():
                if not self._beside:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, dir_fd=descriptor)
                below = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                close_unwritten(descriptor)
                descriptor = below
        except BaseException:
            close_unwritten(descriptor)
            raise
        return descriptor

    def renew_lock(self) -> None:
        """Lock the root where it was replaced, or mounted again, since it was locked.

        Raises:
            OutputError: another ctcedge writes there now.
        """
        with contextlib.suppress(OSError):  # reported by the next write
            close_unwritten(self._open_directory(""))

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Make the root, check that it can be written, lock it and remove abandoned files.

        The lock is the kernel's, on the folder itself: it leaves no file and ends with the process.

        Raises:
            OutputError: the root cannot be written, or another ctcedge writes there.
        """
        hint = "" if not self._beside else "; give --out FOLDER to write elsewhere"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.root, DIRECTORY)
        except OSError as error:
            raise OutputError(f"{self.root}: {error.strerror}{hint}") from None
        try:
            self._lock(descriptor)
            self._locked = descriptor
            try:
                now = try_writing(self.root)
            except OSError as error:
                text = f"{self.root} cannot be written: {error.strerror}{hint}"
                raise OutputError(text) from None
            files.remove_abandoned(self.root, now)
            yield
        finally:
            self._locked = None
            close_unwritten(descriptor)

    def _keep_locked(self, root: int) -> None:
        """Lock the root where it was replaced, or mounted again, since it was locked.

        Raises:
            OutputError: another ctcedge writes there now; or this is a worker process, which leaves
                the locking to the one that started it.
        """
        if self._locked is None:
            return
        with self._locking:
            if os.path.samestat(os.fstat(root), os.fstat(self._locked)):
                return
            if self._lock_is_lent:
                raise OutputError(
                    f"{self.root} was replaced meanwhile, for instance by a mount; what is written"
                    " stays, run again"
                )
            self._lock(root)
            os.dup2(root, self._locked, inheritable=False)

    def _lock(self, descriptor: int) -> None:
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOCK_RETRY_S)  # 'ctcedge status' takes the lock for an instant
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"another ctcedge is writing into {self.root}; stop it, or give another --out"
            ) from None
        except OSError:
            pass  # some network file systems cannot lock a folder
