"""From the network's logit to a calibrated probability and a call."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ctcedge.model import Calibration, Decision

Call: TypeAlias = Literal["CTC", "leukocyte", "review"]

NEAR_THRESHOLD = "near-threshold"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of one cell.

    Attributes:
        call: `leukocyte` means 'not a CTC'; `review` asks a person to look.
        probability: of CTC, at the model's prior, 0 to 1.
        reasons: short codes that explain a review.
    """

    call: Call
    probability: float
    reasons: tuple[str, ...] = ()


def probability(logit: float, calibration: Calibration) -> float:
    """Calibrated probability of CTC, rounded to six decimals as in the sidecar."""
    score = calibration.slope * logit + calibration.intercept
    return round(0.5 * (1 + math.tanh(score / 2)), 6)


def decide(probability: float, decision: Decision) -> Verdict:
    """Turn a probability into a call."""
    low, high = decision.review
    if low <= probability < high:
        return Verdict("review", probability, (NEAR_THRESHOLD,))
    return Verdict("CTC" if probability >= decision.threshold else "leukocyte", probability)
