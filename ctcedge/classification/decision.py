"""From the network's logit to a calibrated probability and a call.

A call is made on the probability at the model's own prior, for that is where its thresholds were
measured. A prevalence moves the probability that is told, and with it the threshold and the review
band, and so changes no call: it tells how sure one may be where CTCs are that rare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ctcedge.errors import SettingsError
from ctcedge.model.spec import OPERATING_POINTS, Calibration, DecisionThresholds, ModelSpec
from ctcedge.settings import DecisionSettings, OperatingPointName

Call: TypeAlias = Literal["CTC", "leukocyte", "review"]

NEAR_THRESHOLD = "near-threshold"

_NEXT_TO_CERTAIN = 5e-7  # half a step of a probability of six decimals


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of one cell.

    Attributes:
        call: `leukocyte` means 'not a CTC'; `review` asks a person to look.
        probability: of CTC, at the prior in force, 0 to 1.
        reasons: short codes that explain a review.
        cluster: whether the crop shows touching cells, which is no reason for review.
    """

    call: Call
    probability: float
    reasons: tuple[str, ...] = ()
    cluster: bool = False


def rounded_score(logit: float) -> float:
    """The logit as sidecars keep it; everything that is decided follows from this number."""
    return round(logit, 6)


def probability(logit: float, calibration: Calibration) -> float:
    """Calibrated probability of CTC at the model's prior, with six decimals."""
    return round(_sigmoid(_calibrated(logit, calibration)), 6)


def decide(probability: float, decision: DecisionThresholds) -> Verdict:
    """Turn a probability at the model's prior into a call."""
    low, high = decision.review
    if low <= probability < high:
        return Verdict("review", probability, (NEAR_THRESHOLD,))
    return Verdict("CTC" if probability >= decision.threshold else "leukocyte", probability)


def rebased(probability: float, prior: float, prevalence: float) -> float:
    """A probability that assumes one prior, as it is at another, with six significant digits.

    0.9 at one to one is 0.0018 at one in 5,000 (Saerens, Latinne and Decaestecker, 2002).
    """
    if probability in (0, 1):
        return probability
    return _digits(_sigmoid(_log_odds(probability) + _log_odds(prevalence) - _log_odds(prior)))


@dataclass(frozen=True, slots=True)
class Policy:
    """How a model's scores become calls and probabilities in this run.

    Attributes:
        calibration: of the model.
        own_prior: share of CTCs at which the model is calibrated, and at which calls are made.
        prior: share of CTCs that the probabilities told assume.
        decision: at the model's prior.
        operating_point: its name; None for the model's own decision.
    """

    calibration: Calibration
    own_prior: float
    prior: float
    decision: DecisionThresholds
    operating_point: OperatingPointName | None

    @classmethod
    def of(cls, spec: ModelSpec, settings: DecisionSettings) -> Policy:
        """What the settings make of a model.

        Raises:
            SettingsError: the model has no such operating point; the text says what it has.
        """
        name = settings.operating_point
        decision = spec.decision if name is None else _decision_at(spec, name)
        return cls(spec.calibration, spec.prior, settings.prevalence or spec.prior, decision, name)

    @property
    def threshold(self) -> float:
        """Least probability of the call CTC, at the prior in force."""
        return self._told(self.decision.threshold)

    @property
    def review(self) -> tuple[float, float]:
        """[low, high) that is called review, at the prior in force."""
        low, high = self.decision.review
        return self._told(low), self._told(high)

    def verdict(self, score: float, doubts: tuple[str, ...] = ()) -> Verdict:
        """Decide on one cell.

        Args:
            score: from `rounded_score`.
            doubts: reasons not to trust the image or the network with it: what they say is called
                review, whatever the score.
        """
        own = probability(score, self.calibration)
        plain = decide(own, self.decision)
        reasons = (*doubts, *plain.reasons)
        told = own if self.prior == self.own_prior else self._rebased(score)
        return Verdict("review" if reasons else plain.call, told, reasons)

    def _rebased(self, score: float) -> float:
        # From the score: six decimals would say of the surest cells that they are certain.
        shift = _log_odds(self.prior) - _log_odds(self.own_prior)
        return _digits(_sigmoid(_calibrated(score, self.calibration) + shift))

    def _told(self, value: float) -> float:
        return value if self.prior == self.own_prior else rebased(value, self.own_prior, self.prior)


def _decision_at(spec: ModelSpec, name: str) -> DecisionThresholds:
    """Call CTC at the point's threshold, as it was measured, and review what lies below it.

    The band is as wide in log-odds as that of the model's own decision.
    """
    point = spec.operating_points.get(name)
    if point is None:
        has = [known for known in OPERATING_POINTS if spec.operating_points.get(known)]
        why = (
            "the cells that it was validated on could not support it"
            if name in spec.operating_points
            else "nobody measured any"
            if not has
            else "it is unknown"
        )
        known = f"it has {', '.join(has)}" if has else "it has none: decide without one"
        raise SettingsError(f"model {spec.name} has no operating point '{name}' ({why}); {known}")
    low, high = (_log_odds(_inside(edge)) for edge in spec.decision.review)
    below = _sigmoid(_log_odds(_inside(point.threshold)) - (high - low))
    return DecisionThresholds(
        point.threshold, (min(round(below, 6), point.threshold), point.threshold)
    )


def _calibrated(logit: float, calibration: Calibration) -> float:
    return calibration.slope * rounded_score(logit) + calibration.intercept


def _sigmoid(value: float) -> float:
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    small = math.exp(value)
    return small / (1 + small)


def _log_odds(share: float) -> float:
    return math.log(share) - math.log1p(-share)


def _inside(share: float) -> float:
    return min(max(share, _NEXT_TO_CERTAIN), 1 - _NEXT_TO_CERTAIN)


def _digits(share: float) -> float:
    return float(f"{share:.6g}")
