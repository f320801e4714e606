"""From the network's logit to a calibrated probability and a call.

A call is made on the probability at the model's training prior, where its thresholds were measured.
A prevalence moves the reported probability, and with it the threshold and the review band, so that
it changes no call: it shows how sure a call is where CTCs are that rare (prior shift).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ctcedge.classification.analysis import CellAnalysis
from ctcedge.errors import SettingsError
from ctcedge.model.spec import OPERATING_POINTS, Calibration, DecisionThresholds, ModelSpec
from ctcedge.settings import DecisionSettings, OperatingPointName

Call: TypeAlias = Literal["CTC", "leukocyte", "review"]

NEAR_THRESHOLD = "near-threshold"

_NEXT_TO_CERTAIN = 5e-7  # half a step of a probability of six decimals


@dataclass(frozen=True, slots=True)
class Prediction:
    """Call and probability of one cell.

    Attributes:
        call: `leukocyte` means 'not a CTC'; `review` asks a person to look.
        probability: probability of CTC at the prior in force, 0 to 1.
        reasons: codes that explain a review.
        cluster: whether the crop shows touching cells, which is no reason for review.
    """

    call: Call
    probability: float
    reasons: tuple[str, ...] = ()
    cluster: bool = False


def rounded_score(logit: float) -> float:
    """The logit as sidecars keep it; probability and call follow from this number."""
    return round(logit, 6)


def probability(logit: float, calibration: Calibration) -> float:
    """Calibrated probability of CTC at the model's training prior, with six decimals."""
    return _training_probability(rounded_score(logit), calibration)


def decide(probability: float, thresholds: DecisionThresholds) -> Prediction:
    """Turn a probability at the model's training prior into a call."""
    low, high = thresholds.review
    if low <= probability < high:
        return Prediction("review", probability, (NEAR_THRESHOLD,))
    return Prediction("CTC" if probability >= thresholds.threshold else "leukocyte", probability)


def adjust_for_prevalence(probability: float, prior: float, prevalence: float) -> float:
    """Convert a probability from one prior to another, with six significant digits.

    0.9 at one to one is 0.0018 at one in 5,000 (Saerens, Latinne and Decaestecker, 2002).
    """
    if probability in (0, 1):
        return probability
    return _significant(_sigmoid(_log_odds(probability) + _log_odds(prevalence) - _log_odds(prior)))


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """How a model's scores become calls and probabilities in this run.

    Attributes:
        calibration: calibration of the model.
        training_prior: fraction of CTCs at which the model is calibrated and calls are made.
        prior: fraction of CTCs that reported probabilities assume.
        thresholds: thresholds at the training prior.
        operating_point: name of the operating point; None for the model's own thresholds.
    """

    calibration: Calibration
    training_prior: float
    prior: float
    thresholds: DecisionThresholds
    operating_point: OperatingPointName | None

    @classmethod
    def of(cls, spec: ModelSpec, settings: DecisionSettings) -> DecisionRule:
        """The rule of a model under these settings.

        Raises:
            SettingsError: the model has no such operating point; the text lists those it has.
        """
        name = settings.operating_point
        thresholds = spec.decision if name is None else _thresholds_at(spec, name)
        prior = settings.prevalence or spec.prior
        return cls(spec.calibration, spec.prior, prior, thresholds, name)

    @property
    def threshold(self) -> float:
        """Smallest probability of the call CTC, at the prior in force."""
        return self._at_prior(self.thresholds.threshold)

    @property
    def review_band(self) -> tuple[float, float]:
        """[low, high) that is called review, at the prior in force."""
        low, high = self.thresholds.review
        return self._at_prior(low), self._at_prior(high)

    def decide(self, analysis: CellAnalysis) -> Prediction:
        """Call one cell."""
        prediction = self.decide_score(analysis.score, analysis.review_flags)
        return replace(prediction, cluster=True) if analysis.cluster else prediction

    def decide_score(self, score: float, review_flags: tuple[str, ...] = ()) -> Prediction:
        """Call one cell, as `decide` does.

        Args:
            score: from `rounded_score`.
            review_flags: reasons not to trust the image, or the network with it; with any of them
                the call is review, whatever the score.
        """
        probability = _training_probability(score, self.calibration)
        plain = decide(probability, self.thresholds)
        reasons = (*review_flags, *plain.reasons)
        if self.prior != self.training_prior:
            probability = self._shifted_probability(score)
        return Prediction("review" if reasons else plain.call, probability, reasons)

    def _shifted_probability(self, score: float) -> float:
        # From the score: at six decimals the surest cells would have a probability of 1.
        shift = _log_odds(self.prior) - _log_odds(self.training_prior)
        return _significant(_sigmoid(_log_odds_of(score, self.calibration) + shift))

    def _at_prior(self, probability: float) -> float:
        if self.prior == self.training_prior:
            return probability
        return adjust_for_prevalence(probability, self.training_prior, self.prior)


def _thresholds_at(spec: ModelSpec, name: str) -> DecisionThresholds:
    """The measured threshold of an operating point, with a review band below it.

    The band is as wide in log-odds as that of the model's own thresholds.
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


def _training_probability(score: float, calibration: Calibration) -> float:
    return round(_sigmoid(_log_odds_of(score, calibration)), 6)


def _log_odds_of(score: float, calibration: Calibration) -> float:
    return calibration.slope * score + calibration.intercept


def _sigmoid(value: float) -> float:
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    small = math.exp(value)
    return small / (1 + small)


def _log_odds(fraction: float) -> float:
    return math.log(fraction) - math.log1p(-fraction)


def _inside(fraction: float) -> float:
    return min(max(fraction, _NEXT_TO_CERTAIN), 1 - _NEXT_TO_CERTAIN)


def _significant(fraction: float) -> float:
    return float(f"{fraction:.6g}")
