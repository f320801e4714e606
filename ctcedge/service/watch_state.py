"""Counters of a running watch, published to systemd, Prometheus and the log."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from ctcedge.classification.ood import DomainShift
from ctcedge.pipeline.outcome import TallyKey
from ctcedge.results.samples import SampleCounter
from ctcedge.results.tally import Tally

BATCH_BOUNDS = (1.0, 4.0, 16.0, 64.0, 256.0)
LATENCY_BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0)


@dataclass(slots=True)
class Histogram:
    """Counts of observed values.

    Attributes:
        bounds: upper bounds of the buckets, inclusive; one more bucket holds larger values.
        counts: number of values in each bucket, not cumulative.
        sum: sum of all values.
    """

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclass(slots=True)
class WatchState:
    """Counters since the start, and the present state.

    Attributes:
        provider: present provider of the inference.
        model: name and version of the model.
        model_sha256: SHA-256 of the model.
        started: time of the start, Unix time in seconds.
        pending: number of crops that are incomplete or not classified yet.
        done: number of outcomes by kind (`written`, `upgraded`, `current`, `vanished`, `deferred`,
            `not-written`).
        tally: calls of newly classified crops.
        statuses: number of newly written sidecars by status.
        last_success: time of the last newly classified crop, Unix time; None before the first.
        batches: number of crops per pass.
        latencies: seconds from a complete file to its sidecar.
        domain_shift: comparison of the latest crops with the training data; None where the model
            has no OOD statistics, or before the first crop.
        problem: what prevents the watch from working at present, or None.
        not_understood: number of files that look like images, whose names fit no rule, at the
            latest scan.
        samples: counts by sample of the crops that have a call, also of earlier runs.
    """

    provider: str
    model: str
    model_sha256: str
    started: float
    pending: int = 0
    done: Counter[str] = field(default_factory=Counter)
    tally: Tally = field(default_factory=Tally)
    statuses: Counter[str] = field(default_factory=Counter)
    last_success: float | None = None
    batches: Histogram = field(default_factory=lambda: Histogram(BATCH_BOUNDS))
    latencies: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS))
    domain_shift: DomainShift | None = None
    problem: str | None = None
    not_understood: int = 0
    samples: SampleCounter = field(default_factory=SampleCounter)

    def count_sample(self, sample: str, key: TallyKey, replaced: TallyKey | None) -> None:
        """Count a crop's call, and take back the one that it had before."""
        for each, count in ((key, 1), (replaced, -1)):
            if each is not None and each.call is not None:
                self.samples.add(
                    sample, each.call, cluster=each.cluster, review=each.review, count=count
                )

    @property
    def unclassified(self) -> int:
        """Number of newly written sidecars without a call."""
        return self.statuses.total() - self.statuses["classified"]

    def __str__(self) -> str:
        """One line: crops with a sidecar, new and pending ones, provider and problem."""
        done = sum(self.done[kind] for kind in ("written", "upgraded", "current"))
        plural = "" if done == 1 else "s"
        new = self.done["written"]
        line = f"{done:,} crop{plural} done ({new:,} new), {self.pending:,} pending"
        line += f", on {self.provider.upper()}"
        if self.not_understood:
            line += f"; {self.not_understood:,} images not understood by name"
        return line if self.problem is None else f"{line}; {self.problem}"
