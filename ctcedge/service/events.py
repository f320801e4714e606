"""File events of a folder, where the system provides them.

Events only make the watch faster: they name the files to look at. A rescan every
`FolderEvents.scan_interval` seconds finds what they have missed; it is more frequent where there
are no events at all.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
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

from ctcedge.fs.mounts import file_system, is_remote, remote_below
from ctcedge.log import event

log = logging.getLogger("ctcedge.service.events")

POLL_INTERVAL = 5.0
"""Seconds between rescans of a folder without events."""

_CHECK_INTERVAL = 5.0  # seconds between looks at the mounts, and until an event counts as missed

_OBSERVER_THREADS = 4  # at least as many as an observer has
_TOO_DEEP = "folders are too deep for file events"

_EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]


class FolderEvents:
    """Puts the events of a folder and its sub-folders into a queue.

    Args:
        folder: an existing directory.
        events: queue that receives events, and None when events were lost.
        rescan_interval: seconds between rescans where there are events.

    Attributes:
        scan_interval: seconds between rescans.
        lost: whether events were lost since `start`.
    """

    def __init__(
        self,
        folder: Path,
        events: queue.SimpleQueue[FileSystemEvent | None],
        rescan_interval: float,
    ) -> None:
        self.scan_interval = rescan_interval
        self.lost = False
        self._folder = folder
        self._events = events
        self._rescan_interval = rescan_interval
        self._observer: BaseObserver | None = None
        self._observed: tuple[int, int] | None = None
        self._polling_reason: str | None = None
        self._loss_handler = _LossHandler(self)
        self._scans = 0  # with the present observer
        self._remote_below: list[str] = []
        self._events_missing = False
        self._too_deep = False
        self._unannounced: dict[str, float] = {}
        self._next_check = 0.0

    def start(self) -> None:
        """Observe the folder, if it is not observed already; also after it was replaced.

        Raises:
            OSError: the folder is missing or cannot be read.
        """
        complete, self.lost = not self.lost, False
        self._unannounced.clear()
        status = os.stat(self._folder)
        identity = (status.st_dev, status.st_ino)
        if self._observer is not None and self._observer.is_alive() and identity == self._observed:
            # What this scan finds after a loss of events is no surprise.
            self._scans = self._scans + 1 if complete else 1
            self._set_interval()
            return
        self.stop()  # the observer of a replaced folder does not observe the new one
        kind = file_system(self._folder)
        if is_remote(kind):  # files that another machine writes cause no events
            self._poll(f"a {kind} file system gives no reliable file events")
            return
        if self._too_deep:
            self._poll(_TOO_DEEP)
            return
        handler = FileSystemEventHandler()
        handler.on_any_event = self._events.put  # type: ignore[method-assign, assignment]
        if not _can_start_threads(_OBSERVER_THREADS):
            self._poll("no file events here (their threads cannot be started)")
            return
        try:
            observer = Observer()
            observer.schedule(handler, str(self._folder), recursive=True, event_filter=_EVENTS)
            observer.start()
        except RecursionError:
            self._too_deep = True
            self._poll(_TOO_DEEP)
            return
        except OSError as error:
            if not self._folder.is_dir():
                raise
            self._poll(f"no file events here ({error.strerror})")
            return
        logging.getLogger("watchdog").addHandler(self._loss_handler)
        self._observer, self._observed = observer, identity
        self._scans = 1
        self._set_interval()

    def stop(self) -> None:
        """Stop observing."""
        logging.getLogger("watchdog").removeHandler(self._loss_handler)
        if self._observer is not None:
            if self._observer.is_alive():
                self._observer.stop()
                self._observer.join()
            self._observer = None

    def report_loss(self) -> None:
        """Record that events were lost, and wake the reader of the queue."""
        self.lost = True
        self._events.put(None)

    def found_by_scan(self, path: str) -> None:
        """Note a file that a scan found and no event announced; its event may still come."""
        if self._observer is not None and self._scans > 1 and not self._events_missing:
            self._unannounced.setdefault(path, time.monotonic())

    def announced(self, path: str) -> None:
        """Note a file that an event was about."""
        self._unannounced.pop(path, None)

    def check(self) -> None:
        """Demand a scan where a share was mounted below the folder, or where events are missing."""
        now = time.monotonic()
        if self._observer is None or now < self._next_check:
            return
        self._next_check = now + _CHECK_INTERVAL
        if any(now - since > _CHECK_INTERVAL for since in self._unannounced.values()):
            self._events_missing = True
            self._unannounced.clear()
            self.lost = True
        if remote_below(self._folder) != self._remote_below:
            self.lost = True

    def _set_interval(self) -> None:
        """Scan often where a part of the observed folder gives no events."""
        self._remote_below = remote_below(self._folder)
        if self._remote_below:
            kinds = ", ".join(self._remote_below)
            self._poll(f"a {kinds} file system below the folder gives no reliable file events")
        elif self._events_missing:
            self._poll("crops arrived here without file events")
        else:
            self.scan_interval, self._polling_reason = self._rescan_interval, None

    def _poll(self, reason: str) -> None:
        self.scan_interval = min(POLL_INTERVAL, self._rescan_interval)
        if reason != self._polling_reason:
            text = f"{reason}: scanning the folder every {self.scan_interval:g} s"
            log.warning("%s", text, extra=event("polling"))
        self._polling_reason = reason


class _LossHandler(logging.Handler):
    """Takes each warning of watchdog as a loss of events.

    Watchdog reports an overflow of the queue in its log; its callback for it is on an internal
    class only.
    """

    def __init__(self, events: FolderEvents) -> None:
        super().__init__(logging.WARNING)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        if not self._events.lost:
            text = "file events were lost: scanning the folder"
            log.warning(text, extra=event("events-lost"))
        self._events.report_loss()


def _can_start_threads(count: int) -> bool:
    """Whether so many threads can be started; an observer that lacks one would leak the others."""
    release = threading.Event()
    threads: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=release.wait)
            thread.start()
            threads.append(thread)
    except RuntimeError:
        return False
    finally:
        release.set()
        for thread in threads:
            thread.join()
    return True
