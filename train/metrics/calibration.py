"""Calibrate logits to probabilities and calls, on cells held out from training."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from ctcedge.model.spec import Calibration, DecisionThresholds

PRIOR = 0.5
"""Fraction of CTCs for which probabilities are stated: both classes have equal weight."""

THRESHOLD = 0.5
_INVERSE_RIDGE = 1e6
"""Keeps separable classes from sending the slope to infinity."""

MIN_CELLS = 10
"""Minimum number of cells of each class for a calibration."""


def too_few_problem(positive: NDArray[np.bool_]) -> str:
    """Return why held-out cells, (n,), are too few for a calibration; empty where they suffice."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if min(positives, negatives) >= MIN_CELLS:
        return ""
    return (
        f"the validation split has {positives:,} CTCs and {negatives:,} negatives, and"
        f" {MIN_CELLS} of each are needed for calibration; label more patients or samples, or"
        " give a manifest of them with --validation"
    )


def calibrate(logits: NDArray[np.float32], positive: NDArray[np.bool_]) -> Calibration:
    """Fit slope and intercept at the prior one half (Platt, 1999).

    As in Platt's method, the targets are slightly inside 0 and 1, closer to them with more cells,
    so that a few cells that happen to be separable do not give certainty.

    Args:
        logits: (n,) of validation cells.
        positive: (n,).

    Raises:
        ValueError: too few cells, or the network ranks CTCs below negatives.
    """
    if few := too_few_problem(positive):
        raise ValueError(few)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    target = np.where(positive, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # Each cell counts as a CTC by its target, and as a negative by the rest of its weight.
    weight = np.where(positive, 0.5 / positives, 0.5 / negatives)
    regression = LogisticRegression(C=_INVERSE_RIDGE, solver="newton-cholesky", tol=1e-8).fit(
        np.concatenate((logits, logits))[:, None].astype(np.float64),
        np.repeat((True, False), len(logits)),
        sample_weight=np.concatenate((weight * target, weight * (1 - target))),
    )
    slope, intercept = regression.coef_[0, 0], regression.intercept_[0]
    if slope <= 0:
        raise ValueError(
            "the network does not rank held-out CTCs above negatives; train longer or on more data"
        )
    return Calibration(slope=round(float(slope), 6), intercept=round(float(intercept), 6))


def choose_decision(probability: NDArray[np.float64], review_fraction: float) -> DecisionThresholds:
    """Set the review band around the threshold; see `review_rule`.

    Args:
        probability: (n,) of validation cells.
        review_fraction: fraction of them in the band, 0 for no band.
    """
    distance = (
        np.quantile(np.abs(probability - THRESHOLD), review_fraction) if review_fraction else 0.0
    )
    half_width = math.ceil(float(distance) * 100) / 100
    low, high = (round(THRESHOLD + sign * half_width, 2) for sign in (-1, 1))
    return DecisionThresholds(threshold=THRESHOLD, review=(max(0.0, low), min(1.0, high)))


def review_rule(review_fraction: float) -> str:
    """Return how the review band is set, as text."""
    return (
        f"the band around the threshold that contains the {review_fraction:.0%} of the validation"
        " cells\nwith the nearest probabilities, its half width rounded up to 0.01"
    )
