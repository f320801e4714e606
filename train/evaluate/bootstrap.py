"""95 % intervals by drawing whole patients or samples anew (percentile bootstrap).

Cells of one sample share their optics and their patient, so that drawing cells would promise too
much. Where every group is of one class, each class's groups are drawn by themselves, so that the
share of CTCs stays what it is. Groups without a label are drawn apart, and change no other draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..metrics.roc import Floats, Labels

DRAWS = 1000

_PERCENTILES = (2.5, 97.5)
_WEIGHTS_AT_ONCE = 1_000_000

Statistics = Callable[[Floats], Mapping[str, Mapping[str, Floats]]]
"""From weights, (m, n), to figures, (m,) each, by what they are of and by name."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; NaN where the cells cannot tell."""

    value: float
    low: float
    high: float


class Resampling:
    """Many draws of the same groups of cells.

    Args:
        group: (n,) text, drawn as a whole.
        positive: (n,) bool.
        seed: of the draws.
        draws: their number.
        known: (n,) false for cells of unknown label; None where all are known.
    """

    def __init__(
        self,
        group: NDArray[np.str_],
        positive: NDArray[np.bool_],
        seed: int,
        draws: int = DRAWS,
        known: Labels | None = None,
    ) -> None:
        known = np.ones(len(group), dtype=bool) if known is None else known
        names, self._member = np.unique(group, return_inverse=True)
        ctcs, others = (
            np.bincount(self._member, known & kind) > 0 for kind in (positive, ~positive)
        )
        classes = (others | ctcs,) if (others & ctcs).any() else (others, ctcs)
        parts = [np.flatnonzero(each) for each in classes]
        self.smallest_part = min(len(part) for part in parts)
        chance = np.random.default_rng(seed)
        self._counts = np.zeros((draws, len(names)))
        for part in (*parts, np.flatnonzero(~(others | ctcs))):
            if len(part):
                even = np.full(len(part), 1 / len(part))
                self._counts[:, part] = chance.multinomial(len(part), even, size=draws)

    def estimate(self, statistics: Statistics) -> dict[str, dict[str, Estimate]]:
        """Compute figures of the cells as they are, and their intervals.

        The intervals are NaN where a class has a single group, whose like nobody has seen.
        """
        whole = statistics(np.ones((1, len(self._member))))
        drawn = [statistics(weight) for weight in self._weights()]
        return {
            part: {
                name: Estimate(
                    float(value[0]),
                    *self._interval(np.concatenate([draw[part][name] for draw in drawn])),
                )
                for name, value in figures.items()
            }
            for part, figures in whole.items()
        }

    def _weights(self) -> Iterator[Floats]:
        rows = max(1, _WEIGHTS_AT_ONCE // len(self._member))
        for start in range(0, len(self._counts), rows):
            yield self._counts[start : start + rows, self._member]

    def _interval(self, values: Floats) -> tuple[float, float]:
        told = values[np.isfinite(values)]
        if self.smallest_part < 2 or not told.size:
            return float("nan"), float("nan")
        low, high = np.percentile(told, _PERCENTILES)
        return float(low), float(high)
