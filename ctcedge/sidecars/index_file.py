"""The SQLite file of the index of done crops: its schema, its rows, and what counts as damage."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sqlite3
import stat
import zlib
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ctcedge.fs.files import Signature
from ctcedge.sidecars.schema import SCHEMA

_SCHEMA = """CREATE TABLE crops (
    path BLOB PRIMARY KEY,
    key BLOB NOT NULL,
    signatures TEXT NOT NULL,
    call TEXT NOT NULL,
    reasons TEXT NOT NULL,
    cluster INTEGER NOT NULL,
    error TEXT NOT NULL,
    review TEXT NOT NULL,
    features BLOB NOT NULL,
    checksum INTEGER NOT NULL
) WITHOUT ROWID"""

FAILURES = (OSError, sqlite3.Error, UnicodeError)
"""Exceptions of using the file; UnicodeError, where SQLite's message quotes damaged text."""

Row: TypeAlias = tuple[bytes, bytes, bytes, bytes, int, bytes, bytes, bytes, int]
"""Values of all columns but the key; text as bytes, as damaged text need not be UTF-8."""

_IDENTITY = (0x63746365, 3)  # application id 'ctce' and version of the schema
_NOT_DAMAGE = tuple(
    f"SQLITE_{name}" for name in "BUSY CANTOPEN FULL IOERR LOCKED NOMEM PERM READONLY".split()
)
_LOCK_TIMEOUT = 5.0  # seconds to wait for another process that uses the same index
_MAX_BYTES = 2048  # of a row
_SIGNATURES = b"%d %d %d %d %d %d %d %d"  # of image and sidecar; inodes may exceed 63 bits


class IndexEntry(NamedTuple):
    """What a run's summary needs to know of a crop whose sidecar is current.

    Attributes:
        call: the call, or None where there is none.
        reasons: codes of the reasons for review.
        cluster: whether the crop shows touching cells.
        error: why the crop is unclassified, or None.
        features: out-of-distribution features, as 32-bit floats; empty where they are not known.
        review: call of the latest review, where that is of this image, or None.
    """

    call: str | None
    reasons: tuple[str, ...]
    cluster: bool
    error: str | None
    features: Sequence[float]
    review: str | None = None


class Lookup(NamedTuple):
    """State of a crop's files before they are read.

    Attributes:
        path: path of the crop, relative to the searched folder.
        entry: entry of the index, where both files are unchanged since it was recorded.
        image: signature of the image; None where there is no regular file.
        sidecar: signature of the sidecar; None where there is no regular file, empty where that is
            not known.
        looked_up_at: time of the lookup, Unix time in ns.
    """

    path: str
    entry: IndexEntry | None = None
    image: Signature | None = None
    sidecar: Signature | None = None
    looked_up_at: int = 0

    @property
    def is_new(self) -> bool:
        """Whether the crop had no sidecar; False where that is not known."""
        return self.image is not None and self.sidecar is None


def index_key(model_sha256: str, settings_sha256: str) -> bytes:
    """Key of the schema, model and settings for which a sidecar is current."""
    return hashlib.sha256(f"{SCHEMA} {model_sha256} {settings_sha256}".encode()).digest()[:16]


def open_index(path: Path) -> sqlite3.Connection:
    """Open an index; create it where it is missing.

    Raises:
        OSError, sqlite3.Error: it cannot be opened, or it is not an index of this version.
    """
    _create(path)
    os.utime(path, follow_symlinks=False)
    connection = sqlite3.connect(path, timeout=_LOCK_TIMEOUT, check_same_thread=False)
    connection.text_factory = bytes
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        names = "application_id", "user_version"
        identity = tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
        if identity == (0, 0):
            connection.execute(_SCHEMA)
            for name, value in zip(names, _IDENTITY, strict=True):
                connection.execute(f"PRAGMA {name} = {value}")
        elif identity != _IDENTITY:
            raise sqlite3.DatabaseError("of another program or version")
        connection.commit()
        connection.execute("SELECT checksum FROM crops LIMIT 1").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Create the file of an index where it is missing.

    An existing file is not opened: closing it would drop the locks that this process holds on it
    through other connections (a rule of POSIX), and another process would then remove the
    write-ahead log while it is in use.

    Raises:
        OSError: it cannot be created, others may have written it, or it is no regular file.
    """
    try:
        # Only the owner may read it: names can identify patients.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.ELOOP, "not a regular file", str(path)) from None
        if status.st_uid != os.geteuid():
            raise OSError(errno.EPERM, "it belongs to another account", str(path)) from None
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise OSError(errno.EPERM, "others may write it", str(path)) from None


def is_damage(error: Exception) -> bool:
    """Whether the file is at fault, and not the disk, permissions or another process."""
    name = getattr(error, "sqlite_errorname", "")
    return not isinstance(error, OSError) and not name.startswith(_NOT_DAMAGE)


def remove_index(path: Path) -> None:
    """Remove the file of an index."""
    for suffix in ("-wal", "-shm", ""):  # the database itself last: the others alone are invalid
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")


def select(connection: sqlite3.Connection, key: bytes, names: Sequence[bytes]) -> dict[bytes, Row]:
    """The rows of these paths that have this key, by path."""
    marks = ",".join("?" * len(names))
    rows = connection.execute(
        "SELECT path, signatures, call, reasons, cluster, error, review, features, checksum"
        f" FROM crops WHERE path IN ({marks}) AND key = ?",
        [*names, key],
    )
    return {row[0]: row for row in rows}


def insert(connection: sqlite3.Connection, key: bytes, rows: Iterable[Row]) -> None:
    """Insert rows with this key, or replace those of the same paths."""
    text = "CAST(? AS TEXT)"
    connection.executemany(
        "INSERT OR REPLACE INTO crops"
        " (path, signatures, call, reasons, cluster, error, review, features, checksum, key)"
        f" VALUES (?, {text}, {text}, {text}, ?, {text}, {text}, ?, ?, ?)",
        ((*row, key) for row in rows),
    )


def to_row(path: str, image: Signature, sidecar: Signature, entry: IndexEntry) -> Row | None:
    """The row of a crop; None where it would be too long or a text is not valid Unicode."""
    texts = entry.call or "", ",".join(entry.reasons), entry.error or "", entry.review or ""
    try:
        call, reasons, error, review = (text.encode() for text in texts)
    except UnicodeEncodeError:
        return None
    name, features = os.fsencode(path), array("f", entry.features).tobytes()
    if len(name) + len(reasons) + len(error) + len(features) > _MAX_BYTES:
        return None
    signatures, cluster = _SIGNATURES % (*image, *sidecar), int(entry.cluster)
    checksum = _checksum((name, signatures, call, reasons, error, review, features), cluster)
    return name, signatures, call, reasons, cluster, error, review, features, checksum


def to_entry(row: Row, image: Signature, sidecar: Signature) -> IndexEntry | None:
    """The entry in a row; None where the row is damaged or describes other files."""
    name, signatures, call, reasons, cluster, error, review, features, checksum = row
    if signatures != _SIGNATURES % (*image, *sidecar):
        return None
    try:
        expected = _checksum((name, signatures, call, reasons, error, review, features), cluster)
    except TypeError:  # a damaged value may have another type than its column
        return None
    if checksum != expected:
        return None
    codes = tuple(reasons.decode().split(",")) if reasons else ()
    text = error.decode() if error else None
    reviewed = review.decode() or None
    return IndexEntry(
        call.decode() or None, codes, cluster == 1, text, array("f", features), reviewed
    )


def _checksum(values: tuple[bytes, ...], cluster: int) -> int:
    return zlib.crc32(b"\n".join(values), cluster)
