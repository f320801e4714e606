"""Metrics of one set of cells, or of many resamplings of it at once.

`positive` is (n,) bool, `called` (n,) bool, `score` and `probability` (n,) floats. `weight` is
(..., n), the weight of each cell: one row of ones for the cells themselves, one row per draw for a
bootstrap. Methods return (...,) float64, NaN where a figure is undefined.

Metrics of probabilities weight the classes by `prior`, the fraction of CTCs for which the model
states its probabilities, not by their fraction among these cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, expit

Labels = NDArray[np.bool_]
Scores = NDArray[np.floating]
Floats = NDArray[np.float64]

BINS = 10
"""Number of bins of equal width for the expected calibration error."""

_MIN_PROBABILITY = 1e-6
_ROUNDING = 1e-9
_NEWTON_STEPS = 30


def roc_auc(positive: Labels, score: Scores) -> float:
    """Probability that a positive scores above a negative; NaN where there is one class only."""
    return float(Curve.of(positive, score).auc())


def average_precision(positive: Labels, score: Scores) -> float:
    """Mean precision over the steps of recall; NaN without a positive."""
    return float(Curve.of(positive, score).average_precision())


def f1(positive: Labels, called: Labels) -> float:
    """Harmonic mean of precision and sensitivity; 0 without a correct call."""
    return float(Calls.of(positive, called).f1())


def macro_f1(positive: Labels, called: Labels) -> float:
    """Mean of the F1 of both classes."""
    return float(Calls.of(positive, called).macro_f1())


@dataclass(frozen=True, slots=True)
class Curve:
    """True and false positives as a function of the falling threshold.

    Attributes:
        hits: (..., k) weight of the positives at or above each of k distinct scores.
        false: (..., k) weight of the negatives there.
    """

    true_positives: Floats
    false_positives: Floats

    @classmethod
    def of(cls, positive: Labels, score: Scores, weight: Floats | None = None) -> Curve:
        """Sort cells by descending score; equal scores are one step."""
        if weight is None:
            weight = np.ones(len(positive))
        order = np.argsort(-score, kind="stable")
        step = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
        weight, positive = weight[..., order], positive[order]
        return cls(
            np.cumsum(weight * positive, axis=-1)[..., step],
            np.cumsum(weight * ~positive, axis=-1)[..., step],
        )

    def auc(self) -> Floats:
        """Probability that a positive scores above a negative; ties count one half."""
        sensitivity, false_rate = self.rates()
        widths = np.diff(false_rate, axis=-1)
        heights = (sensitivity[..., 1:] + sensitivity[..., :-1]) / 2
        area: Floats = np.sum(widths * heights, axis=-1)
        return area

    def average_precision(self) -> Floats:
        """Mean precision over the steps of recall."""
        steps = np.diff(self.true_positives, prepend=0, axis=-1)
        precision = _ratio(self.true_positives, self.true_positives + self.false_positives, empty=1)
        return _ratio(np.sum(steps * precision, axis=-1), self.true_positives[..., -1])

    def sensitivity_at(self, max_rate: float) -> Floats:
        """Largest sensitivity with at most this false-positive rate."""
        sensitivity, false_rate = self.rates()
        last = np.sum(false_rate <= max_rate + _ROUNDING, axis=-1, keepdims=True) - 1
        return np.take_along_axis(sensitivity, np.maximum(last, 0), axis=-1)[..., 0]

    def reviewed_fraction(self, sensitivity: float, prevalence: float) -> Floats:
        """Fraction of all cells at or above the threshold with this sensitivity.

        Args:
            sensitivity: fraction of positives to find.
            prevalence: fraction of positives among the cells that the curve is applied to.
        """
        true_rate, false_rate = self.rates()
        first = np.sum(true_rate < sensitivity - _ROUNDING, axis=-1, keepdims=True)
        at = np.minimum(first, true_rate.shape[-1] - 1)
        true_rate, false_rate = (
            np.take_along_axis(r, at, axis=-1)[..., 0] for r in (true_rate, false_rate)
        )
        return prevalence * true_rate + (1 - prevalence) * false_rate

    def rates(self) -> tuple[Floats, Floats]:
        """Return sensitivity and false-positive rate, (..., k + 1), both starting at 0."""
        start = ((0, 0),) * (self.true_positives.ndim - 1) + ((1, 0),)
        return tuple(  # type: ignore[return-value]
            np.pad(_ratio(side, side[..., -1:]), start)
            for side in (self.true_positives, self.false_positives)
        )


@dataclass(frozen=True, slots=True)
class Calls:
    """Confusion matrix of calls, each element a weight, (...,)."""

    true_positive: Floats
    false_positive: Floats
    false_negative: Floats
    true_negative: Floats

    @classmethod
    def of(cls, positive: Labels, called: Labels, weight: Floats | None = None) -> Calls:
        """Count calls."""
        if weight is None:
            weight = np.ones(len(positive))
        kinds = (positive & called, ~positive & called, positive & ~called, ~positive & ~called)
        return cls(*(weight @ kind.astype(np.float64) for kind in kinds))

    def f1(self) -> Floats:
        """Harmonic mean of precision and sensitivity; 0 without a correct call."""
        return self._f1(self.true_positive)

    def macro_f1(self) -> Floats:
        """Mean of the F1 of both classes."""
        return (self._f1(self.true_positive) + self._f1(self.true_negative)) / 2

    def sensitivity(self) -> Floats:
        """Fraction of the positives that is called CTC."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    def false_positive_rate(self) -> Floats:
        """Fraction of the negatives that is called CTC."""
        return _ratio(self.false_positive, self.false_positive + self.true_negative)

    def false_positive_rate_bound(self) -> Floats:
        """Upper 95 % bound of the false-positive rate (Clopper and Pearson, 1934), one-sided.

        Cells are assumed independent: 0 of 1,667 still allows 18 in 10,000.
        """
        bound: Floats = betaincinv(self.false_positive + 1, self.true_negative, 0.95)
        return np.where(self.true_negative > 0, bound, 1.0)

    def _f1(self, correct: Floats) -> Floats:
        return _ratio(2 * correct, 2 * correct + self.false_positive + self.false_negative, empty=0)


def brier(positive: Labels, probability: Scores, weight: Floats, prior: float) -> Floats:
    """Mean squared error of the probability."""
    loss: Floats = np.square(probability.astype(np.float64) - positive)
    return _mean(positive, loss, weight, prior)


def log_loss(positive: Labels, probability: Scores, weight: Floats, prior: float) -> Floats:
    """Mean negative log-likelihood, in nats."""
    p = _inside(probability)
    loss: Floats = -np.log(np.where(positive, p, 1 - p))
    return _mean(positive, loss, weight, prior)


def calibration_error(
    positive: Labels, probability: Scores, weight: Floats, prior: float
) -> Floats:
    """Expected calibration error over `BINS` bins of equal width."""
    members = np.eye(BINS)[bins(probability)]
    gaps = members * (probability - positive)[:, None]
    error: Floats = np.abs(_mean(positive, gaps, weight, prior)).sum(axis=-1)
    return error


def bins(probability: Scores) -> NDArray[np.intp]:
    """Return (n,), the bin of each probability."""
    return np.minimum((probability * BINS).astype(np.intp), BINS - 1)


def calibration_line(
    positive: Labels, probability: Scores, weight: Floats, prior: float
) -> tuple[Floats, Floats]:
    """Regress the label on the logit of the probability (Cox, 1958).

    Returns:
        Slope, 1 for well calibrated probabilities, less for overconfident ones; and intercept, 0
        where they are neither too high nor too low. NaN where the classes do not overlap, so that
        there is no finite slope.
    """
    score = log_odds(probability)
    normalised = class_weighted(positive, weight, prior)
    line = np.stack((np.ones(weight.shape[:-1]), np.zeros(weight.shape[:-1])), axis=-1)
    design = np.column_stack((score, np.ones_like(score)))
    products = np.einsum("ni,nj->nij", design, design).reshape(len(score), 4)
    for _ in range(_NEWTON_STEPS):
        expected = expit(line @ design.T)
        gradient = (normalised * (positive - expected)) @ design
        curvature = ((normalised * expected * (1 - expected)) @ products).reshape(*line.shape, 2)
        change = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient[..., None])[..., 0]
        line += np.clip(change, -1, 1)
        if np.abs(change).max() < 1e-8:
            break
    auc = Curve.of(positive, score, weight).auc()
    line[~((auc > 0) & (auc < 1))] = np.nan
    return line[..., 0], line[..., 1]


def log_odds(probability: Scores) -> Floats:
    """Return log(p / (1 - p)), (n,), finite for 0 and 1 too."""
    p = _inside(probability)
    odds: Floats = np.log(p / (1 - p))
    return odds


def restate(probability: Scores, prior: float, prevalence: float) -> Floats:
    """Convert probabilities from one fraction of positives to another (Bayes' rule)."""
    shift = log_odds(np.array(prevalence)) - log_odds(np.array(prior))
    restated: Floats = expit(log_odds(probability) + shift)
    return restated


def _inside(probability: Scores) -> Floats:
    return np.clip(probability.astype(np.float64), _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)


def class_weighted(positive: Labels, weight: Floats, prior: float) -> Floats:
    """Scale weights, (..., n), so that the positives sum to `prior` and all sum to 1."""
    positives = (weight @ positive.astype(np.float64))[..., None]
    negatives = (weight @ (~positive).astype(np.float64))[..., None]
    return weight * np.where(positive, _ratio(prior, positives), _ratio(1 - prior, negatives))


def _mean(positive: Labels, loss: Floats, weight: Floats, prior: float) -> Floats:
    """Mean of a loss, (n,) or (n, k), with the classes at `prior`."""
    return class_weighted(positive, weight, prior) @ loss


def _ratio(part: Floats | float, whole: Floats, empty: float = np.nan) -> Floats:
    """Divide, with `empty` where the whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), whole)
    ratio: Floats = np.divide(part, whole, out=np.full(whole.shape, float(empty)), where=whole != 0)
    return ratio
