"""Watch a folder: what is there first, then each crop as it arrives.

The disk is the truth. An event only wakes the watcher and says where to look; a rescan at the
start, and from time to time, finds whatever events missed. A crop is pending when it has no current
sidecar, and nothing else is remembered that a restart would miss.
"""

from __future__ import annotations

import logging
import os
import queue
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from ctcedge.crops import BRIGHT_FIELD, Crop, find, find_one
from ctcedge.errors import OutputError
from ctcedge.pipeline import Outcome
from ctcedge.runs import Run
from ctcedge.settle import Settling, Signature

log = logging.getLogger("ctcedge.watch")

_EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
_RETRY = 1.0  # seconds between tries of an image that does not decode
_TELL_EVERY = 10.0  # least seconds between two log lines of counts


@dataclass(frozen=True, slots=True)
class _Seen:
    """A crop that was dealt with: nothing to do while image and sidecar stay as they are."""

    image: Signature
    sidecar: Signature | None


class Watcher:
    """Classifies the crops of a folder as they come, until told to stop.

    Args:
        run: the opened folder.
        force: classify once again what already has a current sidecar at the start.
        clock: seconds that only go forward.
    """

    def __init__(
        self, run: Run, *, force: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run = run
        self._clock = clock
        self._wakes: queue.SimpleQueue[FileSystemEvent | None] = queue.SimpleQueue()
        self._stopping = False
        self._settling = Settling(run.settings.watch.settle, self._look)
        self._seen: dict[str, _Seen] = {}
        self._failing: dict[str, tuple[Signature, float]] = {}
        self._force_next_scan = force
        self._forced: set[str] = set()
        self._observer: BaseObserver | None = None
        self._observed: tuple[int, int] | None = None
        self._trouble: str | None = None
        self._tally: Counter[str] = Counter()
        self._tell_at = self._clock()

    def stop(self) -> None:
        """Finish the batch in hand and end; may be called from a signal handler."""
        self._stopping = True
        self._wakes.put(None)

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what becomes of each crop, until `stop` is called."""
        next_scan = self._clock()
        try:
            while not self._stopping:
                if self._clock() >= next_scan:
                    self._rescan()
                    next_scan = self._clock() + self._run.settings.watch.rescan
                taken = self._settling.take(self._clock())
                if taken:
                    for outcome in self._classify(taken):
                        self._tally[_kind(outcome)] += 1
                        yield outcome
                    self._drain()
                else:
                    self._wait(next_scan)
                if self._clock() >= self._tell_at:
                    self._tell()
        finally:
            self._tell()
            self._unobserve()

    def _wait(self, next_scan: float) -> None:
        until = min(
            next_scan,
            self._settling.next_due() or next_scan,
            self._tell_at if self._tally else next_scan,
        )
        try:
            wake = self._wakes.get(timeout=max(0.0, until - self._clock()))
        except queue.Empty:
            return
        self._note(wake)
        self._drain()

    def _drain(self) -> None:
        while True:
            try:
                self._note(self._wakes.get_nowait())
            except queue.Empty:
                return

    def _note(self, event: FileSystemEvent | None) -> None:
        """Turn an event into paths to look at."""
        if event is None:
            return
        moved = isinstance(event, DirMovedEvent | FileMovedEvent)
        place = os.fsdecode(event.dest_path if moved else event.src_path)
        path = os.path.relpath(place, self._run.folder)
        if event.is_directory:
            self._scan_below(path)
        elif self._bright_field(path):
            if isinstance(event, FileClosedEvent) or moved:
                self._settling.complete(path, self._clock())
            else:
                self._settling.changed(path, self._clock())

    def _bright_field(self, path: str) -> Crop | None:
        found = find_one(self._run.folder, path, self._run.naming)
        return found if isinstance(found, Crop) and found.channel == BRIGHT_FIELD else None

    def _scan_below(self, folder: str) -> None:
        """Look at the files of a folder that was made or moved in: they may precede its watch."""
        for parent, _, names in os.walk(self._run.folder / folder):
            for name in names:
                path = os.path.relpath(os.path.join(parent, name), self._run.folder)
                if self._bright_field(path):
                    self._settling.changed(path, self._clock())

    def _rescan(self) -> None:
        """Bring what is pending up to date with the disk, and make sure that events come."""
        folder = self._run.folder
        try:
            self._observe()
            for found in find(folder, self._run.naming):
                if isinstance(found, Crop) and found.channel == BRIGHT_FIELD:
                    self._consider(found)
        except OSError as error:
            self._unobserve()
            self._report(f"{folder} cannot be read ({error.strerror}); trying again")
        else:
            self._report(None)
            self._force_next_scan = False

    def _consider(self, crop: Crop) -> None:
        image = self._look(crop.path)
        if image is None:
            return
        seen = self._seen.get(crop.path)
        if seen is not None and seen == _Seen(image, self._look_at_sidecar(crop)):
            return
        if self._force_next_scan:
            self._forced.add(crop.path)
        age = time.time() - image[1] / 1e9
        if age > self._run.settings.watch.settle:
            self._settling.complete(crop.path, self._clock())
        else:
            self._settling.changed(crop.path, self._clock())

    def _classify(self, taken: list[tuple[str, Signature]]) -> Iterator[Outcome]:
        signatures = dict(taken)
        crops = [crop for path in signatures if (crop := self._bright_field(path))]
        forced = [crop for crop in crops if crop.path in self._forced]
        normal = [crop for crop in crops if crop.path not in self._forced]
        try:
            for group, again in ((forced, True), (normal, False)):
                for outcome in self._run.pipeline.run(
                    group,
                    force=again,
                    stop=lambda: self._stopping,
                    defer=lambda crop: self._defers(crop.path, signatures[crop.path]),
                ):
                    self._remember(outcome, signatures[outcome.crop.path])
                    yield outcome
        except OutputError as error:
            self._report(f"{error}; trying again")
            for crop in crops:
                if crop.path not in self._seen:
                    self._settling.retry(crop.path, self._clock() + 5 * _RETRY)
        else:
            self._report(None)

    def _defers(self, path: str, signature: Signature) -> bool:
        """Whether an image that does not decode may still be in the making."""
        limit = self._run.settings.watch.give_up
        if time.time() - signature[1] / 1e9 > limit:
            return False
        known, since = self._failing.get(path, (None, 0.0))
        if known != signature:
            since = self._clock()
            self._failing[path] = (signature, since)
        return self._clock() - since < limit

    def _remember(self, outcome: Outcome, signature: Signature) -> None:
        path = outcome.crop.path
        if outcome.done == "deferred":
            self._settling.retry(path, self._clock() + _RETRY)
            return
        self._failing.pop(path, None)
        self._forced.discard(path)
        if outcome.done == "vanished":
            self._seen.pop(path, None)
        elif outcome.done != "not-written":
            self._seen[path] = _Seen(signature, self._look_at_sidecar(outcome.crop))

    def _look(self, path: str) -> Signature | None:
        return _signature(self._run.folder / path)

    def _look_at_sidecar(self, crop: Crop) -> Signature | None:
        return _signature(self._run.sidecars.path(crop))

    def _observe(self) -> None:
        """Ask for events, unless they come already; without them there is still the rescan."""
        status = os.stat(self._run.folder)
        identity = (status.st_dev, status.st_ino)
        if self._observer is not None and identity == self._observed:
            return
        self._unobserve()  # the folder was replaced, and events of the old one tell nothing
        handler = FileSystemEventHandler()
        handler.on_any_event = self._wakes.put  # type: ignore[method-assign, assignment]
        observer = Observer()
        try:
            observer.schedule(handler, str(self._run.folder), recursive=True, event_filter=_EVENTS)
            observer.start()
        except OSError as error:
            if isinstance(error, FileNotFoundError | PermissionError):
                raise
            log.warning(
                "no file events here (%s); looking every %g s instead",
                error,
                self._run.settings.watch.rescan,
            )
            return
        self._observer, self._observed = observer, identity

    def _unobserve(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def _tell(self) -> None:
        """Log what was done in counts alone: names of samples could tell who a patient is."""
        if self._tally:
            counts = sorted(self._tally.items())
            log.info("%s", ", ".join(f"{count} {kind}" for kind, count in counts))
            self._tally.clear()
            self._tell_at = self._clock() + _TELL_EVERY

    def _report(self, trouble: str | None) -> None:
        """Log a trouble once when it begins and once when it is over."""
        if trouble is not None and trouble != self._trouble:
            log.error("%s", trouble)
        elif trouble is None and self._trouble is not None:
            log.info("working again after: %s", self._trouble)
        self._trouble = trouble


def _kind(outcome: Outcome) -> str:
    if outcome.done == "written" and outcome.record is not None:
        return str(outcome.record["call"] or outcome.record["status"])
    return {"current": "already done", "deferred": "to be tried again"}.get(
        outcome.done, outcome.done
    )


def _signature(path: Path) -> Signature | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
