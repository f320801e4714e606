"""Figures of merit. `positive` is (n,) bool, `score` and `probability` are (n,) floats.

Brier score, log loss and calibration error weight both classes to count the same, because the
probability is stated at a CTC share of one half.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from train.logistic import class_weights

Labels = NDArray[np.bool_]
Scores = NDArray[np.floating]


def roc_auc(positive: Labels, score: Scores) -> float:
    """Chance that a positive scores above a negative; ties count one half.

    NaN where only one class is there.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return float("nan")
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2
    above = rank[place][positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def average_precision(positive: Labels, score: Scores) -> float:
    """Mean precision over the steps of recall; NaN without a positive."""
    if not positive.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(positive[order])
    last_of_tie = np.append(np.diff(score[order]) != 0, True)
    hits, called = hits[last_of_tie], np.flatnonzero(last_of_tie) + 1
    return float(np.sum(np.diff(hits, prepend=0) * hits / called) / hits[-1])


def f1(positive: Labels, called: Labels) -> float:
    """Harmonic mean of precision and sensitivity; 0 where nothing is right."""
    right = int((positive & called).sum())
    return 2 * right / max(1, int(positive.sum()) + int(called.sum()))


def macro_f1(positive: Labels, called: Labels) -> float:
    """Mean of the F1 of both classes."""
    return (f1(positive, called) + f1(~positive, ~called)) / 2


def sensitivity_at(positive: Labels, score: Scores, false_call_rate: float) -> float:
    """Largest share of positives found while at most this share of negatives is called."""
    negatives = np.sort(score[~positive])[::-1]
    allowed = int(false_call_rate * len(negatives))
    if allowed >= len(negatives):
        return 1.0
    return float((score[positive] > negatives[allowed]).mean())


def brier(positive: Labels, probability: Scores) -> float:
    """Mean squared error of the probability."""
    return float(np.sum(class_weights(positive) * (probability - positive) ** 2))


def log_loss(positive: Labels, probability: Scores) -> float:
    """Mean negative log-likelihood, in nats."""
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    return float(-np.sum(class_weights(positive) * np.log(np.where(positive, p, 1 - p))))


def calibration_error(positive: Labels, probability: Scores, bins: int = 10) -> float:
    """Expected calibration error over bins of equal width."""
    weights = class_weights(positive)
    bin_of = np.minimum((probability * bins).astype(np.intp), bins - 1)
    return float(np.abs(np.bincount(bin_of, weights * (probability - positive))).sum())


def bootstrap_interval(
    statistic: Callable[[Labels, Scores], float],
    positive: Labels,
    score: Scores,
    sample: NDArray[np.str_],
    *,
    seed: int,
    draws: int = 1000,
) -> tuple[float, float]:
    """95 % percentile interval when whole samples are drawn anew.

    Cells of one sample share their optics, so that drawing cells would promise too much.
    """
    chance = np.random.default_rng(seed)
    rows = [np.flatnonzero(sample == name) for name in np.unique(sample)]
    values = []
    for _ in range(draws):
        drawn = np.concatenate([rows[i] for i in chance.integers(len(rows), size=len(rows))])
        values.append(statistic(positive[drawn], score[drawn]))
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)
