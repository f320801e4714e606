"""Counts of classified crops by call, cluster and review reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ctcedge.sidecars.schema import CALLS

OTHER_REASONS = "other reasons"
_MAX_REASONS = 100  # sidecars from elsewhere may hold any reason, and memory is bounded


@dataclass(slots=True)
class Tally:
    """Counts of classified crops.

    Attributes:
        calls: crops by call.
        clusters: crops that show touching cells, by call; they are among `calls` too.
        review_reasons: crops called review by reason; a crop may have several. After the first 100
            reasons, further ones are counted as `OTHER_REASONS`.
    """

    calls: Counter[str] = field(default_factory=Counter)
    clusters: Counter[str] = field(default_factory=Counter)
    review_reasons: Counter[str] = field(default_factory=Counter)

    def add(
        self, call: str, reasons: Iterable[str] = (), *, cluster: bool = False, count: int = 1
    ) -> None:
        """Count a crop.

        Args:
            call: its call.
            reasons: its review reasons.
            cluster: whether it shows touching cells.
            count: -1 to take back a crop that was counted before.
        """
        self.calls[call] += count
        if cluster:
            self.clusters[call] += count
        for reason in reasons:
            self.review_reasons[self._reason(reason)] += count

    def as_json(self) -> dict[str, dict[str, int]]:
        """Return the counts for scripts: every call, and the reasons that occurred."""
        return {
            "calls": {call: self.calls[call] for call in CALLS},
            "clusters": {call: self.clusters[call] for call in CALLS},
            "review_reasons": dict(+self.review_reasons),
        }

    def _reason(self, reason: str) -> str:
        # A reason that once found no place never gets one, so that it can be taken back.
        counted = reason in self.review_reasons or len(self.review_reasons) < _MAX_REASONS
        return reason if counted else OTHER_REASONS
