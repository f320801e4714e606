"""Which images are in the decoder's hands, noted where a crash leaves it for the next start.

An image decoder is native code that is fed with foreign bytes. If it takes the process down, a
service would be started again only to die of the same file, for ever. So the hash of every image is
noted before it is decoded and taken back afterwards; what is still noted at a start is suspected,
and is decoded apart, see `apart`.

The record is one small file among the sidecars, with hashes alone: no names, which could tell who a
patient is. It is overwritten in place and never synced: what a killed process wrote is in the
kernel's hands, and a power cut is no crash of a decoder.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from ctcedge.fs.files import read_limited
from ctcedge.log import event

log = logging.getLogger("ctcedge.pipeline.crash_journal")

RECORD = ".ctcedge.in-hand"
"""Name of the record, in the root of the sidecars."""

_HASH = 32  # bytes of a SHA-256
_PLACES = 16  # for images in hand, one a thread
_MOST = 64  # hashes in the record, suspects included
_NONE = bytes(_HASH)


class CrashJournal:
    """Context in which images are noted while they are decoded.

    The record goes with a run that ends well, and stays with one that fails while an image is in
    hand or there are suspects. Where it cannot be written, images are decoded without, after one
    warning.

    Args:
        root: of the sidecars, locked; the record lies there.

    Attributes:
        suspects: SHA-256, in hex, of images that an earlier run did not come back from.
    """

    def __init__(self, root: Path) -> None:
        self.quarantined: set[str] = set()
        self._path = root / RECORD
        self._free = list(reversed(range(_PLACES)))
        self._descriptor: int | None = None
        self._writing = threading.Lock()

    def __enter__(self) -> CrashJournal:
        """Take over what an earlier run left, and open the record."""
        self.quarantined.update(_left(self._path))
        if self.quarantined:
            text = "images in hand when an earlier run ended are decoded apart"
            log.info("%d %s", len(self.quarantined), text, extra=event("in-hand"))
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)  # it may be a link, or have a second name elsewhere
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o666)
        except OSError as error:
            self._give_up(error)
        self._write(bytes(_MOST * _HASH), 0)
        self._write_suspects()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the record, and remove it unless the next run needs it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        failed = kind is not None and issubclass(kind, Exception)
        if not (failed and (len(self._free) < _PLACES or self.quarantined)):
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    @contextlib.contextmanager
    def slot(self) -> Iterator[Callable[[str], None]]:
        """A place in the record for a thread that decodes one image after the other.

        Yields:
            What notes an image, by the SHA-256 of its file in hex, in place of the one before.

        The last one stays noted when this ends in an error, as that ends the run.
        """
        with self._writing:
            start = self._free.pop() * _HASH
        yield lambda sha256: self._write(bytes.fromhex(sha256), start)
        self._write(_NONE, start)
        with self._writing:
            self._free.append(start // _HASH)

    def clear(self, sha256: str) -> None:
        """Suspect an image no longer."""
        with self._writing:
            self.quarantined.discard(sha256)
            self._write_suspects()

    def _write_suspects(self) -> None:
        room = _MOST - _PLACES
        hashes = b"".join(map(bytes.fromhex, sorted(self.quarantined)[:room]))
        self._write(hashes.ljust(room * _HASH, b"\0"), _PLACES * _HASH)

    def _write(self, hashes: bytes, start: int) -> None:
        descriptor = self._descriptor
        if descriptor is None:
            return
        try:
            os.pwrite(descriptor, hashes, start)
        except OSError as error:
            self._descriptor = None
            os.close(descriptor)
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        text = "an image that crashes the decoder would do so again after a restart"
        log.warning("%s: %s; %s", self._path, error.strerror, text, extra=event("in-hand"))


def _left(path: Path) -> Iterator[str]:
    """Hashes in the record that a crash left; what else may stand there is nothing."""
    try:
        data = read_limited(path, _MOST * _HASH)
    except OSError:
        return
    for start in range(0, len(data) - _HASH + 1, _HASH):
        noted = data[start : start + _HASH]
        if noted != _NONE:
            yield noted.hex()
