"""File events of a folder, as far as the system gives any.

Events are a convenience: they say where to look at once. `FolderEvents.interval` says how often to
look at everything, which finds whatever they miss: more often where they do not come at all.
"""

from __future__ import annotations

import logging
import os
import queue
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

from ctcedge.fs.mounts import file_system, is_remote
from ctcedge.log import event

log = logging.getLogger("ctcedge.service.watcher")

POLL = 5.0
"""Seconds between looks at a folder that gives no events."""

_EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]


class FolderEvents:
    """Puts the events of a folder and all below it into a queue.

    Args:
        folder: an existing directory.
        wakes: receives events, and None when events were lost.
        rescan: seconds between full looks where events come.
    """

    def __init__(
        self, folder: Path, wakes: queue.SimpleQueue[FileSystemEvent | None], rescan: float
    ) -> None:
        self.interval = rescan
        self.lost = False
        self._folder = folder
        self._wakes = wakes
        self._rescan = rescan
        self._observer: BaseObserver | None = None
        self._observed: tuple[int, int] | None = None
        self._silence: str | None = None
        self._trouble = _Trouble(self)

    def start(self) -> None:
        """Make sure that events come, if they can; also after the folder was replaced.

        Raises:
            OSError: the folder is not there or cannot be read.
        """
        self.lost = False
        status = os.stat(self._folder)
        identity = (status.st_dev, status.st_ino)
        if self._observer is not None and self._observer.is_alive() and identity == self._observed:
            return
        self.stop()  # the events of a folder that was replaced tell nothing of the new one
        kind = file_system(self._folder)
        if is_remote(kind):  # what another machine, or the server, writes gives no events
            self._poll(f"a {kind} file system gives no reliable file events")
            return
        handler = FileSystemEventHandler()
        handler.on_any_event = self._wakes.put  # type: ignore[method-assign, assignment]
        try:
            observer = Observer()
            observer.schedule(handler, str(self._folder), recursive=True, event_filter=_EVENTS)
            observer.start()
        except OSError as error:
            if not self._folder.is_dir():
                raise
            self._poll(f"no file events here ({error.strerror})")
            return
        logging.getLogger("watchdog").addHandler(self._trouble)
        self._observer, self._observed = observer, identity
        self.interval, self._silence = self._rescan, None

    def stop(self) -> None:
        """Ask for no more events."""
        logging.getLogger("watchdog").removeHandler(self._trouble)
        if self._observer is not None:
            if self._observer.is_alive():
                self._observer.stop()
                self._observer.join()
            self._observer = None

    def lose(self) -> None:
        """Note that events were lost, and wake whoever reads the queue."""
        self.lost = True
        self._wakes.put(None)

    def _poll(self, reason: str) -> None:
        self.interval = min(POLL, self._rescan)
        if reason != self._silence:
            text = f"{reason}: looking through the folder every {self.interval:g} s"
            log.warning("%s", text, extra=event("polling"))
        self._silence = reason


class _Trouble(logging.Handler):
    """Watchdog tells of lost events through its log alone; whatever it warns of, we look."""

    def __init__(self, events: FolderEvents) -> None:
        super().__init__(logging.WARNING)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        if not self._events.lost:
            text = "file events were lost: looking through the folder"
            log.warning(text, extra=event("events-lost"))
        self._events.lose()
