"""What a scan of the watched folder finds besides crops: logged once, and again when it grows."""

from __future__ import annotations

import logging
from collections.abc import Set as AbstractSet

from ctcedge.discovery.ignore import BIN_REASON, IGNORE_REASON
from ctcedge.discovery.naming import Naming, Skipped
from ctcedge.discovery.not_understood import is_image_like, not_understood
from ctcedge.log import event
from ctcedge.service.watch_state import WatchState

log = logging.getLogger("ctcedge.service.scan_report")

_NAMED = 3  # files that are named in a log line


class ScanReport:
    """Keeps account of the entries of a folder that are not crops.

    Args:
        state: its count of images that are not understood is kept up to date.
        naming: how file names are read.

    Attributes:
        not_understood: files that look like images, whose names fit no rule, at the latest scan.
        unreadable_folders: number of folders that cannot be read, so far in this scan.
        complete: whether the latest scan that ended has read every folder.
    """

    def __init__(self, state: WatchState, naming: Naming) -> None:
        self.not_understood: list[Skipped] = []
        self.unreadable_folders = 0
        self._first_unreadable = ""
        self.complete = False
        self._state = state
        self._naming = naming
        self._unmatched: list[Skipped] = []
        self._passed_over = 0
        self._scanned: object = None
        self._logged = 0
        self._logged_passed_over = 0
        self._logged_empty = False

    def begin(self) -> None:
        """Start a scan."""
        self._unmatched, self._passed_over, self.unreadable_folders = [], 0, 0

    def add(self, entry: Skipped) -> None:
        """Take an entry of the scan."""
        if entry.kind == "unreadable":
            if not self.unreadable_folders:
                self._first_unreadable = entry.path
            self.unreadable_folders += 1
        elif entry.kind == "unmatched":
            if is_image_like(entry.path):
                self._unmatched.append(entry)
        elif entry.reason in (BIN_REASON, IGNORE_REASON):
            self._passed_over += 1

    def problem(self) -> str | None:
        """What could not be read, naming the first; None where all could."""
        if not self.unreadable_folders:
            return None
        if self.unreadable_folders == 1:
            return f"1 folder cannot be read: {self._first_unreadable}"
        return f"{self.unreadable_folders} folders cannot be read: {self._first_unreadable}, ..."

    def fail(self) -> None:
        """End a scan that could not read the folder itself."""
        self.complete = False

    def finish(self, crops: AbstractSet[str]) -> None:
        """End a scan; log what is new.

        Args:
            crops: paths of the bright-field crops that it found.
        """
        self.complete = not self.unreadable_folders
        scanned = self._unmatched and (hash(frozenset(crops)), hash(tuple(self._unmatched)))
        if scanned != self._scanned:
            self._scanned = scanned
            self.not_understood = not_understood(self._unmatched, crops, self._naming)
        count = self._state.not_understood = len(self.not_understood)
        if count >= max(1, 2 * self._logged):
            self._logged = count
            self._warn(count)
        if self._passed_over > self._logged_passed_over:
            self._logged_passed_over = self._passed_over
            log.info(
                "entries passed over by name (recycle bins, snapshots, the setting 'ignore'): %d",
                self._passed_over,
                extra=event("passed-over", entries=self._passed_over),
            )
        if not crops and not count and not self._logged_empty:
            log.info("no bright-field crop in the folder yet", extra=event("no-crops"))
        self._logged_empty = not crops

    def _warn(self, count: int) -> None:
        names = ", ".join(entry.path for entry in self.not_understood[:_NAMED])
        more = ", ..." if count > _NAMED else ""
        log.warning(
            "images that are not classified, as their names are not understood: %d (%s%s);"
            " describe the names by --pattern, or list them in the setting 'ignore'. 'ctcedge"
            " inspect' shows how each name is parsed",
            count,
            names,
            more,
            extra=event("not-understood", images=count),
        )
