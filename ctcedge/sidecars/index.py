"""Remembers which crops are done, so that a start need not read every image and sidecar again.

The disk is the truth. An entry says: the image with this signature and the sidecar with that one
were read, and the sidecar is of this image, this model and these settings. It is believed only
while both signatures and the key are the same, so whatever happens to the index costs time alone.
It may be deleted at any time; a file that is damaged, foreign or of another version is begun anew.

Three rules keep an entry from outliving its truth:

- An image that changed as recently as the clocks of file systems are coarse may change once more
  without a trace. It is read again later, and noted if it is then the same. Sidecars need no such
  care: they are replaced by rename, and no two have one inode.
- Images and sidecars are brought to the disk before what is noted of them, or a power cut could
  leave an entry of a torn sidecar.
- Each entry holds a checksum of itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import json
import logging
import os
import sqlite3
import struct
import threading
import time
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from ctcedge.discovery.naming import SIDECAR_SUFFIX, Crop
from ctcedge.fs.files import Signature, file_signature, read_plain
from ctcedge.fs.paths import cache_folder
from ctcedge.images.types import MAX_BYTES
from ctcedge.log import event

log = logging.getLogger("ctcedge.sidecars.index")

KEY_BYTES = 16

_VERSION = 1
_APPLICATION = 0x63746365  # 'ctce'
_GRAIN = 2.0  # seconds; no file system's times are coarser
_BATCH = 8192  # notes that are written at once
_WORTH_WRITING = 64  # notes; fewer are sooner done again than brought to the disk
_MOST_WAITING = 4 * _BATCH  # notes in memory while the disk is slow; more are dropped
_LONGEST_CLOSE = 10.0  # seconds
_LONGEST_WAIT = 5.0  # seconds for another process that uses the same index
_LONGEST_ENTRY = 2048  # bytes
_ASKED_AT_ONCE = 500
_LEAST_GONE = 1000  # entries of images that are gone; fewer are not looked for
_UNUSED = 90 * 86400.0  # seconds after which the index of another folder is removed

_SIGNATURES = struct.Struct("<qqqQqqqQ")
_CHECKSUM = struct.Struct("<I")
_LENGTH = struct.Struct("<H")
_MARK = slice(_CHECKSUM.size, _CHECKSUM.size + KEY_BYTES + _SIGNATURES.size)
_SURROUNDINGS = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
_SCHEMA = "CREATE TABLE entries (path BLOB PRIMARY KEY, entry BLOB NOT NULL) WITHOUT ROWID"


class IndexEntry(NamedTuple):
    """What a summary needs of a crop whose sidecar is current.

    Attributes:
        call: where there is one.
        reasons: for which a person is asked to look.
        cluster: whether the crop shows touching cells.
        error: why the crop stands unclassified, or None.
        traits: what its run is judged by, as 32-bit floats; empty where that is not known.
    """

    call: str | None
    reasons: tuple[str, ...]
    cluster: bool
    error: str | None
    features: Sequence[float]


class Lookup(NamedTuple):
    """A crop's files as they were at a moment before they are read.

    Attributes:
        path: of the crop, relative to the searched folder.
        known: what is known of it, where the files are still those that were noted.
        image: signature of the image; None where no plain file is there.
        sidecar: signature of its sidecar, likewise.
        moment: when they were looked at, Unix time in ns.
    """

    path: str
    entry: IndexEntry | None = None
    image: Signature | None = None
    sidecar: Signature | None = None
    looked_up_at: int = 0

    @property
    def is_new(self) -> bool:
        """Whether no sidecar was there; unknown, and so no, where nothing was looked at."""
        return self.image is not None and self.sidecar is None


class _Note(NamedTuple):
    name: bytes
    entry: bytes
    image: Signature
    verify: str | None  # SHA-256, in hex, that the image must still have; None where it was settled


def index_key(model_sha256: str, settings_sha256: str) -> bytes:
    """What an entry is of, beside the image: as in a sidecar that is current."""
    return hashlib.sha256(f"{model_sha256} {settings_sha256}".encode()).digest()[:KEY_BYTES]


def index_path(folder: Path, sidecars: Path) -> Path:
    """Where the index of a searched folder and its sidecars lies: never among either."""
    places = b"\0".join(os.fsencode(os.path.realpath(each)) for each in (folder, sidecars))
    return cache_folder() / "index" / f"{hashlib.sha256(places).hexdigest()[:32]}.sqlite"


class DoneIndex:
    """What is known of the crops of one folder. It never fails: at worst, nothing is known.

    Any thread may call it, and other processes may use the same file meanwhile.

    Args:
        folder: the searched folder.
        sidecars: root of its sidecars.
        key: from `index_key`.
    """

    def __init__(self, folder: Path, sidecars: Path, key: bytes) -> None:
        self._folder = folder
        self._sidecars = sidecars
        self._images = os.path.join(folder, "")
        self._beside = os.path.join(sidecars, "")
        self._key = key
        self._told = False
        self._using = threading.Lock()
        self._notes: list[_Note] = []
        self._due = _BATCH
        self._at_work: list[threading.Thread] = []
        self._writing = threading.Lock()
        self._reader = self._opened()

    def __enter__(self) -> DoneIndex:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def lookup(self, crops: Sequence[Crop]) -> list[Lookup]:
        """Say what is known of some crops.

        Args:
            crops: a few hundred to a few thousand at a time, best in the order of their names.

        Returns:
            Of each crop, in order. Where nothing is known, it serves to `note` it once it was
            read: files must be read after they were looked at.
        """
        if self._reader is None:
            return [Lookup(crop.path) for crop in crops]
        names = [os.fsencode(crop.path) for crop in crops]
        entries = self._entries(names)
        key, images, beside = self._key, self._images, self._beside
        moment = time.time_ns()
        looked = []
        for crop, name in zip(crops, names, strict=True):
            path, known = crop.path, None
            image = file_signature(images + path)
            sidecar = image and file_signature(f"{beside}{path}{SIDECAR_SUFFIX}")
            if image and sidecar and (entry := entries.get(name)):
                known = _unpacked(name, entry, _mark(key, image, sidecar))
            looked.append(Lookup(path, known, image, sidecar, moment))
        return looked

    def record(self, looked: Lookup, known: IndexEntry, *, sha256: str, written: bool) -> None:
        """Note that a crop is done; it is on the disk some time later, or never.

        Args:
            looked: at its files, before they were read.
            known: what to answer from now on.
            sha256: of the image as it was read, in hex.
            written: whether its sidecar was written since, and not found.
        """
        if self._reader is None or looked.image is None:
            return
        sidecar = looked.sidecar
        if written:
            sidecar = file_signature(f"{self._beside}{looked.path}{SIDECAR_SUFFIX}")
        elif sidecar is not None and _young(sidecar, looked.looked_up_at):
            return
        if sidecar is None:
            return
        name = os.fsencode(looked.path)
        entry = _packed(name, _mark(self._key, looked.image, sidecar), known)
        if entry is None:
            return
        verify = sha256 if _young(looked.image, looked.looked_up_at) else None
        with self._using:
            if len(self._notes) < _MOST_WAITING:
                self._notes.append(_Note(name, entry, looked.image, verify))
            due = len(self._notes) >= self._due and not any(t.is_alive() for t in self._at_work)
        if due:
            self._in_background(self._write)

    def prune(self, crops: int) -> None:
        """Drop what is known of images that are gone, in the background, where it is much.

        Args:
            crops: that the folder holds.
        """
        if self._reader is not None and crops:
            self._in_background(lambda: self._forget_gone(crops))

    def close(self) -> None:
        """Write what is noted, where it is worth the time, and let go of the file."""
        if self._reader is None:
            return
        end = time.monotonic() + _LONGEST_CLOSE
        if len(self._notes) >= _WORTH_WRITING:
            self._in_background(self._write)
        for thread in self._at_work:
            thread.join(max(0.0, end - time.monotonic()))
        with self._using:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def _opened(self) -> sqlite3.Connection | None:
        """The index, made or begun anew where that is needed; None where that cannot be."""
        try:
            self._path = index_path(self._folder, self._sidecars)
            if Path(os.path.realpath(self._path)).is_relative_to(os.path.realpath(self._folder)):
                raise OSError("the state folder lies in the searched folder")
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_unused(self._path.parent)
            try:
                return self._connected()
            except sqlite3.DatabaseError as error:
                if not _damaged(error):
                    raise
                _remove(self._path)
                return self._connected()
        except (OSError, RuntimeError, sqlite3.Error) as error:  # RuntimeError: no home folder
            self._tell(error)
            return None

    def _connected(self) -> sqlite3.Connection:
        # Names may tell who a patient is: nobody else may read them.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        os.utime(self._path)
        connection = sqlite3.connect(
            self._path, timeout=_LONGEST_WAIT, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            found = [
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("application_id", "user_version")
            ]
            if found == [0, 0]:
                connection.execute(_SCHEMA)
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            elif found != [_APPLICATION, _VERSION]:
                raise sqlite3.DatabaseError("of another program or version")
            connection.execute("COMMIT")
            connection.execute("SELECT path, entry FROM entries LIMIT 1").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    def _entries(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        try:
            with self._using:
                for start in range(0, len(names), _ASKED_AT_ONCE):
                    if self._reader is None:
                        break
                    asked = names[start : start + _ASKED_AT_ONCE]
                    marks = ",".join("?" * len(asked))
                    found.update(
                        self._reader.execute(
                            f"SELECT path, entry FROM entries WHERE path IN ({marks})", asked
                        )
                    )
        except sqlite3.Error as error:
            self._endure(error)
        return found

    def _in_background(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._guarded, args=(work,), daemon=True)
        with self._using:
            self._at_work = [each for each in self._at_work if each.is_alive()] + [thread]
        thread.start()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            with self._writing:
                work()
        except (OSError, sqlite3.Error) as error:
            self._endure(error)

    def _write(self) -> None:
        with self._using:
            notes, self._notes = self._notes, []
        rows, young = [], []
        for note in notes:
            if note.verify is not None and _young(note.image, time.time_ns()):
                young.append(note)
            elif note.verify is None or self._still(note):
                rows.append((note.name, note.entry))
        with self._using:
            self._notes = young + self._notes
            self._due = len(young) + _BATCH
        _bring_to_disk({self._folder, self._sidecars})
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?)", rows)

    def _still(self, note: _Note) -> bool:
        """Whether an image that was young when it was read is the same now that it is older."""
        path = self._images + os.fsdecode(note.name)
        try:
            data = read_plain(path, MAX_BYTES)
        except OSError:
            return False
        same = data is not None and hashlib.sha256(data).hexdigest() == note.verify
        return same and file_signature(path) == note.image

    def _forget_gone(self, crops: int) -> None:
        with self._transaction() as connection:
            (entries,) = connection.execute("SELECT count(*) FROM entries").fetchone()
            if entries <= crops + max(crops // 4, _LEAST_GONE):
                return
            last, images = b"", os.fsencode(self._images)
            while True:
                names = connection.execute(
                    "SELECT path FROM entries WHERE path > ? ORDER BY path LIMIT 1000", (last,)
                ).fetchall()
                if not names:
                    return
                gone = [each for each in names if not os.path.lexists(images + each[0])]
                connection.executemany("DELETE FROM entries WHERE path = ?", gone)
                (last,) = names[-1]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=_LONGEST_WAIT, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()

    def _endure(self, error: Exception) -> None:
        """Go on, without a file that is damaged; what was to be read or written is lost."""
        if isinstance(error, sqlite3.Error) and _damaged(error):
            with self._using:
                if self._reader is not None:
                    self._reader.close()
                    self._reader = None
            with contextlib.suppress(OSError):
                _remove(self._path)
        self._tell(error)

    def _tell(self, error: Exception) -> None:
        text = error.strerror if isinstance(error, OSError) else str(error)
        if not self._told:
            log.warning(
                "the index of what is done cannot be used (%s); the next start takes longer",
                text,
                extra=event("no-index"),
            )
        self._told = True


def _damaged(error: sqlite3.Error) -> bool:
    """Whether it is the file, and not what surrounds it, that is at fault."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in _SURROUNDINGS


def _young(found: Signature, moment: int) -> bool:
    """Whether a file changed so recently that its times may not tell of one more change."""
    return max(found[1], found[2]) > moment - _GRAIN * 1e9


def _mark(key: bytes, image: Signature, sidecar: Signature) -> bytes:
    try:
        return key + _SIGNATURES.pack(*image, *sidecar)
    except struct.error:  # times beyond the year 2262
        return b""


def _packed(name: bytes, mark: bytes, known: IndexEntry) -> bytes | None:
    """An entry; None where it would be too long, or cannot be made."""
    told = _telling(*known[:4])
    content = (
        mark + _LENGTH.pack(min(len(told), 65535)) + told + array("f", known.features).tobytes()
    )
    if not mark or len(content) > _LONGEST_ENTRY:
        return None
    return _CHECKSUM.pack(zlib.crc32(content, zlib.crc32(name))) + content


def _unpacked(name: bytes, entry: object, mark: bytes) -> IndexEntry | None:
    """What an entry says, where it has the mark and is whole; a damaged one may be a number."""
    if not mark or not isinstance(entry, bytes) or entry[_MARK] != mark:
        return None
    content = memoryview(entry)[_CHECKSUM.size :]
    if _CHECKSUM.unpack_from(entry)[0] != zlib.crc32(content, zlib.crc32(name)):
        return None
    start = _MARK.stop + _LENGTH.size
    end = start + _LENGTH.unpack_from(entry, _MARK.stop)[0]
    return IndexEntry(*_told(entry[start:end]), array("f", entry[end:]))


@functools.lru_cache(1024)  # most crops are told of in the same few words
def _telling(*told: object) -> bytes:
    return json.dumps(told).encode()


@functools.lru_cache(1024)  # likewise
def _told(text: bytes) -> tuple[str | None, tuple[str, ...], bool, str | None]:
    call, reasons, cluster, error = json.loads(text)
    return call, tuple(reasons), cluster, error


def _bring_to_disk(folders: set[Path]) -> None:
    """Wait until all that was written to these folders' file systems outlasts a power cut.

    Raises:
        OSError: it was not.
    """
    library = ctypes.CDLL(None, use_errno=True)
    done = set()
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            device = os.fstat(descriptor).st_dev
            if device not in done and library.syncfs(descriptor):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            done.add(device)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    for suffix in ("-wal", "-shm", ""):  # a database without them is whole; they alone are not
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")


def _remove_unused(folder: Path) -> None:
    oldest = time.time() - _UNUSED
    for path in folder.glob("*.sqlite"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                _remove(path)
