"""Thresholds for a purpose, chosen on some patients or samples and measured on others.

The validation groups are halved. Each half is called at the threshold that the other half chose,
and what is measured is that: a threshold is never judged by the cells that chose it. The threshold
that is stored is chosen on all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from ctcedge.model.spec import OperatingPoint, Rate

from ..data.dataset import Cells
from ..data.splits import assign_folds

SENSITIVITY = 0.95
"""Least, of `screening`."""

_MIN_SENSITIVITY_BOUND = 0.85
"""Where the measured sensitivity may well be lower, too few cells or samples tell of it."""

PER = 10_000
_STEP = 1e-6
"""Between two probabilities, which the runtime rounds to six decimals."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Aim:
    """What an operating point is for.

    Attributes:
        text: one line.
        choose: from the probabilities of CTCs and of others to a threshold; None where these
            cells are too few to choose one.
        kept: whether what was measured agrees with it.
    """

    text: str
    choose: Callable[[Floats, Floats], float | None]
    kept: Callable[[OperatingPoint], bool]


def operating_points(
    cells: Cells, probability: Floats, false_calls_per_10000: float, seed: int
) -> dict[str, OperatingPoint | None]:
    """Choose and measure every operating point.

    Args:
        cells: of the validation side.
        probability: (n,) of CTC.
        false_calls_per_10000: what the upper 95 % bound of false CTC calls may be at `confirm`.
        seed: of the halves.

    Returns:
        By name; None where these cells cannot support the aim.
    """
    aims = _aims(false_calls_per_10000)
    try:
        half = assign_folds(cells, 2, seed)
    except ValueError:  # too few patients or samples to choose on some and measure on others
        return dict.fromkeys(aims)
    return {name: _point(aim, cells, probability, half) for name, aim in aims.items()}


def _aims(false_calls_per_10000: float) -> dict[str, _Aim]:
    share = false_calls_per_10000 / PER
    return {
        "screening": _Aim(
            f"sensitivity of at least {SENSITIVITY:.0%}",
            lambda ctcs, others: _screening(ctcs),
            lambda point: (
                point.sensitivity.high >= SENSITIVITY
                and point.sensitivity.low >= _MIN_SENSITIVITY_BOUND
            ),
        ),
        "balanced": _Aim(
            "CTCs missed and others called falsely at the same rate", _balanced, lambda point: True
        ),
        "confirm": _Aim(
            f"at most {false_calls_per_10000:g} false CTC calls per 10,000 others, by their upper"
            " 95 % bound",
            lambda ctcs, others: _confirm(others, share),
            lambda point: point.false_positives_upper <= false_calls_per_10000,
        ),
    }


def _point(
    aim: _Aim, cells: Cells, probability: Floats, half: NDArray[np.intp]
) -> OperatingPoint | None:
    def chosen(rows: NDArray[np.bool_]) -> float | None:
        return aim.choose(probability[rows & cells.positive], probability[rows & ~cells.positive])

    called = np.zeros(len(cells), dtype=bool)
    for measured in (0, 1):
        threshold = chosen(half != measured)
        if threshold is None:
            return None
        called |= (half == measured) & (probability >= threshold)
    threshold = chosen(np.ones(len(cells), dtype=bool))
    assert threshold is not None  # all cells are more than one half of them
    ctcs, others = (
        _PositiveRate.of(called[of], cells.group[of]) for of in (cells.positive, ~cells.positive)
    )
    point = OperatingPoint(
        aim=aim.text,
        threshold=round(threshold, 6),
        sensitivity=ctcs.rate(1, 4),
        false_positives_per_10000=others.rate(PER, 1),
        false_positives_upper=round(PER * others.bound(0.95), 1),
        ctcs=ctcs.cells,
        negatives=others.cells,
        samples=len(np.unique(cells.group)),
    )
    return point if aim.kept(point) else None


def _screening(ctcs: Floats) -> float | None:
    """Choose the order statistic that one more CTC reaches with the chance `SENSITIVITY`."""
    missed = int((1 - SENSITIVITY) * (len(ctcs) + 1) + 1e-9)
    return float(np.sort(ctcs)[missed - 1]) if missed else None


def _balanced(ctcs: Floats, others: Floats) -> float:
    """Choose where the larger of both error rates is least."""
    candidates = np.unique(np.concatenate((ctcs, others)))
    missed = np.searchsorted(np.sort(ctcs), candidates) / len(ctcs)
    false = 1 - np.searchsorted(np.sort(others), candidates) / len(others)
    return float(candidates[np.argmin(np.maximum(missed, false))])


def _confirm(others: Floats, share: float) -> float | None:
    """Choose the least threshold whose false calls are bounded by a share."""
    allowed = np.array([upper_bound(calls, len(others)) <= share for calls in range(len(others))])
    if not allowed.any():
        return None
    highest_not_called = np.sort(others)[-1 - np.flatnonzero(allowed)[-1]]
    return float(highest_not_called) + _STEP if highest_not_called < 1 else None


def upper_bound(calls: float, cells: float, confidence: float = 0.95) -> float:
    """Return the exact one-sided upper bound of a rate (Clopper and Pearson, 1934)."""
    return float(beta.ppf(confidence, calls + 1, cells - calls)) if calls < cells else 1.0


@dataclass(frozen=True, slots=True)
class _PositiveRate:
    """Cells of one class that are called CTC.

    Bounds are exact binomial ones of the effective number of cells, which is smaller the more the
    groups differ beyond chance (Korn and Graubard, 1998).

    Attributes:
        cells: their number.
        share: of them that is called.
        effective: number of independent cells that would tell as much.
    """

    cells: int
    share: float
    effective: float

    @classmethod
    def of(cls, called: NDArray[np.bool_], group: NDArray[np.str_]) -> _PositiveRate:
        cells, share = len(called), float(called.mean())
        names, member = np.unique(group, return_inverse=True)
        binomial = share * (1 - share) / cells
        if binomial == 0 or len(names) < 2:
            return cls(cells, share, cells)
        surplus = np.bincount(member, called - share)
        between = len(names) / (len(names) - 1) * float(np.sum(surplus**2)) / cells**2
        return cls(cells, share, cells / max(1, between / binomial))

    def bound(self, confidence: float) -> float:
        """Return the one-sided upper bound of the true share."""
        return upper_bound(self.share * self.effective, self.effective, confidence)

    def rate(self, unit: int, digits: int) -> Rate:
        """Return the share in some unit with its two-sided 95 % interval."""
        low = 1 - _PositiveRate(self.cells, 1 - self.share, self.effective).bound(0.975)
        bounds = (low, self.share, self.bound(0.975))
        low, value, high = (round(unit * bound, digits) for bound in bounds)
        return Rate(value=value, low=low, high=high)
