"""Index of the done crops of a folder, so that a start need not read every image and sidecar again.

The files on disk are the truth. A row states that an image and a sidecar with these signatures were
read, and that the sidecar belongs to this image, this model and these settings. It is used only
while both signatures and the key still match, so that a wrong index costs time and nothing else. It
may be deleted at any time; a file that is damaged, foreign or of another version is recreated.

Three rules keep a row from outliving the files that it describes:

- An image that changed within the timestamp granularity of file systems may change once more
  without a trace. It is read again later and recorded if it is still the same. Sidecars need no
  such care: they are replaced by rename, and no two have the same inode.
- Images and sidecars are synced to disk before the rows that describe them are written. Otherwise a
  power cut could leave a row that describes a torn sidecar.
- Each row has a checksum: SQLite does not notice a changed byte within a value.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ctcedge.discovery.cut_crops import CUT_PREFIX
from ctcedge.discovery.naming import SIDECAR_SUFFIX, Crop
from ctcedge.errors import SetupError
from ctcedge.fs.files import Signature, file_signature
from ctcedge.fs.mounts import sync_file_systems
from ctcedge.fs.paths import cache_folder
from ctcedge.fs.tree import read_beneath
from ctcedge.images.types import MAX_BYTES
from ctcedge.log import event
from ctcedge.sidecars.index_file import (
    FAILURES,
    IndexEntry,
    Lookup,
    Row,
    index_key,
    insert,
    is_damage,
    open_index,
    remove_index,
    select,
    to_entry,
    to_row,
)

__all__ = ["DoneIndex", "IndexEntry", "Lookup", "index_key", "index_path"]

log = logging.getLogger("ctcedge.sidecars.index")

TIMESTAMP_GRANULARITY = 2.0
"""Seconds; no file system's timestamps are coarser."""

MIN_WRITE = 64
"""Rows; reading so few crops again is faster than syncing them to disk."""

_WRITE_BATCH = 8192  # rows
_MAX_QUEUED = 4 * _WRITE_BATCH  # rows in memory while the disk is slow; more are dropped
_CLOSE_TIMEOUT = 10.0  # seconds
_MIN_GONE = 1000  # rows of removed images; fewer are not searched for
_UNUSED_AFTER = 90 * 86400.0  # seconds after which the index of another folder is removed


class _Queued(NamedTuple):
    row: Row
    image: Signature
    verify: str | None  # SHA-256 in hex that a recently modified image must still have


def index_path(folder: Path, sidecars: Path) -> Path:
    """Path of the index of a searched folder and its sidecars, in the cache folder."""
    roots = b"\0".join(os.fsencode(os.path.realpath(root)) for root in (folder, sidecars))
    return cache_folder() / "index" / f"{hashlib.sha256(roots).hexdigest()[:32]}.sqlite"


class DoneIndex:
    """Index of the done crops of one folder. It never fails: at worst it knows no crop.

    It may be used by several threads, and its file by several processes.

    Args:
        folder: the searched folder.
        sidecars: root of its sidecars.
        key: from `index_key`.
    """

    def __init__(self, folder: Path, sidecars: Path, key: bytes) -> None:
        self._folders = folder, sidecars
        self._image_prefix = os.path.join(folder, "")
        self._sidecar_prefix = os.path.join(sidecars, "")
        self._key = key
        self._warned = False
        self._lock = threading.Lock()  # guards the reader, the queue and the list of threads
        self._write_lock = threading.Lock()
        self._queue: list[_Queued] = []
        self._flush_at = _WRITE_BATCH
        self._threads: list[threading.Thread] = []
        self._reader = self._open()

    def __enter__(self) -> DoneIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lookup(self, crops: Sequence[Crop]) -> list[Lookup]:
        """Look up crops together with the present state of their files.

        Args:
            crops: at most some thousands, best in the order of their names.

        Returns:
            One result per crop, in order. After the files of a crop without an entry were read, and
            not before, its result may be passed to `record`.
        """
        if self._reader is None:
            return [Lookup(crop.path) for crop in crops]
        names = [os.fsencode(crop.path) for crop in crops]
        rows = self._rows(names)
        image_prefix, sidecar_prefix = self._image_prefix, self._sidecar_prefix
        now = time.time_ns()
        results = []
        for crop, name in zip(crops, names, strict=True):
            path, entry = crop.path, None
            base = sidecar_prefix if path.startswith(CUT_PREFIX) else image_prefix
            image = file_signature(base + path) or None
            sidecar = image and file_signature(f"{sidecar_prefix}{path}{SIDECAR_SUFFIX}")
            if image and sidecar and (row := rows.get(name)):
                entry = to_entry(row, image, sidecar)
            results.append(Lookup(path, entry, image, sidecar, now))
        return results

    def record(self, lookup: Lookup, entry: IndexEntry, *, sha256: str, written: bool) -> None:
        """Record that a crop is done; it is written to disk in the background, or never.

        Args:
            lookup: state of the crop's files before they were read.
            entry: what later lookups return.
            sha256: SHA-256 of the image as it was read, in hex.
            written: whether the sidecar was written since the lookup.
        """
        image, sidecar = lookup.image, lookup.sidecar
        if self._reader is None or image is None:
            return
        if written:
            sidecar = file_signature(f"{self._sidecar_prefix}{lookup.path}{SIDECAR_SUFFIX}")
        elif sidecar and _recently_modified(sidecar, lookup.looked_up_at):
            return
        row = sidecar and to_row(lookup.path, image, sidecar, entry)
        if not row:
            return
        verify = sha256 if _recently_modified(image, lookup.looked_up_at) else None
        with self._lock:
            if len(self._queue) < _MAX_QUEUED:
                self._queue.append(_Queued(row, image, verify))
            is_writing = any(thread.is_alive() for thread in self._threads)
            flush = len(self._queue) >= self._flush_at and not is_writing
        if flush:
            self._in_background(self._flush)

    def prune(self, crops: int) -> None:
        """Remove rows of removed images in the background, where there are many.

        Args:
            crops: number of crops in the folder.
        """
        if self._reader is not None and crops:
            self._in_background(lambda: self._remove_gone(crops))

    def close(self) -> None:
        """Write what is queued, where it is worth the time, and close the file."""
        if self._reader is not None and len(self._queue) >= MIN_WRITE:
            self._in_background(self._flush)
        deadline = time.monotonic() + _CLOSE_TIMEOUT
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._close_reader()

    def _open(self) -> sqlite3.Connection | None:
        """Open, create or recreate the index; None where that is impossible."""
        try:
            self._path = index_path(*self._folders)
            if Path(os.path.realpath(self._path)).is_relative_to(
                os.path.realpath(self._folders[0])
            ):
                raise OSError("the state folder is inside the searched folder")
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_unused(self._path.parent)
            try:
                return open_index(self._path)
            except (sqlite3.Error, UnicodeError) as error:
                if not is_damage(error):
                    raise
                remove_index(self._path)
                return open_index(self._path)
        except (*FAILURES, SetupError) as error:  # SetupError: no home folder
            self._warn(error)
            return None

    def _rows(self, names: Sequence[bytes]) -> dict[bytes, Row]:
        try:
            with self._lock:
                return {} if self._reader is None else select(self._reader, self._key, names)
        except FAILURES as error:
            self._disable_or_reset(error)
            return {}

    def _in_background(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                with self._write_lock:
                    work()
            except FAILURES as error:
                self._disable_or_reset(error)

        thread = threading.Thread(target=run, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no further thread can be started here
            run()
            return
        with self._lock:
            self._threads = [other for other in self._threads if other.is_alive()] + [thread]

    def _flush(self) -> None:
        """Write what is queued; recently modified images stay in the queue."""
        with self._lock:
            queued, self._queue = self._queue, []
        rows, recent = [], []
        for item in queued:
            if item.verify is not None and _recently_modified(item.image, time.time_ns()):
                recent.append(item)
            elif item.verify is None or self._is_unchanged(item):
                rows.append(item.row)
        with self._lock:
            self._queue = recent + self._queue
            self._flush_at = len(recent) + _WRITE_BATCH
        sync_file_systems(self._folders)
        with contextlib.closing(open_index(self._path)) as connection, connection:
            insert(connection, self._key, rows)

    def _is_unchanged(self, item: _Queued) -> bool:
        """Whether an image that had been recently modified when it was read is still the same."""
        name = os.fsdecode(item.row[0])
        base = self._sidecar_prefix if name.startswith(CUT_PREFIX) else self._image_prefix
        path = base + name
        try:
            data = read_beneath(base, name, MAX_BYTES)
        except OSError:
            return False
        same = hashlib.sha256(data).hexdigest() == item.verify
        return same and file_signature(path) == item.image

    def _remove_gone(self, crops: int) -> None:
        last, cut = b"", CUT_PREFIX.encode()
        image_prefix = os.fsencode(self._image_prefix)
        sidecar_prefix = os.fsencode(self._sidecar_prefix)
        page = "SELECT path FROM crops WHERE path > ? ORDER BY path LIMIT 1000"
        with contextlib.closing(open_index(self._path)) as connection, connection:
            (rows,) = connection.execute("SELECT count(*) FROM crops").fetchone()
            if rows <= crops + max(crops // 4, _MIN_GONE):
                return
            while paths := connection.execute(page, (last,)).fetchall():
                gone = [
                    (path,)
                    for (path,) in paths
                    if not os.path.lexists(
                        (sidecar_prefix if path.startswith(cut) else image_prefix) + path
                    )
                ]
                connection.executemany("DELETE FROM crops WHERE path = ?", gone)
                (last,) = paths[-1]

    def _disable_or_reset(self, error: Exception) -> None:
        """Go on without what could not be read or written, and remove the file if it is damaged."""
        if is_damage(error):
            self._close_reader()
            with contextlib.suppress(OSError):
                remove_index(self._path)
        self._warn(error)

    def _close_reader(self) -> None:
        with self._lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            log.warning(
                "the index of done crops cannot be used (%s); the next start takes longer",
                error.strerror if isinstance(error, OSError) else error,
                extra=event("no-index"),
            )
        self._warned = True


def _recently_modified(signature: Signature, now: int) -> bool:
    """Whether a file's timestamps are so recent that one more change might not show in them."""
    return max(signature[1], signature[2]) > now - TIMESTAMP_GRANULARITY * 1e9


def _remove_unused(folder: Path) -> None:
    oldest = time.time() - _UNUSED_AFTER
    for path in folder.glob("*.sqlite"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                remove_index(path)
