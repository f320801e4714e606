"""Watch a folder: classify the crops that are there, then each crop as it arrives.

The files on disk are the truth. An event only wakes the watcher and names a path; a rescan at the
start, and regularly afterwards, finds what events have missed. A crop is pending when it has no
current sidecar; the watcher remembers nothing else that a restart would lose.

Longer than most modules: scan, events, tracking and classification share one loop and its state.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from watchdog.events import DirMovedEvent, FileClosedEvent, FileMovedEvent, FileSystemEvent

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.cut_crops import CUT_PREFIX
from ctcedge.discovery.naming import SIDECAR_SUFFIX, Crop, Skipped, folder_name
from ctcedge.discovery.scan import find_one, iter_entries
from ctcedge.errors import OutputError
from ctcedge.fs.files import Signature, file_signature, modified_ns
from ctcedge.fs.tree import walk
from ctcedge.iteration import batched
from ctcedge.pipeline.outcome import Outcome, TallyKey
from ctcedge.pipeline.run import Run
from ctcedge.service.cell_cutting import CellCutting
from ctcedge.service.events import FolderEvents
from ctcedge.service.progress import BUSY_HEARTBEAT_S, IDLE_HEARTBEAT_S, Progress
from ctcedge.service.sample_reports import SampleReports
from ctcedge.service.scan_report import ScanReport
from ctcedge.service.stability import FileStabilityTracker, StableFile
from ctcedge.service.watch_state import WatchState
from ctcedge.sources.cutter import Cutter

_DECODE_RETRY_S = 1.0  # seconds between attempts to decode an image
_WRITE_RETRY_S = 5.0  # seconds between attempts while no sidecar can be written
_MIN_RETRY_S = 1.0  # seconds until a single crop is tried again; doubled at each attempt
_RESCAN_PERIODS = 100  # a rescan takes at most one part of the time in so many
_SCAN_BATCH = 1000  # entries of a rescan between two heartbeats
_MAX_BATCH = 4096  # crops that are classified before new events are handled
_MAX_REMEMBERED = 100_000  # removed crops that are remembered as counted


class _NotWritten(NamedTuple):
    """A crop whose sidecar was refused, for a reason that concerns its path only.

    Attributes:
        signature: of the image.
        delay: seconds until the next attempt.
        error: why.
    """

    signature: Signature
    delay: float
    error: str


class Watcher:
    """Classifies the crops of a folder as they arrive, until it is stopped.

    Args:
        run: the opened folder.
        force: whether to classify again, at the start, the crops with a current sidecar.
        cutter: cuts the cells of frames and of files of many pages; None where that is not done.
        publish: called with the state from the watcher's own loop: about once a second while it
            works and after a change, every ten seconds while it waits, and at the end. It is not
            called when the watcher hangs.
        clock: monotonic clock, seconds.
    """

    def __init__(
        self,
        run: Run,
        *,
        force: bool = False,
        cutter: Cutter | None = None,
        publish: Callable[[WatchState], None] = lambda state: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        spec, settings = run.classifier.model.spec, run.settings.watch
        self.state = WatchState(
            provider=run.classifier.engine.provider,
            model=f"{spec.name} {spec.version}",
            model_sha256=run.classifier.model.sha256,
            started=time.time(),
        )
        self.scan_report = ScanReport(self.state, run.naming)
        self._run = run
        self._settings = settings
        self._image_prefix = os.path.join(run.folder, "")
        self._sidecar_prefix = os.path.join(run.sidecars.root, "")
        self._folder_name = folder_name(run.folder)
        self._clock = clock
        self._progress = Progress(self.state, run.classifier.ood_detector, publish, clock)
        self._cutting = CellCutting(cutter, run, self._progress, clock)
        self._queue: queue.SimpleQueue[FileSystemEvent | None] = queue.SimpleQueue()
        self._events = FolderEvents(run.folder, self._queue, settings.rescan_interval)
        self._stopping = False
        self._tracker = FileStabilityTracker(settings.stability_delay, self._image_signature)
        self._done_marks: dict[str, int | None] = {}
        self._counted: dict[str, TallyKey] = {}
        self._failures: dict[str, tuple[Signature, float]] = {}
        self._not_written: dict[str, _NotWritten] = {}
        self._force_next_scan = force
        self._forced: set[str] = set()
        self._in_progress = 0
        idle = settings.report_idle
        self._reports = None if idle is None else SampleReports(run, idle, clock)

    def stop(self) -> None:
        """Finish the current chunks and end; may be called from a signal handler."""
        self._stopping = True
        self._queue.put(None)

    def refresh(self) -> None:
        """Publish the state within a second; may be called from a signal handler."""
        self._progress.refresh()
        self._queue.put(None)

    def must_stop(self) -> bool:
        """Whether `stop` was called; also a sign of life while cells are cut."""
        self._heartbeat(BUSY_HEARTBEAT_S)
        return self._stopping

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcome of each crop, until `stop` is called."""
        next_scan = self._clock()
        try:
            while not self._stopping:
                next_scan = min(next_scan, self._cutting.due)
                if self._clock() >= next_scan or self._events.lost:
                    next_scan = yield from self._rescan()
                files = self._tracker.take_stable_files(self._clock(), _MAX_BATCH)
                if files:
                    yield from self._classify(files)
                    self._handle_queued_events()
                else:
                    self._wait(next_scan)
                self._heartbeat(BUSY_HEARTBEAT_S if files else IDLE_HEARTBEAT_S)
                self._events.check()
                if self._reports is not None:
                    self._reports.step()
        finally:
            if self._reports is not None:
                self._reports.stop()
            self._heartbeat(0)
            self._progress.log_counts()
            self._events.stop()

    @property
    def pending(self) -> int:
        """Number of crops that are incomplete or not classified yet."""
        return self._tracker.pending_count + self._in_progress

    def _heartbeat(self, interval: float) -> None:
        self._progress.heartbeat(
            interval,
            pending=self.pending,
            provider=self._run.classifier.engine.provider,
        )

    def _wait(self, next_scan: float) -> None:
        """Wait for an event, or until something is due."""
        until = min(next_scan, self._tracker.next_due() or next_scan, self._progress.next_due())
        if self._reports is not None:
            until = min(until, self._reports.next_due() or until)
        try:
            event = self._queue.get(timeout=max(0.0, until - self._clock()))
        except queue.Empty:
            return
        self._handle_event(event)
        self._handle_queued_events()

    def _handle_queued_events(self) -> None:
        while True:
            try:
                self._handle_event(self._queue.get_nowait())
            except queue.Empty:
                return

    def _handle_event(self, event: FileSystemEvent | None) -> None:
        """Track the files that an event is about."""
        if event is None:
            return
        is_move = isinstance(event, DirMovedEvent | FileMovedEvent)
        path = self._relative(os.fsdecode(event.dest_path if is_move else event.src_path))
        self._events.announced(path)
        if event.is_directory:
            self._track_below(path)
        elif self._find_crop(path):
            if is_move or isinstance(event, FileClosedEvent):
                self._tracker.complete(path, self._clock())
            else:
                self._tracker.track(path, self._clock())
        else:
            self._cutting.announce(path)

    def _relative(self, path: str) -> str:
        """A path relative to the folder, without access to the disk where that is possible."""
        if path.startswith(self._image_prefix):
            return path[len(self._image_prefix) :]
        return os.path.relpath(path, self._run.folder)

    def _find_crop(self, path: str) -> Crop | None:
        """The crop of a path, where it is a bright-field image."""
        entry = find_one(self._run.folder, self._folder_name, path, self._run.naming)
        return entry if isinstance(entry, Crop) and entry.channel == BRIGHT_FIELD else None

    def _track_below(self, folder: str) -> None:
        """Track the files of a folder that was created or moved in before it was observed."""
        for listed in walk(self._run.folder / folder):
            for name in listed.others:
                path = os.path.normpath(os.path.join(folder, listed.path, name))
                self._events.announced(path)
                if self._find_crop(path):
                    self._tracker.track(path, self._clock())

    def _rescan(self) -> Generator[Outcome, None, float]:
        """Track all crops that are not done.

        Yields:
            Outcomes of crops that are done and were not counted yet.

        Returns:
            The time of the next rescan.
        """
        folder, started = self._run.folder, self._clock()
        present: set[str] = set()
        self.scan_report.begin()
        try:
            self._events.start()
            self._cutting.cut_table()
            self._folder_name = folder_name(folder)
            entries = iter_entries(folder, self._run.naming)
            for batch in batched(entries, _SCAN_BATCH):
                if self._stopping:
                    return started
                if self._cutting.cut_files(batch):
                    return started  # their files are left out by another scan
                self._cutting.look_for_parameters(batch)
                crops = []
                for entry in batch:
                    if isinstance(entry, Skipped):
                        if entry.path not in self._cutting.waiting:
                            self.scan_report.add(entry)
                    elif entry.channel == BRIGHT_FIELD:
                        crops.append(entry)
                present.update(crop.path for crop in crops)
                yield from self._check_crops(crops)
                self._heartbeat(BUSY_HEARTBEAT_S)
        except OSError as error:
            self._events.stop()
            self.scan_report.fail()
            self._progress.set_problem("read", f"the folder cannot be read ({error.strerror})")
        else:
            self._finish_rescan(present, self.scan_report.unreadable_folders)
        now = self._clock()
        return now + max(self._events.scan_interval, _RESCAN_PERIODS * (now - started))

    def _finish_rescan(self, present: set[str], unreadable_folders: int) -> None:
        """Forget the crops that were removed."""
        before = self.scan_report.complete
        self.scan_report.finish(present)
        if self.scan_report.complete != before:
            self._progress.refresh()
        self._progress.set_problem("read", self.scan_report.problem())
        self._force_next_scan = False
        if not unreadable_folders:
            self._run.pipeline.prune_index(len(present))
        _keep_only(present, self._done_marks)
        _keep_only(present, self._failures)
        _keep_only(present, self._not_written)
        self._set_not_written()
        # Crops that come back, for instance in a renamed folder, must not be counted twice.
        if len(self._counted) > len(present) + _MAX_REMEMBERED:
            _keep_only(present, self._counted)

    def _check_crops(self, crops: list[Crop]) -> Iterator[Outcome]:
        """Track the crops that changed since they were done, or are not known to be done."""
        marks: dict[str, int | None] = {}
        unknown = []
        for crop in crops:
            path = crop.path
            # At the start there is nothing to compare with, and the index compares anyway.
            if path in self._counted:
                marks[path] = self._done_mark(path, self._image_signature(path))
                if marks[path] is not None and marks[path] == self._done_marks.get(path):
                    continue
            unknown.append(crop)
        if self._force_next_scan:
            self._forced.update(crop.path for crop in unknown)
            for crop in unknown:
                self._track(crop.path)
            return
        for found in self._run.pipeline.lookup_done(unknown):
            if isinstance(found, Crop):
                self._track(found.path)
                continue
            path = found.crop.path
            if path in marks:
                self._done_marks[path] = marks[path]
            if self._counted.get(path) != found.tally_key:
                self._progress.count(found, self._clock())
                if self._reports is not None:
                    self._reports.add(found)
                yield self._with_replaced(found)

    def _track(self, path: str) -> None:
        """Track a file; it is complete where it has not changed for long enough."""
        image = self._image_signature(path)
        if image is None:
            return
        refused = self._not_written.get(path)
        if refused is not None and refused.signature == image and self._tracker.is_tracked(path):
            return  # it waits for its next attempt
        is_cut = path.startswith(CUT_PREFIX)
        if not is_cut and path not in self._counted and not self._tracker.is_tracked(path):
            self._events.found_by_scan(path)
        if time.time() - modified_ns(image) / 1e9 > self._settings.stability_delay:
            self._tracker.complete(path, self._clock())
        else:
            self._tracker.track(path, self._clock())

    def _classify(self, stable_files: list[StableFile]) -> Iterator[Outcome]:
        files = {file.path: file for file in stable_files}
        crops = [crop for path in files if (crop := self._find_crop(path))]
        crops = self._cutting.without_pages(crops)
        forced = [crop for crop in crops if crop.path in self._forced]
        others = [crop for crop in crops if crop.path not in self._forced]
        remaining = {crop.path for crop in crops}
        self._in_progress = len(crops)
        self.state.batches.observe(len(crops))
        try:
            for group, force in ((forced, True), (others, False)):
                for outcome in self._run.pipeline.run(
                    group,
                    force=force,
                    should_stop=lambda: self._stopping,
                    retry_later=lambda crop, was_read: self._retry_later(
                        files[crop.path], was_read
                    ),
                    on_wait=lambda: self._heartbeat(BUSY_HEARTBEAT_S),
                ):
                    remaining.discard(outcome.crop.path)
                    self._record_outcome(outcome, files[outcome.crop.path])
                    if self._reports is not None:
                        self._reports.add(outcome)
                    yield self._with_replaced(outcome)
                    self._heartbeat(BUSY_HEARTBEAT_S)
        except OutputError as error:
            self._progress.set_problem("write", str(error))
        else:
            if not remaining or len(remaining) < len(crops):  # else a stop came before the first
                self._progress.set_problem("write", None)
        finally:
            for path in remaining:
                self._tracker.retry(path, self._clock() + _WRITE_RETRY_S)
            self._in_progress = 0
            self._set_not_written()

    def _retry_later(self, file: StableFile, was_read: bool) -> bool:
        """Whether an image may still be incomplete, or the disk may still read it."""
        timeout = self._settings.decode_timeout
        age = time.time() - modified_ns(file.signature) / 1e9
        if was_read and file.signature and age > timeout:
            return False
        signature, since = self._failures.get(file.path, (None, 0.0))
        if signature != file.signature:
            since = self._clock()
            self._failures[file.path] = (file.signature, since)
        return self._clock() - since < timeout

    def _record_outcome(self, outcome: Outcome, file: StableFile) -> None:
        path = outcome.crop.path
        self._in_progress -= 1
        if not (outcome.done == "current" and outcome.is_unread):
            self._progress.count(outcome, file.since)
        if outcome.done == "deferred":
            self._tracker.retry(path, self._clock() + _DECODE_RETRY_S)
            return
        self._failures.pop(path, None)
        self._forced.discard(path)
        if outcome.done == "not-written":
            self._retry_write(path, file.signature, outcome.error)
            return
        self._not_written.pop(path, None)
        if outcome.done == "vanished":
            self._done_marks.pop(path, None)
        elif not outcome.is_unread:
            self._done_marks[path] = self._done_mark(path, file.signature)

    def _retry_write(self, path: str, signature: Signature, error: str | None) -> None:
        """Try one crop again, alone: whatever its path refuses, that of others may accept."""
        before = self._not_written.get(path)
        delay = _MIN_RETRY_S if before is None else 2 * before.delay
        delay = min(delay, max(self._settings.rescan_interval, _MIN_RETRY_S))
        self._not_written[path] = _NotWritten(signature, delay, error or "")
        self._tracker.retry(path, self._clock() + delay)

    def _set_not_written(self) -> None:
        """Keep the problem of single crops up to date; one of them is named."""
        problem = None
        if self._not_written:
            path, refused = next(iter(self._not_written.items()))
            problem = f"crops without a current sidecar, such as {path}: {refused.error}"
        self._progress.set_problem("crops", problem)

    def _with_replaced(self, outcome: Outcome) -> Outcome:
        """The outcome, with the one of the same crop that it replaces."""
        if outcome.done == "deferred":
            return outcome
        replaced = self._counted.get(outcome.crop.path)
        self._counted[outcome.crop.path] = outcome.tally_key
        self.state.count_sample(outcome.crop.sample, outcome.tally_key, replaced)
        return outcome if replaced is None else replace(outcome, replaces=replaced)

    def _image_signature(self, path: str) -> Signature | None:
        is_cut = path.startswith(CUT_PREFIX)
        return file_signature((self._sidecar_prefix if is_cut else self._image_prefix) + path)

    def _done_mark(self, path: str, image: Signature | None) -> int | None:
        """Hash of the state of image and sidecar; the crop is done while it stays the same.

        Returns:
            None where either file is gone, be it a moment after the sidecar was written.
        """
        sidecar = file_signature(f"{self._sidecar_prefix}{path}{SIDECAR_SUFFIX}")
        return None if image is None or sidecar is None else hash((image, sidecar))


def _keep_only(present: set[str], by_path: dict[str, Any]) -> None:
    for path in by_path.keys() - present:
        del by_path[path]
