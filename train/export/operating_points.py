"""Operating points: thresholds chosen on some patients or samples and measured on others.

The validation groups are split in halves. Each half is called at the threshold chosen on the other,
and these calls are measured: no threshold is measured on the cells that it was chosen on. The
stored threshold is chosen on all of them.
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
"""Minimum sensitivity of `screening`."""

_MIN_SENSITIVITY_BOUND = 0.85
"""Minimum lower bound of the measured sensitivity; below it, there are too few cells or samples."""

PER = 10_000
_STEP = 1e-6
"""Smallest difference of probabilities, which the runtime rounds to six decimals."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Aim:
    """The aim of an operating point.

    Attributes:
        text: one line.
        choose: from the probabilities of CTCs and of negatives to a threshold; None where there
            are too few cells.
        is_met: whether the measured rates meet the aim.
    """

    text: str
    choose: Callable[[Floats, Floats], float | None]
    is_met: Callable[[OperatingPoint], bool]


def operating_points(
    cells: Cells, probability: Floats, false_positives_per_10000: float, seed: int
) -> dict[str, OperatingPoint | None]:
    """Choose and measure every operating point.

    Args:
        cells: of the validation split.
        probability: (n,) of CTC.
        false_positives_per_10000: limit of the upper 95 % bound of false positives at `confirm`.
        seed: of the halves.

    Returns:
        By name; None where these cells are too few for the aim.
    """
    aims = _aims(false_positives_per_10000)
    try:
        half = assign_folds(cells, 2, seed)
    except ValueError:  # too few patients or samples to choose on some and measure on others
        return dict.fromkeys(aims)
    return {name: _point(aim, cells, probability, half) for name, aim in aims.items()}


def _aims(false_positives_per_10000: float) -> dict[str, _Aim]:
    limit = false_positives_per_10000 / PER
    return {
        "screening": _Aim(
            f"sensitivity of at least {SENSITIVITY:.0%}",
            lambda ctcs, negatives: _screening(ctcs),
            lambda point: (
                point.sensitivity.high >= SENSITIVITY
                and point.sensitivity.low >= _MIN_SENSITIVITY_BOUND
            ),
        ),
        "balanced": _Aim(
            "equal rates of missed CTCs and false positives", _balanced, lambda point: True
        ),
        "confirm": _Aim(
            f"at most {false_positives_per_10000:g} false positives per 10,000 negatives, by their"
            " upper 95 % bound",
            lambda ctcs, negatives: _confirm(negatives, limit),
            lambda point: point.false_positives_upper <= false_positives_per_10000,
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
    ctcs, negatives = (
        _PositiveRate.of(called[of], cells.group[of]) for of in (cells.positive, ~cells.positive)
    )
    point = OperatingPoint(
        aim=aim.text,
        threshold=round(threshold, 6),
        sensitivity=ctcs.rate(1, 4),
        false_positives_per_10000=negatives.rate(PER, 1),
        false_positives_upper=round(PER * negatives.bound(0.95), 1),
        ctcs=ctcs.cells,
        negatives=negatives.cells,
        samples=len(np.unique(cells.group)),
    )
    return point if aim.is_met(point) else None


def _screening(ctcs: Floats) -> float | None:
    """Choose the order statistic that another CTC reaches with probability `SENSITIVITY`."""
    missed = int((1 - SENSITIVITY) * (len(ctcs) + 1) + 1e-9)
    return float(np.sort(ctcs)[missed - 1]) if missed else None


def _balanced(ctcs: Floats, negatives: Floats) -> float:
    """Choose the threshold with the smallest larger error rate of both classes."""
    candidates = np.unique(np.concatenate((ctcs, negatives)))
    missed = np.searchsorted(np.sort(ctcs), candidates) / len(ctcs)
    false = 1 - np.searchsorted(np.sort(negatives), candidates) / len(negatives)
    return float(candidates[np.argmin(np.maximum(missed, false))])


def _confirm(negatives: Floats, limit: float) -> float | None:
    """Choose the lowest threshold whose false-positive rate has at most this upper bound."""
    count = len(negatives)
    allowed = np.array([upper_bound(calls, count) <= limit for calls in range(count)])
    if not allowed.any():
        return None
    highest_not_called = np.sort(negatives)[-1 - np.flatnonzero(allowed)[-1]]
    return float(highest_not_called) + _STEP if highest_not_called < 1 else None


def upper_bound(calls: float, cells: float, confidence: float = 0.95) -> float:
    """Return the exact one-sided upper bound of a rate (Clopper and Pearson, 1934)."""
    return float(beta.ppf(confidence, calls + 1, cells - calls)) if calls < cells else 1.0


@dataclass(frozen=True, slots=True)
class _PositiveRate:
    """Rate at which cells of one class are called CTC.

    Bounds are exact binomial bounds for the effective number of cells, which decreases as the
    groups differ beyond chance (Korn and Graubard, 1998).

    Attributes:
        cells: number of cells.
        value: fraction of them that is called.
        effective: number of independent cells with the same information.
    """

    cells: int
    value: float
    effective: float

    @classmethod
    def of(cls, called: NDArray[np.bool_], group: NDArray[np.str_]) -> _PositiveRate:
        cells, value = len(called), float(called.mean())
        names, member = np.unique(group, return_inverse=True)
        binomial = value * (1 - value) / cells
        if binomial == 0 or len(names) < 2:
            return cls(cells, value, cells)
        surplus = np.bincount(member, called - value)
        between = len(names) / (len(names) - 1) * float(np.sum(surplus**2)) / cells**2
        return cls(cells, value, cells / max(1, between / binomial))

    def bound(self, confidence: float) -> float:
        """Return the one-sided upper bound of the true rate."""
        return upper_bound(self.value * self.effective, self.effective, confidence)

    def rate(self, unit: int, digits: int) -> Rate:
        """Return the rate in a unit with its two-sided 95 % interval."""
        low = 1 - _PositiveRate(self.cells, 1 - self.value, self.effective).bound(0.975)
        bounds = (low, self.value, self.bound(0.975))
        low, value, high = (round(unit * bound, digits) for bound in bounds)
        return Rate(value=value, low=low, high=high)
