"""95 % intervals by resampling whole patients or samples (percentile bootstrap).

Cells of one sample have optics and patient in common, so that resampling cells would give intervals
that are too narrow. Where every group is of one class, the groups of each class are resampled
separately, so that the fraction of CTCs stays the same. Groups without a label are resampled
separately and do not affect the other draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..metrics.roc import Floats, Labels

DRAWS = 1000

_PERCENTILES = (2.5, 97.5)
_MAX_WEIGHTS = 1_000_000

Statistics = Callable[[Floats], Mapping[str, Mapping[str, Floats]]]
"""From weights, (m, n), to figures, (m,) each, by part and by name."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; NaN where not estimable."""

    value: float
    low: float
    high: float


class Resampling:
    """Draws of the same groups of cells.

    Args:
        group: (n,) text, the unit of resampling.
        positive: (n,) bool.
        seed: of the draws.
        draws: number of draws.
        known: (n,) false for cells without a label; None where all have one.
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
        ctcs, negatives = (
            np.bincount(self._member, known & kind) > 0 for kind in (positive, ~positive)
        )
        classes = (negatives | ctcs,) if (negatives & ctcs).any() else (negatives, ctcs)
        parts = [np.flatnonzero(members) for members in classes]
        self.smallest_part = min(len(part) for part in parts)
        chance = np.random.default_rng(seed)
        self._counts = np.zeros((draws, len(names)))
        for part in (*parts, np.flatnonzero(~(negatives | ctcs))):
            if len(part):
                even = np.full(len(part), 1 / len(part))
                self._counts[:, part] = chance.multinomial(len(part), even, size=draws)

    def estimate(self, statistics: Statistics) -> dict[str, dict[str, Estimate]]:
        """Compute figures of the cells, and their intervals.

        The intervals are NaN where a class has a single group.
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
        rows = max(1, _MAX_WEIGHTS // len(self._member))
        for start in range(0, len(self._counts), rows):
            yield self._counts[start : start + rows, self._member]

    def _interval(self, values: Floats) -> tuple[float, float]:
        finite = values[np.isfinite(values)]
        if self.smallest_part < 2 or not finite.size:
            return float("nan"), float("nan")
        low, high = np.percentile(finite, _PERCENTILES)
        return float(low), float(high)
