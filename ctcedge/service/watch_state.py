"""What a running watch knows about itself; told to systemd, to metrics and to the log."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from ctcedge.classification.ood import DomainShift
from ctcedge.results.tally import Tally

BATCH_BOUNDS = (1.0, 4.0, 16.0, 64.0, 256.0)
LATENCY_BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0)


@dataclass(slots=True)
class Histogram:
    """Counts of observed values.

    Attributes:
        bounds: upper bounds, inclusive; one more bucket takes what lies above.
        counts: of each bucket, not cumulative.
        sum: of all values.
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
    """Counts since the start, and how things stand now.

    Attributes:
        provider: where the network runs now.
        model: name and version.
        model_sha256: the model's identity.
        started: Unix time, seconds.
        pending: crops that wait: not yet whole, or in the queue.
        done: outcomes by what was done (`written`, `current`, `vanished`, `deferred`,
            `not-written`).
        tally: newly classified crops.
        statuses: newly written sidecars by status.
        last_success: Unix time of the last newly classified crop, or None.
        batches: crops a pass.
        latencies: seconds from a settled file to its sidecar.
        likeness: whether the latest crops are like the training data; None where the model does
            not tell, or none has come yet.
        trouble: what keeps the watch from working just now, or None.
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
    likeness: DomainShift | None = None
    trouble: str | None = None

    def __str__(self) -> str:
        """One line for a person: how many crops have a sidecar, how many wait, where it runs."""
        done = self.done["written"] + self.done["current"]
        line = f"{done:,} crops done, {self.pending:,} pending, on {self.provider.upper()}"
        return line if self.trouble is None else f"{line}; {self.trouble}"
