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
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from watchdog.events import DirMovedEvent, FileClosedEvent, FileMovedEvent, FileSystemEvent

from ctcedge.classification.ood import DRIFT_WINDOW, RunFeatures
from ctcedge.discovery.naming import BRIGHT_FIELD, SIDECAR_SUFFIX, Crop, Skipped, folder_name
from ctcedge.discovery.scan import find_one, iter_entries
from ctcedge.errors import OutputError
from ctcedge.fs.files import Signature, file_signature
from ctcedge.log import event
from ctcedge.pipeline.outcome import Outcome, TallyKey
from ctcedge.pipeline.run import Run
from ctcedge.service.events import FolderEvents
from ctcedge.service.sample_reports import SampleReports
from ctcedge.service.stability import FileStabilityTracker, StableFile
from ctcedge.service.watch_state import WatchState

log = logging.getLogger("ctcedge.service.watcher")

_RETRY = 1.0  # seconds between tries of an image that does not decode
_RETRY_WRITING = 5.0  # seconds between tries when no sidecar can be written
_LOG_EVERY = 10.0  # least seconds between two log lines of counts
_LOG_AFTER = 1.0  # seconds in which what comes together is counted together
_TELL_EVERY = 1.0  # least seconds between two tellings of the state while busy
_TELL_IDLE = 10.0  # most seconds between two tellings
_SCAN_SHARE = 100  # a rescan may take one part in so many of the time
_SCANNED_AT_ONCE = 1000  # entries of a rescan between two looks at the clock
_MOST_TAKEN = 4096  # crops between two looks at what has come meanwhile
_MOST_GONE = 100_000  # crops that are gone, of which it is known still that they were counted


class Watcher:
    """Classifies the crops of a folder as they come, until told to stop.

    Args:
        run: the opened folder.
        force: classify once again what already has a current sidecar at the start.
        tell: called with the state from the watcher's own loop: about once a second while it
            works, every ten seconds while it waits, and at the end. Silence means a hang.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        run: Run,
        *,
        force: bool = False,
        tell: Callable[[WatchState], None] = lambda state: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        spec, engine = run.classifier.model.spec, run.classifier.engine
        self.state = WatchState(
            provider=engine.provider,
            model=f"{spec.name} {spec.version}",
            model_sha256=run.classifier.model.sha256,
            started=time.time(),
        )
        self._run = run
        self._images = os.path.join(run.folder, "")
        self._sidecars = os.path.join(run.sidecars.root, "")
        self._name = folder_name(run.folder)
        self._clock = clock
        self._tell = tell
        self._wakes: queue.SimpleQueue[FileSystemEvent | None] = queue.SimpleQueue()
        self._events = FolderEvents(run.folder, self._wakes, run.settings.watch.rescan_interval)
        self._stopping = False
        self._settling = FileStabilityTracker(run.settings.watch.stability_delay, self._look)
        self._seen: dict[str, int | None] = {}
        self._counted: dict[str, TallyKey] = {}
        self._failing: dict[str, tuple[Signature, float]] = {}
        self._force_next_scan = force
        self._forced: set[str] = set()
        self._troubles: dict[str, str] = {}
        self._in_hand = 0
        self._told = -_TELL_IDLE
        self._unlogged: Counter[str] = Counter()
        self._log_at = self._clock()
        self._latest = RunFeatures(DRIFT_WINDOW)
        after = run.settings.watch.report_idle
        self._reports = None if after is None else SampleReports(run, after, clock)

    def stop(self) -> None:
        """Finish the batch in hand and end; may be called from a signal handler."""
        self._stopping = True
        self._wakes.put(None)

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what becomes of each crop, until `stop` is called."""
        next_scan = self._clock()
        try:
            while not self._stopping:
                if self._clock() >= next_scan or self._events.lost:
                    next_scan = yield from self._rescan()
                taken = self._settling.take_stable_files(self._clock(), _MOST_TAKEN)
                if taken:
                    yield from self._classify(taken)
                    self._drain()
                else:
                    self._wait(next_scan)
                self._breathe(_TELL_IDLE if not taken else _TELL_EVERY)
                if self._reports is not None:
                    self._reports.step()
        finally:
            if self._reports is not None:
                self._reports.stop()
            self._breathe(0)
            self._log_counts()
            self._events.stop()

    def _wait(self, next_scan: float) -> None:
        until = min(
            next_scan,
            self._settling.next_due() or next_scan,
            self._told + _TELL_IDLE,
            self._log_at if self._unlogged else next_scan,
        )
        if self._reports is not None:
            until = min(until, self._reports.next_due() or until)
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

    def _note(self, wake: FileSystemEvent | None) -> None:
        """Turn an event into paths to look at."""
        if wake is None:
            return
        moved = isinstance(wake, DirMovedEvent | FileMovedEvent)
        place = os.fsdecode(wake.dest_path if moved else wake.src_path)
        path = self._relative(place)
        if wake.is_directory:
            self._scan_below(path)
        elif self._bright_field(path):
            if isinstance(wake, FileClosedEvent) or moved:
                self._settling.complete(path, self._clock())
            else:
                self._settling.changed(path, self._clock())

    def _relative(self, place: str) -> str:
        """The path of what lies in the folder, without a look at the disk where that can be."""
        if place.startswith(self._images):
            return place[len(self._images) :]
        return os.path.relpath(place, self._run.folder)

    def _bright_field(self, path: str) -> Crop | None:
        found = find_one(self._run.folder, self._name, path, self._run.naming)
        return found if isinstance(found, Crop) and found.channel == BRIGHT_FIELD else None

    def _scan_below(self, folder: str) -> None:
        """Look at the files of a folder that was made or moved in: they may precede its watch."""
        for parent, _, names in os.walk(self._run.folder / folder):
            for name in names:
                path = self._relative(os.path.join(parent, name))
                if self._bright_field(path):
                    self._settling.changed(path, self._clock())

    def _rescan(self) -> Generator[Outcome, None, float]:
        """Bring what is pending up to date with the disk; return when to do so again.

        Yields:
            Outcomes of crops that are known to be done, and were not counted yet.
        """
        folder, started, closed = self._run.folder, self._clock(), 0
        there: set[str] = set()
        try:
            self._events.start()
            self._name = folder_name(folder)
            entries = iter_entries(folder, self._run.naming)
            while some := list(islice(entries, _SCANNED_AT_ONCE)):
                if self._stopping:
                    return started
                crops = []
                for found in some:
                    if isinstance(found, Skipped):
                        closed += found.kind == "unreadable"
                    elif found.channel == BRIGHT_FIELD:
                        crops.append(found)
                there.update(crop.path for crop in crops)
                yield from self._consider(crops)
                self._breathe(_TELL_EVERY)
        except OSError as error:
            self._events.stop()
            self._report("reading", f"the folder cannot be read ({error.strerror})")
        else:
            self._report("reading", f"{closed} folders cannot be read" if closed else None)
            self._force_next_scan = False
            if not closed:
                self._run.pipeline.prune_index(len(there))
            _forget(self._seen, there)
            _forget(self._failing, there)
            # What comes back, as with a folder that was renamed, is not to be counted again.
            if len(self._counted) > len(there) + _MOST_GONE:
                _forget(self._counted, there)
        now = self._clock()
        return now + max(self._events.interval, _SCAN_SHARE * (now - started))

    def _consider(self, crops: list[Crop]) -> Iterator[Outcome]:
        """Make pending what is neither as it was when it was done, nor known to be done."""
        marks: dict[str, int | None] = {}
        unsure = []
        for crop in crops:
            path = crop.path
            # At first nothing is there to be compared, and the index looks at the files anyhow.
            if path in self._counted:
                marks[path] = self._mark(path, self._look(path))
                if marks[path] is not None and marks[path] == self._seen.get(path):
                    continue
            unsure.append(crop)
        if self._force_next_scan:
            self._forced.update(crop.path for crop in unsure)
        for each in unsure if self._force_next_scan else self._run.pipeline.lookup_done(unsure):
            if isinstance(each, Crop):
                self._settle(each.path)
                continue
            path = each.crop.path
            if path in marks:
                self._seen[path] = marks[path]
            if self._counted.get(path) != each.tally_key:
                self._count(each, self._clock())
                if self._reports is not None:
                    self._reports.note(each)
                yield self._again(each)

    def _settle(self, path: str) -> None:
        """Take a file at once where it has long been still, or else once it stays so."""
        image = self._look(path)
        if image is None:
            return
        if time.time() - image[1] / 1e9 > self._run.settings.watch.stability_delay:
            self._settling.complete(path, self._clock())
        else:
            self._settling.changed(path, self._clock())

    def _classify(self, taken: list[StableFile]) -> Iterator[Outcome]:
        settled = {each.path: each for each in taken}
        crops = [crop for path in settled if (crop := self._bright_field(path))]
        forced = [crop for crop in crops if crop.path in self._forced]
        normal = [crop for crop in crops if crop.path not in self._forced]
        left = {crop.path for crop in crops}
        self._in_hand = len(crops)
        self.state.batches.observe(len(crops))
        try:
            for group, again in ((forced, True), (normal, False)):
                for outcome in self._run.pipeline.run(
                    group,
                    force=again,
                    should_stop=lambda: self._stopping,
                    retry_later=lambda crop, was_read: self._defers(settled[crop.path], was_read),
                ):
                    left.discard(outcome.crop.path)
                    self._remember(outcome, settled[outcome.crop.path])
                    if self._reports is not None:
                        self._reports.note(outcome)
                    yield self._again(outcome)
                    self._breathe(_TELL_EVERY)
        except OutputError as error:
            self._report("writing", str(error))
            for path in left:
                self._settling.retry(path, self._clock() + _RETRY_WRITING)
        else:
            self._report("writing", None)
        finally:
            self._in_hand = 0

    def _defers(self, image: StableFile, was_read: bool) -> bool:
        """Whether an image may still be in the making, or the disk may read it yet."""
        path, signature = image.path, image.signature
        limit = self._run.settings.watch.decode_timeout
        if was_read and time.time() - signature[1] / 1e9 > limit:
            return False
        known, since = self._failing.get(path, (None, 0.0))
        if known != signature:
            since = self._clock()
            self._failing[path] = (signature, since)
        return self._clock() - since < limit

    def _remember(self, outcome: Outcome, settled: StableFile) -> None:
        path = outcome.crop.path
        self._in_hand -= 1
        if not (outcome.done == "current" and outcome.is_unread):
            self._count(outcome, settled.since)
        if outcome.done == "deferred":
            self._settling.retry(path, self._clock() + _RETRY)
            return
        self._failing.pop(path, None)
        self._forced.discard(path)
        if outcome.done == "vanished":
            self._seen.pop(path, None)
        elif outcome.done != "not-written" and not outcome.is_unread:
            self._seen[path] = self._mark(path, settled.signature)

    def _again(self, outcome: Outcome) -> Outcome:
        """The outcome, with what it takes the place of."""
        if outcome.done == "deferred":
            return outcome
        before = self._counted.get(outcome.crop.path)
        self._counted[outcome.crop.path] = outcome.tally_key
        return outcome if before is None else replace(outcome, replaces=before)

    def _count(self, outcome: Outcome, since: float) -> None:
        state, record = self.state, outcome.record
        state.done[outcome.done] += 1
        kind = {"current": "already done", "deferred": "to be tried again"}.get(outcome.done)
        if outcome.done == "written" and record is not None:
            state.statuses[record.status] += 1
            state.latencies.observe(self._clock() - since)
            if record.call is not None:
                cluster = record.cluster is True
                state.tally.add(record.call, record.reasons, cluster=cluster)
                state.last_success = time.time()
                if outcome.ood_features:
                    self._latest.add(outcome.ood_features)
            kind = record.call or record.status
        if not self._unlogged:
            self._log_at = max(self._log_at, self._clock() + _LOG_AFTER)
        self._unlogged[kind or outcome.done] += 1

    def _look(self, path: str) -> Signature | None:
        return file_signature(self._images + path)

    def _mark(self, path: str, image: Signature | None) -> int | None:
        """Stands for image and sidecar: while it is the same, there is nothing to do.

        None where either is gone, be it a moment after the sidecar was written.
        """
        sidecar = file_signature(f"{self._sidecars}{path}{SIDECAR_SUFFIX}")
        return None if image is None or sidecar is None else hash((image, sidecar))

    def _breathe(self, every: float) -> None:
        """Tell the state and log counts, when it is time to."""
        now = self._clock()
        if now - self._told >= every:
            self.state.pending = len(self._settling) + self._in_hand
            self.state.provider = self._run.classifier.engine.provider
            self._judge_latest()
            self._told = now
            self._tell(self.state)
        if now >= self._log_at:
            self._log_counts()

    def _judge_latest(self) -> None:
        """See whether the latest crops are like the training data; log when that changes."""
        detector, before = self._run.classifier.ood_detector, self.state.likeness
        if detector is None or not self._latest.crops:
            return
        found = self.state.likeness = detector.domain_shift(self._latest)
        if found.state == "unlike" and (before is None or before.state != "unlike"):
            log.warning(
                "the latest %d crops are unlike those that the model was trained on: another"
                " instrument, magnification or stain? Its calls of them may be wrong",
                found.crops,
                extra=event("unlike-training", crops=found.crops, distance=found.distance),
            )
        elif found.state == "like" and before is not None and before.state == "unlike":
            log.info(
                "the latest %d crops are like those that the model was trained on",
                found.crops,
                extra=event("like-training", crops=found.crops, distance=found.distance),
            )

    def _log_counts(self) -> None:
        """Log what was done in counts alone: names of samples could tell who a patient is."""
        if self._unlogged:
            counts = sorted(self._unlogged.items())
            text = ", ".join(f"{count} {kind}" for kind, count in counts)
            log.info("%s", text, extra=event("progress", counts=dict(counts)))
            self._unlogged.clear()
            self._log_at = self._clock() + _LOG_EVERY

    def _report(self, work: str, trouble: str | None) -> None:
        """Log a trouble once when it begins and once when it is over."""
        before = self._troubles.pop(work, None)
        if trouble is not None and trouble != before:
            log.error("%s; trying again", trouble, extra=event("trouble"))
        elif trouble is None and before is not None:
            log.info("working again after: %s", before, extra=event("recovered"))
        if trouble is not None:
            self._troubles[work] = trouble
        self.state.trouble = "; ".join(self._troubles.values()) or None


def _forget(memory: dict[str, Any], there: set[str]) -> None:
    """Forget crops that are gone."""
    for path in memory.keys() - there:
        del memory[path]
