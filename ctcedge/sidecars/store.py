"""The record that a crop leaves behind: one JSON file a crop, whole or absent.

A sidecar is written to a temporary name in its own folder and then renamed, so that a reader sees
all of it or none. No symbolic link below the root is followed on the way there, so that nothing is
written elsewhere. After a power cut one may still be torn: it then counts as missing, and the crop
is done again. What a sidecar replaces is kept in `history`: a call that someone may have acted on
is never erased. Nor is a person's `review`, which others may add while a watch runs: whoever
replaces a sidecar holds the kernel's lock on the file that he replaces.

Sidecars of schema 1 are read as if they were of schema 2, with null for what they did not know.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import math
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ctcedge.discovery.naming import SIDECAR_SUFFIX, Crop
from ctcedge.errors import CtcEdgeError, OutputError
from ctcedge.fs.files import read_plain

SCHEMA_FAMILY = "ctcedge/sidecar/"
SCHEMA_VERSION = 2
SCHEMA = f"{SCHEMA_FAMILY}{SCHEMA_VERSION}"

Record = dict[str, Any]

_CALLS = ("CTC", "leukocyte", "review")
_REVIEWED = ("CTC", "leukocyte", "unsure")
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
    "operating_point",
    "score",
    "reasons",
    "sample",
    "cell",
    "model",
    "settings_sha256",
    "software",
)
_NEW_IN_2 = (
    "operating_point",
    "score",
    "cluster",
    "quality",
    "unlike",
    "inference_sha256",
    "review",
)
_NEW_IN_HISTORY = {"operating_point": None, "score": None}
# What stands at a sidecar's place is no file of ours: it may be replaced.
_NO_SIDECAR = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENXIO,
    errno.ENAMETOOLONG,
    errno.EISDIR,
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
_ONLY_TO_READ = {errno.EACCES, errno.EPERM, errno.EROFS}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_LONGEST_LOCK = 10.0  # seconds for which a sidecar that is being replaced is waited for

# Each key begins a line; the encoder's own indentation is several times slower.
_encode = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, separators=(",\n ", ": ")
).encode


class NotWritten(CtcEdgeError):
    """One sidecar cannot, or must not, be written, for a reason that concerns its path alone."""


class _NotRead(NotWritten):
    """There is a sidecar that cannot be read now; replacing it could erase a call."""


def schema(version: int = SCHEMA_VERSION) -> Record:
    """The JSON Schema (2020-12) of a sidecar."""
    path = Path(__file__).parent / "schemas" / f"sidecar-{version}.json"
    loaded: Record = json.loads(path.read_text(encoding="utf-8"))
    return loaded


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
        self._locking = threading.Lock()

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
        path = f"{self.root}/{crop.path}{SIDECAR_SUFFIX}"
        found = _parse(path)
        if _version(found) > SCHEMA_VERSION:
            raise NotWritten(
                f"{path} was written by a newer ctcedge; update ctcedge or give another --out"
            )
        record = _ours(found)
        if record is None:
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

    @contextlib.contextmanager
    def batch(self) -> Iterator[Callable[[Crop, Record], Record]]:
        """What writes several sidecars, by one thread: the folder of the last one stays open.

        Yields:
            A function that writes a crop's sidecar, whole or not at all, and returns what stands
            there now: where it replaces one, `review` and `history` follow from that. It raises
            `NotWritten` where this path cannot be written but others may, and `OutputError` where
            no sidecar can be written now, for instance because the disk is full.
        """
        with _LastFolder(self._open_folder) as folders:
            yield lambda crop, record: self._replace(crop, _in_place_of(record), folders)

    def write(self, crop: Crop, record: Record) -> Record:
        """Write one sidecar, as `batch` does."""
        with self.batch() as write:
            return write(crop, record)

    def amend(self, crop: Crop, change: Callable[[Record], Record]) -> Record:
        """Replace what the crop's sidecar holds, also while another ctcedge writes there.

        Args:
            crop: the crop.
            change: given the record as it stands now, returns what shall stand there.

        Returns:
            What stands there now.

        Raises:
            NotWritten: there is no sidecar of this crop, or its path cannot be written.
            OutputError: no sidecar can be written now.
        """

        def changed(old: Record | None) -> Record:
            if old is None:
                raise NotWritten(f"{self.path(crop)} is not a whole sidecar")
            return change(old)

        if self.read(crop) is None:
            changed(None)
        with _LastFolder(self._open_folder) as folders:
            return self._replace(crop, changed, folders)

    def _replace(
        self, crop: Crop, change: Callable[[Record | None], Record], folders: _LastFolder
    ) -> Record:
        parent, _, image = crop.path.rpartition("/")
        name = image + SIDECAR_SUFFIX
        temporary = f".ctcedge-{os.getpid()}-{next(self._numbers)}.tmp"
        try:
            folder = folders.descriptor(parent)
            with _held(name, folder) as data:
                record = change(None if data is None else _ours(_decoded(data)))
                text = _encode(record) + "\n"
                try:
                    # A name that is not UTF-8 leaves lone surrogates, written as JSON escapes.
                    whole = text.encode("utf-8", "backslashreplace")
                    # A review is a person's work, which no run brings back after a power cut.
                    _write_new(temporary, whole, folder, last=bool(record.get("review")))
                    if data is not None:
                        _take_over(name, temporary, folder)
                    os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                except BaseException:
                    with contextlib.suppress(OSError):
                        os.unlink(temporary, dir_fd=folder)
                    raise
                return record
        except OSError as error:
            vanished = error.errno == errno.ENOENT and self.root.is_dir()
            if vanished or error.errno in _ONE_PATH_ERRORS:
                raise NotWritten(f"sidecar cannot be written: {error.strerror}") from None
            raise OutputError(
                f"cannot write into {self.root}: {error.strerror}; what is written stays, run again"
            ) from None

    def _open_folder(self, path: str) -> int:
        """Open a folder below the root, made where it is missing, step by step."""
        if not self._beside:
            self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root, _FOLDER)
        try:
            self._keep_locked(descriptor)
            for name in path.split("/") if path else ():
                if not self._beside:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, dir_fd=descriptor)
                below = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

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
        if self._locked is None:
            return
        with self._locking:
            if os.path.samestat(os.fstat(root), os.fstat(self._locked)):
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


def _write_new(name: str, data: bytes, folder: int, *, last: bool = False) -> None:
    """Write a file that was not there; what lies in its place, such as a link, is removed.

    Args:
        name: of the file.
        data: its contents.
        folder: descriptor of its folder.
        last: wait until it is on the disk, so that it outlasts a power cut.
    """
    try:
        descriptor = os.open(name, _NEW_FILE, 0o666, dir_fd=folder)
    except FileExistsError:
        os.unlink(name, dir_fd=folder)
        descriptor = os.open(name, _NEW_FILE, 0o666, dir_fd=folder)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if last:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_over(name: str, temporary: str, folder: int) -> None:
    """Give a new file the rights of the one that it replaces, which another account may own."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    mine = os.stat(temporary, dir_fd=folder, follow_symlinks=False)
    if (found.st_uid, found.st_gid) != (mine.st_uid, mine.st_gid):
        with contextlib.suppress(PermissionError):
            os.chown(temporary, found.st_uid, found.st_gid, dir_fd=folder, follow_symlinks=False)
    if found.st_mode != mine.st_mode:
        os.chmod(temporary, stat.S_IMODE(found.st_mode), dir_fd=folder)


class _LastFolder:
    """Keeps the folder open that was asked for last; for a moment, as folders may be replaced."""

    def __init__(self, open_folder: Callable[[str], int]) -> None:
        self._open = open_folder
        self._path: str | None = None
        self._descriptor = -1

    def __enter__(self) -> _LastFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def descriptor(self, path: str) -> int:
        """Of a folder, by its path below the root."""
        if path != self._path:
            self._close()
            self._descriptor = self._open(path)
            self._path = path
        return self._descriptor

    def _close(self) -> None:
        if self._path is not None:
            self._path = None
            os.close(self._descriptor)


def _in_place_of(record: Record) -> Callable[[Record | None], Record]:
    """The record, with the review and the history of the one that it replaces."""
    return lambda old: (
        record if old is None else {**record, "review": old["review"], "history": history(old)}
    )


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


@contextlib.contextmanager
def _held(name: str, folder: int) -> Iterator[bytes | None]:
    """Lock the sidecar of that name and yield its bytes; None where no plain file stands there.

    Raises:
        NotWritten: another program does not let go of it.
    """
    end = time.monotonic() + _LONGEST_LOCK
    while True:
        try:
            descriptor = _open_to_lock(name, folder)
        except OSError as error:
            if error.errno not in _NO_SIDECAR:
                raise
            yield None
            return
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                yield None
                return
            if _lock_now(descriptor) and _still_there(name, folder, found):
                with open(descriptor, "rb", closefd=False) as file:
                    data = file.read(_MAX_BYTES + 1)
                yield data
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > end:
            raise NotWritten("sidecar cannot be written: another program holds it")
        time.sleep(0.001)


def _open_to_lock(name: str, folder: int) -> int:
    """Open a sidecar, for writing where that is permitted: NFS locks no other files."""
    flags = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(name, os.O_RDWR | flags, dir_fd=folder)
    except OSError as error:
        if error.errno not in _ONLY_TO_READ:
            raise
        return os.open(name, os.O_RDONLY | flags, dir_fd=folder)


def _lock_now(descriptor: int) -> bool:
    """Take the lock; also 'yes' on a file system that has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _still_there(name: str, folder: int, found: os.stat_result) -> bool:
    """Whether nobody replaced the file before it was locked."""
    try:
        return os.path.samestat(os.stat(name, dir_fd=folder, follow_symlinks=False), found)
    except OSError:
        return False


def _parse(path: str) -> Record | None:
    try:
        data = read_plain(path, _MAX_BYTES)
    except OSError as error:
        if error.errno in _NO_SIDECAR:
            return None
        raise _NotRead(f"sidecar cannot be read: {error.strerror}") from None
    return None if data is None else _decoded(data)


def _decoded(data: bytes) -> Record | None:
    if len(data) > _MAX_BYTES:
        return None
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _version(record: Record | None) -> int:
    """Version of the schema that the record names; 0 where it is none of ours."""
    match = _VERSION.fullmatch(str((record or {}).get("schema")))
    return int(match[1]) if match else 0


def _ours(record: Record | None) -> Record | None:
    """The record in the present schema; None where it is not a whole one of ours."""
    if record is None:
        return None
    if _version(record) == 1:
        record = _upgraded(record)
    return record if _is_whole(record) else None


def _upgraded(record: Record) -> Record:
    """A record of schema 1 in the shape of schema 2."""
    earlier = record.get("history")
    if isinstance(earlier, list):
        earlier = [_NEW_IN_HISTORY | each if isinstance(each, dict) else each for each in earlier]
    return {**record, **dict.fromkeys(_NEW_IN_2), "schema": SCHEMA, "history": earlier}


def _is_whole(record: Mapping[str, Any]) -> bool:
    """Whether this is a sidecar of ours with all that is needed to judge and to keep it."""
    return (
        record.get("schema") == SCHEMA
        and all(key in record for key in (*_EARLIER_KEYS, *_NEW_IN_2, "status", "error"))
        and (record["status"] == "classified") == (record["call"] in _CALLS)
        and (record["status"] == "classified" or record["call"] is None)
        and isinstance(record["sample"], str)
        and isinstance(record.get("history"), list)
        and isinstance(record.get("image"), dict)
        and "sha256" in record["image"]
        and isinstance(record["model"], dict)
        and "sha256" in record["model"]
        and _is_list_of_text(record["reasons"])
        and (record["score"] is None or is_number(record["score"]))
        and record["cluster"] in (True, False, None)
        and (record["quality"] is None or _is_quality(record["quality"]))
        and (record["unlike"] is None or _is_unlike(record["unlike"]))
        and (record["review"] is None or _is_review(record["review"]))
    )


def is_number(value: object) -> bool:
    """Whether a value out of JSON is a number with which one can reckon."""
    try:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_quality(value: object) -> bool:
    return isinstance(value, dict) and _is_list_of_text(value.get("reasons"))


def _is_unlike(value: object) -> bool:
    return (
        isinstance(value, dict)
        and all(is_number(value.get(key)) for key in ("distance", "p"))
        and isinstance(value.get("traits"), list)
        and all(map(is_number, value["traits"]))
    )


def _is_review(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("history"), list):
        return False
    return all(_is_one_review(each) for each in (value, *value["history"]))


def _is_one_review(value: object) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(key), str) for key in ("reviewer", "time", "note"))
        and value.get("call") in _REVIEWED
        and value.get("from") in (*_CALLS, None)
        and isinstance(value.get("blinded"), bool)
        and _is_list_of_text(value.get("channels"))
        and all(key in value for key in ("image_sha256", "weight"))
        and (value["weight"] is None or is_number(value["weight"]))
    )
