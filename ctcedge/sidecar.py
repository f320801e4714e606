"""The record that a crop leaves behind: one JSON file a crop, whole or absent.

A sidecar is written to a temporary name in its own folder and then renamed, so that a reader sees
all of it or none. No symbolic link below the root is followed on the way there, so that nothing is
written elsewhere. After a power cut one may still be torn: it then counts as missing, and the crop
is done again. What a sidecar replaces is kept in `history`: a call that someone may have acted on
is never erased.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ctcedge.crops import SIDECAR_SUFFIX, Crop
from ctcedge.errors import CtcEdgeError, OutputError
from ctcedge.files import open_plain

SCHEMA_FAMILY = "ctcedge/sidecar/"
SCHEMA_VERSION = 1
SCHEMA = f"{SCHEMA_FAMILY}{SCHEMA_VERSION}"

Record = dict[str, Any]

_CALLS = ("CTC", "leukocyte", "review")
_MAX_BYTES = 4 * 1024 * 1024
_VERSION = re.compile(re.escape(SCHEMA_FAMILY) + r"([0-9]{1,9})")
_TEMPORARY = re.compile(r"\.ctcedge-(\d+)-\d+\.tmp")
_LONGEST_WRITE = 3600.0  # seconds; after this a process number was given out anew
_EARLIER_KEYS = (
    "created",
    "call",
    "probability",
    "prior",
    "threshold",
    "reasons",
    "sample",
    "cell",
    "model",
    "settings_sha256",
    "software",
)
# What stands at a sidecar's place is no file of ours: it may be replaced.
_NO_SIDECAR = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENXIO,
    errno.ENAMETOOLONG,
}
# Errors of one path alone; any other error of a write concerns them all and ends the run.
_ONE_PATH_ERRORS = {
    errno.ENAMETOOLONG,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class NotWritten(CtcEdgeError):
    """One sidecar cannot, or must not, be written, for a reason that concerns its path alone."""


class _NotRead(NotWritten):
    """There is a sidecar that cannot be read now; replacing it could erase a call."""


def schema() -> Record:
    """The JSON Schema (2020-12) of a sidecar."""
    path = Path(__file__).parent / "schemas" / f"sidecar-{SCHEMA_VERSION}.json"
    loaded: Record = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def now() -> str:
    """The time, RFC 3339, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def history(previous: Record | None) -> list[Record]:
    """The history of a record that replaces `previous`: its history, then its own call."""
    if previous is None:
        return []
    earlier: list[Record] = list(previous["history"])
    if previous["call"] is not None:
        entry = {key: previous[key] for key in _EARLIER_KEYS}
        entry["image_sha256"] = previous["image"]["sha256"]
        earlier.append(entry)
    return earlier


def try_writing(folder: Path) -> None:
    """Write and remove an empty file in the folder.

    Raises:
        OSError: it cannot be written.
    """
    probe = f".ctcedge-{os.getpid()}-0.tmp"
    descriptor = os.open(folder, _FOLDER)
    try:
        _write_new(probe, b"", descriptor)
        os.unlink(probe, dir_fd=descriptor)
    finally:
        os.close(descriptor)


class SidecarFolder:
    """Where the sidecars of one searched folder lie: beside the images, or below another folder.

    Args:
        folder: the searched folder.
        out: root of the sidecars; None for beside the images.
    """

    def __init__(self, folder: Path, out: Path | None = None) -> None:
        self.root = folder if out is None else out
        self._beside = out is None or out.resolve() == folder.resolve()
        self._numbers = itertools.count(1)
        self._locked: int | None = None

    def path(self, crop: Crop) -> Path:
        """Where the crop's sidecar belongs."""
        return self.root / (crop.path + SIDECAR_SUFFIX)

    def read(self, crop: Crop) -> Record | None:
        """Return the crop's sidecar; None where it is absent, torn or foreign.

        Beside the images a sidecar belongs to its image, whatever the folder was called when it
        was written. Below another folder, one of another sample means that two exports share it.

        Raises:
            NotWritten: it must not be replaced: it is another sample's, or a newer ctcedge's, or
                cannot be read now.
        """
        path = self.path(crop)
        record = _parse(path)
        if record is None:
            return None
        version = _VERSION.fullmatch(str(record.get("schema")))
        if version and int(version[1]) > SCHEMA_VERSION:
            raise NotWritten(
                f"{path} was written by a newer ctcedge; update ctcedge or give another --out"
            )
        if not _is_whole(record):
            return None
        if record["sample"] != crop.sample and not self._beside:
            raise NotWritten(
                f"{path} belongs to sample '{record['sample']}', not '{crop.sample}';"
                " give each export folder its own --out"
            )
        return record

    def check(self, crops: Iterable[Crop]) -> None:
        """See, before anything is written, that no crop's sidecar must be kept from replacement.

        Raises:
            OutputError: naming the first that must.
        """
        try:
            for crop in crops:
                with contextlib.suppress(_NotRead):
                    self.read(crop)
        except NotWritten as error:
            raise OutputError(str(error)) from None

    def write(self, crop: Crop, record: Record) -> None:
        """Write the crop's sidecar, whole or not at all.

        Raises:
            NotWritten: this path cannot be written; others may.
            OutputError: no sidecar can be written now, for instance because the disk is full.
        """
        path = self.path(crop)
        temporary = f".ctcedge-{os.getpid()}-{next(self._numbers)}.tmp"
        text = json.dumps(record, ensure_ascii=False, indent=1) + "\n"
        try:
            with self._folder_of(crop) as folder:
                try:
                    # A name that is not UTF-8 leaves lone surrogates, written as JSON escapes.
                    _write_new(temporary, text.encode("utf-8", "backslashreplace"), folder)
                    os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
                except BaseException:
                    with contextlib.suppress(OSError):
                        os.unlink(temporary, dir_fd=folder)
                    raise
        except OSError as error:
            vanished = error.errno == errno.ENOENT and self.root.is_dir()
            if vanished or error.errno in _ONE_PATH_ERRORS:
                raise NotWritten(f"sidecar cannot be written: {error.strerror}") from None
            raise OutputError(
                f"cannot write into {self.root}: {error.strerror}; what is written stays, run again"
            ) from None

    @contextlib.contextmanager
    def _folder_of(self, crop: Crop) -> Iterator[int]:
        """Open the folder of the crop's sidecar, made where it is missing, step by step."""
        if not self._beside:
            self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root, _FOLDER)
        try:
            self._keep_locked(descriptor)
            for name in crop.path.split("/")[:-1]:
                if not self._beside:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, dir_fd=descriptor)
                below = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Make the root, see that it can be written, lock it, and sweep what a crash left.

        The lock is the kernel's, on the folder itself: it leaves no file and ends with the process.

        Raises:
            OutputError: the root cannot be written, or another ctcedge writes there.
        """
        hint = "" if not self._beside else "; give --out FOLDER to write elsewhere"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.root, _FOLDER)
        except OSError as error:
            raise OutputError(f"{self.root}: {error.strerror}{hint}") from None
        try:
            self._lock(descriptor)
            self._locked = descriptor
            self._sweep()
            try:
                try_writing(self.root)
            except OSError as error:
                text = f"{self.root} cannot be written: {error.strerror}{hint}"
                raise OutputError(text) from None
            yield
        finally:
            self._locked = None
            os.close(descriptor)

    def _keep_locked(self, root: int) -> None:
        """Lock the root where it was replaced, or mounted anew, since it was locked.

        Raises:
            OutputError: another ctcedge writes there now.
        """
        if self._locked is None or os.path.samestat(os.fstat(root), os.fstat(self._locked)):
            return
        self._lock(root)
        os.dup2(root, self._locked, inheritable=False)

    def _lock(self, descriptor: int) -> None:
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.2)  # 'ctcedge status' looks at the lock for an instant
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"another ctcedge is writing into {self.root}; stop it, or give another --out"
            ) from None
        except OSError:
            pass  # some network file systems cannot lock a folder

    def _sweep(self) -> None:
        for parent, _, names in os.walk(self.root):
            for name in names:
                match = _TEMPORARY.fullmatch(name)
                if match and not _in_use(os.path.join(parent, name), int(match[1])):
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(parent, name))


def _write_new(name: str, data: bytes, folder: int) -> None:
    """Write a file that was not there; what lies in its place, such as a link, is removed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(name, flags, 0o666, dir_fd=folder), "wb") as file:
        file.write(data)


def _in_use(path: str, pid: int) -> bool:
    """Whether a temporary file may belong to a ctcedge that runs, on a folder within this one."""
    if pid == os.getpid():  # it crashed with the number that is ours now, as in a container
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    try:
        return time.time() - os.lstat(path).st_mtime < _LONGEST_WRITE
    except OSError:
        return False


def _parse(path: Path) -> Record | None:
    try:
        file = open_plain(path)
        if file is None:
            return None
        with file:
            data = file.read(_MAX_BYTES + 1)
        record = json.loads(data) if len(data) <= _MAX_BYTES else None
    except OSError as error:
        if error.errno in _NO_SIDECAR:
            return None
        raise _NotRead(f"sidecar cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _is_whole(record: Mapping[str, Any]) -> bool:
    """Whether this is a sidecar of ours with all that is needed to judge and to keep it."""
    return (
        record.get("schema") == SCHEMA
        and all(key in record for key in (*_EARLIER_KEYS, "status", "error"))
        and (record["status"] == "classified") == (record["call"] in _CALLS)
        and (record["status"] == "classified" or record["call"] is None)
        and isinstance(record["sample"], str)
        and isinstance(record.get("history"), list)
        and isinstance(record.get("image"), dict)
        and "sha256" in record["image"]
        and isinstance(record["model"], dict)
        and "sha256" in record["model"]
    )
