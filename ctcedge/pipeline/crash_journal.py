"""Journal of the images that are being decoded, so that a crash does not repeat itself.

An image decoder is native code that parses foreign bytes. If it takes the process down, a service
would be restarted only to crash on the same file again. So the hash of each image is recorded
before it is decoded, and cleared afterwards. Images that are still recorded when a run starts are
quarantined: they are decoded in a process of their own, see `ctcedge.images.sandbox`.

The journal is one small file among the sidecars, with a slot for each thread or worker process that
decodes. It contains only hashes, since file names could identify patients. It is overwritten in
place and never synced: what a killed process wrote is in the kernel, and a power cut is no crash of
a decoder.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

from ctcedge.fs.descriptors import close_unwritten
from ctcedge.fs.files import read_limited
from ctcedge.log import event

log = logging.getLogger("ctcedge.pipeline.crash_journal")

RECORD = ".ctcedge.in-hand"
"""Name of the journal, in the root of the sidecars."""

MAX_WORKERS = 96
"""Worker processes that can have a slot each."""

_HASH_BYTES = 32
_SLOTS = MAX_WORKERS + 32  # one for each thread or process that decodes
_MAX_HASHES = 2 * _SLOTS  # in the file, quarantined images included
_EMPTY = bytes(_HASH_BYTES)


class DecodingJournal(Protocol):
    """Where images are recorded while they are decoded.

    Attributes:
        quarantined: SHA-256, in hex, of images on which an earlier run ended.
    """

    quarantined: set[str]

    def slot(self) -> contextlib.AbstractContextManager[Callable[[str], None]]:
        """A slot, for a thread that decodes one image after the other.

        Its value is a function that records an image, by the SHA-256 of its file in hex, in the
        place of the previous one.
        """

    def clear(self, sha256: str) -> None:
        """Release an image from quarantine."""


class SlotAddress(NamedTuple):
    """Where a worker process records what it decodes.

    Attributes:
        descriptor: of the journal; None where it cannot be written.
        start: position of the slot in the file.
    """

    descriptor: int | None
    start: int


class CrashJournal:
    """Context in which images are recorded while they are decoded.

    The file is removed at the end, unless the run failed during a decoding or with quarantined
    images left. Where it cannot be written, images are decoded without it, after one warning.

    Args:
        root: root of the sidecars, locked; the folder of the journal.

    Attributes:
        quarantined: SHA-256, in hex, of images on which an earlier run ended.
    """

    def __init__(self, root: Path) -> None:
        self.quarantined: set[str] = set()
        self._path = root / RECORD
        self._free = list(reversed(range(_SLOTS)))
        self._descriptor: int | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> CrashJournal:
        """Quarantine the images that an earlier run left in the journal, and open a new one."""
        self.quarantined.update(_recorded_hashes(self._path))
        if self.quarantined:
            log.info(
                "quarantined images, which an earlier run was decoding when it ended: %d;"
                " each is decoded in a process of its own",
                len(self.quarantined),
                extra=event("in-hand"),
            )
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)  # it may be a link, or have a second name elsewhere
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o666)
        except OSError as error:
            self._disable(error)
        self._write(bytes(_MAX_HASHES * _HASH_BYTES), 0)
        self._write_quarantined()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the journal, and remove it unless the next run needs it."""
        if self._descriptor is not None:
            close_unwritten(self._descriptor)  # each hash was written, or the journal disabled
            self._descriptor = None
        failed = kind is not None and issubclass(kind, Exception)
        if not (failed and (len(self._free) < _SLOTS or self.quarantined)):
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    @contextlib.contextmanager
    def slot(self) -> Iterator[Callable[[str], None]]:
        """A slot of the journal, for a thread that decodes one image after the other.

        Yields:
            A function that records an image, by the SHA-256 of its file in hex, in the place of the
            previous one.

        The last image stays recorded when this ends with an error, as that ends the run.
        """
        with self._lock:
            start = self._free.pop() * _HASH_BYTES
        yield lambda sha256: self._write(bytes.fromhex(sha256), start)
        self._write(_EMPTY, start)
        with self._lock:
            self._free.append(start // _HASH_BYTES)

    def clear(self, sha256: str) -> None:
        """Release an image from quarantine."""
        with self._lock:
            self.quarantined.discard(sha256)
            self._write_quarantined()

    def lend_slot(self) -> SlotAddress:
        """A slot for a worker process, which records in it what it decodes."""
        with self._lock:
            return SlotAddress(self._descriptor, self._free.pop() * _HASH_BYTES)

    def take_back(self, slot: SlotAddress) -> str | None:
        """Take a slot back from a worker process that has ended, and quarantine what is in it.

        Returns:
            SHA-256, in hex, of the image that it was decoding; None where there is none.
        """
        recorded = _EMPTY
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                recorded = os.pread(self._descriptor, _HASH_BYTES, slot.start)
        found = recorded.hex() if len(recorded) == _HASH_BYTES and recorded != _EMPTY else None
        with self._lock:
            if found is not None:
                self.quarantined.add(found)
                self._write_quarantined()
            self._write(_EMPTY, slot.start)
            self._free.append(slot.start // _HASH_BYTES)
        return found

    def _write_quarantined(self) -> None:
        capacity = _MAX_HASHES - _SLOTS
        hashes = b"".join(map(bytes.fromhex, sorted(self.quarantined)[:capacity]))
        self._write(hashes.ljust(capacity * _HASH_BYTES, b"\0"), _SLOTS * _HASH_BYTES)

    def _write(self, hashes: bytes, start: int) -> None:
        descriptor = self._descriptor
        if descriptor is None:
            return
        try:
            os.pwrite(descriptor, hashes, start)
        except OSError as error:
            self._descriptor = None
            close_unwritten(descriptor)
            self._disable(error)

    def _disable(self, error: OSError) -> None:
        _warn_disabled(str(self._path), error)


class LentSlot:
    """The journal in a worker process: one slot of the journal of the process that started it.

    Args:
        address: of the slot; its descriptor was inherited.

    Attributes:
        quarantined: SHA-256, in hex, of images on which an earlier process ended.
        cleared: those that were released from quarantine since this was last emptied.
    """

    def __init__(self, address: SlotAddress) -> None:
        self.quarantined: set[str] = set()
        self.cleared: list[str] = []
        self._descriptor, self._start = address

    @contextlib.contextmanager
    def slot(self) -> Iterator[Callable[[str], None]]:
        """The slot; see `DecodingJournal`."""
        yield lambda sha256: self._write(bytes.fromhex(sha256))
        self._write(_EMPTY)

    def clear(self, sha256: str) -> None:
        """Release an image from quarantine."""
        self.quarantined.discard(sha256)
        self.cleared.append(sha256)

    def _write(self, recorded: bytes) -> None:
        if self._descriptor is None:
            return
        try:
            os.pwrite(self._descriptor, recorded, self._start)
        except OSError as error:
            self._descriptor = None
            _warn_disabled(RECORD, error)


def _warn_disabled(name: str, error: OSError) -> None:
    text = "an image that crashes the decoder would crash it again after a restart"
    log.warning("%s: %s; %s", name, error.strerror, text, extra=event("in-hand"))


def _recorded_hashes(path: Path) -> Iterator[str]:
    """Hashes in the journal that a crash left; none where the file is something else."""
    try:
        data = read_limited(path, _MAX_HASHES * _HASH_BYTES)
    except OSError:
        return
    for start in range(0, len(data) - _HASH_BYTES + 1, _HASH_BYTES):
        recorded = data[start : start + _HASH_BYTES]
        if recorded != _EMPTY:
            yield recorded.hex()
