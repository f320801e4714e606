"""From logits to probabilities and calls, fitted on hospitals held out from training."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ctcedge.model import Calibration, Decision
from train.logistic import fit_logistic

PRIOR = 0.5
"""Share of CTCs at which probabilities are stated: both classes count the same."""

THRESHOLD = 0.5
REVIEW_SHARE = 0.1

REVIEW_RULE = (
    f"the band about the threshold {THRESHOLD:g} that holds the {REVIEW_SHARE:.0%} of the"
    " validation cells whose probability is nearest to it, its half width rounded up to 0.01"
)


def calibrate(logits: NDArray[np.float32], positive: NDArray[np.bool_]) -> Calibration:
    """Fit slope and intercept (Platt) at the prior one half.

    Raises:
        ValueError: one class only, or the network ranks the classes the wrong way round.
    """
    slope, intercept = fit_logistic(logits[:, None], positive)
    if slope <= 0:
        raise ValueError(
            "the network does not rank held-out CTCs above the others; train longer or on more data"
        )
    return Calibration(slope=round(float(slope), 6), intercept=round(float(intercept), 6))


def choose_decision(probability: NDArray[np.float64]) -> Decision:
    """Set the review band by `REVIEW_RULE` from validation probabilities, (n,)."""
    nearness = np.quantile(np.abs(probability - THRESHOLD), REVIEW_SHARE)
    half_width = math.ceil(float(nearness) * 100) / 100
    low, high = (round(THRESHOLD + sign * half_width, 2) for sign in (-1, 1))
    return Decision(threshold=THRESHOLD, review=(max(0.0, low), min(1.0, high)))
