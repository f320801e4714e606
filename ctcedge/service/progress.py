"""Progress of a running watch: counts outcomes, logs them, and publishes the watch's state."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from ctcedge.classification.ood import DRIFT_WINDOW, OodDetector, RunFeatures
from ctcedge.log import event
from ctcedge.pipeline.outcome import Outcome
from ctcedge.service.watch_state import WatchState

log = logging.getLogger("ctcedge.service.progress")

BUSY_HEARTBEAT_S = 1.0
"""Minimum seconds between two publications of the state while the watch works."""

IDLE_HEARTBEAT_S = 10.0
"""Maximum seconds between two publications of the state."""

_LOG_INTERVAL = 10.0  # minimum seconds between two log lines of counts
_LOG_DELAY = 1.0  # seconds in which outcomes are collected for one log line
_LOGGED_AS = {"current": "already done", "deferred": "to be tried again"}


class Progress:
    """Keeps the state of a watch up to date.

    The log contains counts only, as names of samples can identify patients.

    Args:
        state: the state to update.
        ood_detector: detector of a domain shift of the latest crops; None where the model has none.
        publish: called with the state, see `heartbeat`.
        clock: monotonic clock, seconds.
    """

    def __init__(
        self,
        state: WatchState,
        ood_detector: OodDetector | None,
        publish: Callable[[WatchState], None],
        clock: Callable[[], float],
    ) -> None:
        self.state = state
        self._ood_detector = ood_detector
        self._publish = publish
        self._clock = clock
        self._latest = RunFeatures(DRIFT_WINDOW)
        self._problems: dict[str, str] = {}
        self._published_at = -IDLE_HEARTBEAT_S
        self._changed = False
        self._unlogged: Counter[str] = Counter()
        self._deferred: set[str] = set()
        self._log_at = clock()

    def count(self, outcome: Outcome, since: float) -> None:
        """Count an outcome.

        Args:
            outcome: outcome of a crop.
            since: time at which its file was complete, on the clock.
        """
        state, record = self.state, outcome.record
        self._changed = True
        state.done[outcome.done] += 1
        logged_as = _LOGGED_AS.get(outcome.done, outcome.done)
        if outcome.done == "written" and record is not None:
            state.statuses[record.status] += 1
            state.latencies.observe(self._clock() - since)
            if record.call is not None:
                cluster = record.cluster is True
                state.tally.add(record.call, record.reasons, cluster=cluster)
                state.last_success = time.time()
                if outcome.ood_features:
                    self._latest.add(outcome.ood_features)
            logged_as = record.call or record.status
        if outcome.kept_aside is not None:  # its name would tell the cell
            number = outcome.kept_aside.rpartition(".")[2]
            log.warning(
                "a damaged sidecar was replaced and kept beside the new one, as *.%s",
                number,
                extra=event("damaged-sidecar"),
            )
        if outcome.done in ("deferred", "not-written"):
            # Each attempt is an outcome; a person wants to know of how many crops.
            if outcome.crop.path in self._deferred:
                return
            self._deferred.add(outcome.crop.path)
        if not self._unlogged:
            self._log_at = max(self._log_at, self._clock() + _LOG_DELAY)
        self._unlogged[logged_as] += 1

    def set_problem(self, activity: str, problem: str | None) -> None:
        """Set or clear the problem of an activity; each is logged when it begins and when it ends.

        Args:
            activity: what the watch tries to do.
            problem: what prevents it; None where nothing does.
        """
        before = self._problems.pop(activity, None)
        if problem != before:
            self.refresh()
        if problem is not None and problem != before:
            log.error("%s; trying again", problem, extra=event("degraded"))
        elif problem is None and before is not None:
            log.info("working again after: %s", before, extra=event("recovered"))
        if problem is not None:
            self._problems[activity] = problem
        self.state.problem = "; ".join(self._problems.values()) or None

    def refresh(self) -> None:
        """Publish the state as soon as while the watch works; callable from a signal handler."""
        self._changed = True

    def heartbeat(self, interval: float, *, pending: int, provider: str) -> None:
        """Publish the state and log counts, where they are due.

        Args:
            interval: minimum seconds since the last publication; after a change, a second at most.
            pending: number of crops that are not done yet.
            provider: provider of the inference.
        """
        now = self._clock()
        if pending != self.state.pending:
            self._changed = True
        if self._changed:
            interval = min(interval, BUSY_HEARTBEAT_S)
        if now - self._published_at >= interval:
            self._changed = False
            self.state.pending = pending
            self.state.provider = provider
            self._update_domain_shift()
            self._published_at = now
            self._publish(self.state)
        if now >= self._log_at:
            self.log_counts()

    def next_due(self) -> float:
        """Time at which `heartbeat` has something to do, on the clock."""
        due = self._published_at + (BUSY_HEARTBEAT_S if self._changed else IDLE_HEARTBEAT_S)
        return min(due, self._log_at) if self._unlogged else due

    def log_counts(self) -> None:
        """Log the number of outcomes since the last time."""
        if self._unlogged:
            counts = sorted(self._unlogged.items())
            text = ", ".join(f"{count} {name}" for name, count in counts)
            hint = ""
            if self._unlogged["unreadable"] or self._unlogged["unsupported"]:
                hint = "; 'ctcedge status' names the crops without a call"
            log.info(
                "since the last such line: %s%s",
                text,
                hint,
                extra=event("progress", counts=dict(counts)),
            )
            self._unlogged.clear()
            self._deferred.clear()
            self._log_at = self._clock() + _LOG_INTERVAL

    def _update_domain_shift(self) -> None:
        """Compare the latest crops with the training data; a change is logged."""
        if self._ood_detector is None or not self._latest.crops:
            return
        before = self.state.domain_shift
        was_shifted = before is not None and before.state == "shifted"
        shift = self.state.domain_shift = self._ood_detector.domain_shift(self._latest)
        if shift.state == "shifted" and not was_shifted:
            log.warning(
                "the latest %d crops differ from the training data (domain shift): another"
                " instrument, magnification or stain? Their calls may be wrong",
                shift.crops,
                extra=event("domain-shift", crops=shift.crops, distance=shift.distance),
            )
        elif shift.state == "in-distribution" and was_shifted:
            log.info(
                "the latest %d crops are like the training data again",
                shift.crops,
                extra=event("domain-shift-over", crops=shift.crops, distance=shift.distance),
            )
