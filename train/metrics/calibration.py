"""From logits to probabilities and calls, fitted on cells held out from training."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from ctcedge.model.spec import Calibration, DecisionThresholds

PRIOR = 0.5
"""Share of CTCs at which probabilities are stated: both classes count the same."""

THRESHOLD = 0.5
_INVERSE_RIDGE = 1e6
"""Keeps separable classes from sending the slope to infinity."""

MIN_CELLS = 10
"""Of each class, below which a line through them is mere chance."""


def too_few_problem(positive: NDArray[np.bool_]) -> str:
    """Say that held-out cells, (n,), do not suffice to calibrate; empty where they do."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if min(positives, negatives) >= MIN_CELLS:
        return ""
    return (
        f"the validation side holds {positives:,} CTCs and {negatives:,} others, and"
        f" {MIN_CELLS} of each are needed to calibrate; label more patients or samples, or"
        " name a manifest of them to fit with --validation"
    )


def calibrate(logits: NDArray[np.float32], positive: NDArray[np.bool_]) -> Calibration:
    """Fit slope and intercept at the prior one half (Platt, 1999).

    As Platt has it, the line is fitted to probabilities a little inside 0 and 1, the less so the
    more cells there are: few cells that happen to lie apart do not promise certainty.

    Args:
        logits: (n,) of validation cells.
        positive: (n,).

    Raises:
        ValueError: too few cells, or the network ranks the classes the wrong way round.
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
            "the network does not rank held-out CTCs above the others; train longer or on more data"
        )
    return Calibration(slope=round(float(slope), 6), intercept=round(float(intercept), 6))


def choose_decision(probability: NDArray[np.float64], review_share: float) -> DecisionThresholds:
    """Set the review band: about the threshold, as `review_rule` says.

    Args:
        probability: (n,) of validation cells.
        review_share: share of them that the band holds, 0 for none.
    """
    nearness = np.quantile(np.abs(probability - THRESHOLD), review_share) if review_share else 0.0
    half_width = math.ceil(float(nearness) * 100) / 100
    low, high = (round(THRESHOLD + sign * half_width, 2) for sign in (-1, 1))
    return DecisionThresholds(threshold=THRESHOLD, review=(max(0.0, low), min(1.0, high)))


def review_rule(review_share: float) -> str:
    """Say how the review band is set."""
    return (
        f"the band about the threshold that holds the {review_share:.0%} of the validation cells\n"
        "whose probability is nearest to it, its half width rounded up to 0.01"
    )
