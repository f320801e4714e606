"""Figures of merit, of one set of cells or of many resamplings of it at once.

`positive` is (n,) bool, `called` (n,) bool, `score` and `probability` (n,) floats. `weight` is
(..., n), how often each cell counts: one row of ones for the cells as they are, one row a draw for
a bootstrap. Methods return (...,) float64, NaN where the weights leave a figure without meaning.

What judges a probability weights the classes by `prior`, the share of CTCs at which the model
states its probabilities, whatever their share among the cells at hand.
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
"""Of equal width, for the expected calibration error."""

_MIN_PROBABILITY = 1e-6
_ROUNDING = 1e-9
_NEWTON_STEPS = 30


def roc_auc(positive: Labels, score: Scores) -> float:
    """Chance that a positive scores above a negative; NaN where only one class is there."""
    return float(Curve.of(positive, score).auc())


def average_precision(positive: Labels, score: Scores) -> float:
    """Mean precision over the steps of recall; NaN without a positive."""
    return float(Curve.of(positive, score).average_precision())


def f1(positive: Labels, called: Labels) -> float:
    """Harmonic mean of precision and sensitivity; 0 where nothing is right."""
    return float(Calls.of(positive, called).f1())


def macro_f1(positive: Labels, called: Labels) -> float:
    """Mean of the F1 of both classes."""
    return float(Calls.of(positive, called).macro_f1())


@dataclass(frozen=True, slots=True)
class Curve:
    """What is found, and what is called falsely, as the threshold falls.

    Attributes:
        hits: (..., k) weight of the positives at or above each of k distinct scores.
        false: (..., k) weight of the negatives there.
    """

    true_positives: Floats
    false_positives: Floats

    @classmethod
    def of(cls, positive: Labels, score: Scores, weight: Floats | None = None) -> Curve:
        """Sort cells by falling score; equal scores are one step."""
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
        """Chance that a positive scores above a negative; ties count one half."""
        sensitivity, false_rate = self.rates()
        widths = np.diff(false_rate, axis=-1)
        heights = (sensitivity[..., 1:] + sensitivity[..., :-1]) / 2
        area: Floats = np.sum(widths * heights, axis=-1)
        return area

    def average_precision(self) -> Floats:
        """Mean precision over the steps of recall."""
        found = np.diff(self.true_positives, prepend=0, axis=-1)
        precision = _ratio(self.true_positives, self.true_positives + self.false_positives, empty=1)
        return _ratio(np.sum(found * precision, axis=-1), self.true_positives[..., -1])

    def sensitivity_at(self, false_call_rate: float) -> Floats:
        """Largest share of positives found while at most this share of negatives is called."""
        sensitivity, false_rate = self.rates()
        last = np.sum(false_rate <= false_call_rate + _ROUNDING, axis=-1, keepdims=True) - 1
        return np.take_along_axis(sensitivity, np.maximum(last, 0), axis=-1)[..., 0]

    def reviewed_fraction(self, sensitivity: float, prevalence: float) -> Floats:
        """Share of all cells above the threshold that finds this share of positives.

        Args:
            sensitivity: share of positives to find.
            prevalence: share of positives among the cells to which the curve is carried over.
        """
        found, false_rate = self.rates()
        first = np.sum(found < sensitivity - _ROUNDING, axis=-1, keepdims=True)
        at = np.minimum(first, found.shape[-1] - 1)
        found, false_rate = (
            np.take_along_axis(r, at, axis=-1)[..., 0] for r in (found, false_rate)
        )
        return prevalence * found + (1 - prevalence) * false_rate

    def rates(self) -> tuple[Floats, Floats]:
        """Return sensitivity and false-call rate, (..., k + 1), both starting at 0."""
        start = ((0, 0),) * (self.true_positives.ndim - 1) + ((1, 0),)
        return tuple(  # type: ignore[return-value]
            np.pad(_ratio(side, side[..., -1:]), start)
            for side in (self.true_positives, self.false_positives)
        )


@dataclass(frozen=True, slots=True)
class Calls:
    """The four kinds of calls, each (...,) a weight."""

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
        """Harmonic mean of precision and sensitivity; 0 where nothing is right."""
        return self._f1(self.true_positive)

    def macro_f1(self) -> Floats:
        """Mean of the F1 of both classes."""
        return (self._f1(self.true_positive) + self._f1(self.true_negative)) / 2

    def sensitivity(self) -> Floats:
        """Share of the positives that is called."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    def false_positive_rate(self) -> Floats:
        """Share of the negatives that is called."""
        return _ratio(self.false_positive, self.false_positive + self.true_negative)

    def false_positive_rate_bound(self) -> Floats:
        """Upper 95 % bound of the false-call rate (Clopper and Pearson, 1934), one-sided.

        It takes cells as independent: 0 of 1,667 still allows 18 in 10,000.
        """
        bound: Floats = betaincinv(self.false_positive + 1, self.true_negative, 0.95)
        return np.where(self.true_negative > 0, bound, 1.0)

    def _f1(self, right: Floats) -> Floats:
        return _ratio(2 * right, 2 * right + self.false_positive + self.false_negative, empty=0)


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
        Slope, 1 where the probabilities are as wide apart as they should be, less where they are
        overconfident; and intercept, 0 where they are neither too high nor too low. NaN where
        the classes do not overlap, and no finite slope fits best.
    """
    score = log_odds(probability)
    share = class_weighted(positive, weight, prior)
    line = np.stack((np.ones(weight.shape[:-1]), np.zeros(weight.shape[:-1])), axis=-1)
    design = np.column_stack((score, np.ones_like(score)))
    products = np.einsum("ni,nj->nij", design, design).reshape(len(score), 4)
    for _ in range(_NEWTON_STEPS):
        expected = expit(line @ design.T)
        gradient = (share * (positive - expected)) @ design
        curvature = ((share * expected * (1 - expected)) @ products).reshape(*line.shape, 2)
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
    """Move probabilities from one share of positives to another (Bayes' rule)."""
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
