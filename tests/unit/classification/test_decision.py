from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ctcedge.classification.decision import (
    DecisionRule,
    adjust_for_prevalence,
    decide,
    probability,
    rounded_score,
)
from ctcedge.errors import SettingsError
from ctcedge.model.folder import load_model
from ctcedge.model.spec import Calibration, DecisionThresholds, ModelSpec, OperatingPoint, Rate
from ctcedge.settings import DecisionSettings

DECISION = DecisionThresholds(0.5, (0.4, 0.6))


def point(threshold: float) -> OperatingPoint:
    return OperatingPoint(
        "a purpose", threshold, Rate(0.9, 0.8, 0.95), Rate(10.0, 5.0, 20.0), 18.0, 100, 900, 8
    )


@pytest.fixture
def spec(model_folder: Path) -> ModelSpec:
    """Calibrated so that the logit is the log odds, at the prior one half; band 0.4 to 0.6."""
    points = {"screening": point(0.2), "balanced": point(0.55), "confirm": None}
    return structs.replace(load_model(model_folder).spec, operating_points=points)


def policy(spec: ModelSpec, *decision: Any) -> DecisionRule:
    return DecisionRule.of(spec, DecisionSettings(*decision))


def log_odds(p: float) -> float:
    return math.log(p / (1 - p))


@pytest.mark.parametrize(
    ("value", "call", "reasons"),
    [
        (0.0, "leukocyte", ()),
        (0.399999, "leukocyte", ()),
        (0.4, "review", ("near-threshold",)),
        (0.5, "review", ("near-threshold",)),
        (0.599999, "review", ("near-threshold",)),
        (0.6, "CTC", ()),
        (1.0, "CTC", ()),
    ],
)
def test_calls(value: float, call: str, reasons: tuple[str, ...]) -> None:
    verdict = decide(value, DECISION)
    assert (verdict.call, verdict.probability, verdict.reasons) == (call, value, reasons)


@pytest.mark.parametrize(("value", "call"), [(0.499999, "leukocyte"), (0.5, "CTC")])
def test_without_a_review_band_the_threshold_decides(value: float, call: str) -> None:
    assert decide(value, DecisionThresholds(0.5, (0.5, 0.5))).call == call


@pytest.mark.parametrize("logit", [-1e30, -800, -3, 0, 0.1, 3, 800, 1e30])
def test_the_probability_is_the_calibrated_sigmoid(logit: float) -> None:
    found = probability(logit, Calibration(2.0, 1.0))
    exact = 1 / (1 + math.exp(-max(-700, min(700, 2 * logit + 1))))
    assert found == pytest.approx(exact, abs=1e-6)
    assert 0 <= found <= 1


def test_the_probability_follows_from_the_score_that_is_kept() -> None:
    calibration = Calibration(1000.0, 0.0)  # so steep that the seventh decimal would show
    assert probability(0.0000014, calibration) == probability(0.000001, calibration)
    assert rounded_score(0.0000014) == 0.000001


@pytest.mark.parametrize(
    ("value", "prior", "prevalence", "expected"),
    [
        (0.9, 0.5, 1 / 5000, 0.00179712),
        (0.5, 0.5, 0.01, 0.01),
        (0.01, 0.01, 0.5, 0.5),
        (0.3, 0.2, 0.2, 0.3),
        (0.0, 0.5, 0.01, 0.0),
        (1.0, 0.5, 0.01, 1.0),
    ],
)
def test_another_prior(value: float, prior: float, prevalence: float, expected: float) -> None:
    assert adjust_for_prevalence(value, prior, prevalence) == expected


def test_nine_in_ten_at_one_to_one_is_next_to_nothing_at_one_in_5000(spec: ModelSpec) -> None:
    rare = policy(spec, None, 1 / 5000)
    verdict = rare.decide_score(log_odds(0.9))
    assert f"{verdict.probability:.4f}" == "0.0018"
    assert verdict.call == policy(spec).decide_score(log_odds(0.9)).call == "CTC"
    assert rare.prior == 1 / 5000


@pytest.mark.parametrize("prevalence", [1e-6, 0.0002, 0.3, 0.9])
@pytest.mark.parametrize("name", [None, "screening", "balanced"])
def test_a_prevalence_changes_no_call(spec: ModelSpec, name: str | None, prevalence: float) -> None:
    plain, rebased_to = policy(spec, name), policy(spec, name, prevalence)
    for step in range(-4000, 4001):
        one, other = plain.decide_score(step / 250), rebased_to.decide_score(step / 250)
        assert (one.call, one.reasons) == (other.call, other.reasons)


def test_what_is_told_agrees_with_the_call_at_any_prior(spec: ModelSpec) -> None:
    rare = policy(spec, "screening", 0.0002)
    assert rare.review_band[1] == rare.threshold
    for step in range(-4000, 4001):
        verdict = rare.decide_score(step / 250)
        expected = decide(
            verdict.probability, DecisionThresholds(rare.threshold, rare.review_band)
        ).call
        assert verdict.call == expected


def test_the_surest_are_not_called_certain_at_a_low_prevalence(spec: ModelSpec) -> None:
    assert policy(spec).decide_score(16.0).probability == 1.0
    assert policy(spec, None, 1e-6).decide_score(16.0).probability == pytest.approx(
        0.8988, abs=1e-4
    )


def test_the_models_own_prior_given_is_as_if_it_were_not(spec: ModelSpec) -> None:
    assert policy(spec, None, spec.prior) == policy(spec)


@pytest.mark.parametrize(
    ("value", "call"),
    [(0.2, "CTC"), (0.199999, "review"), (0.1, "review"), (0.099999, "leukocyte")],
)
def test_an_operating_point_calls_from_its_threshold_and_reviews_below(
    spec: ModelSpec, value: float, call: str
) -> None:
    found = policy(spec, "screening")
    assert decide(value, found.thresholds).call == call
    # The band is as wide in log odds as from 0.4 to 0.6.
    width = log_odds(0.6) - log_odds(0.4)
    assert log_odds(found.threshold) - log_odds(found.review_band[0]) == pytest.approx(
        width, abs=1e-4
    )
    assert found.operating_point == "screening"


@pytest.mark.parametrize(
    ("threshold", "band", "low"),
    [
        (0.2, (0.5, 0.5), 0.2),
        (0.2, (0.0, 0.6), 0.0),
        (0.2, (0.5, 1.0), 0.0),
        (0.0, (0.4, 0.6), 0.0),
        (1.0, (0.4, 0.6), 0.999999),
    ],
)
def test_bands_at_the_ends(
    spec: ModelSpec, threshold: float, band: tuple[float, float], low: float
) -> None:
    decision = structs.replace(spec.decision, review=band)
    points = {**spec.operating_points, "screening": point(threshold)}
    other = structs.replace(spec, decision=decision, operating_points=points)
    assert policy(other, "screening").review_band == (pytest.approx(low, abs=2e-6), threshold)


@pytest.mark.parametrize("score", [-9.0, 0.0, 9.0])
def test_a_doubt_is_reviewed_whatever_the_score(spec: ModelSpec, score: float) -> None:
    plain, doubted = policy(spec).decide_score(score), policy(spec).decide_score(score, ("empty",))
    assert doubted.call == "review"
    assert doubted.probability == plain.probability
    assert doubted.reasons == ("empty", *plain.reasons)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({"confirm": None, "screening": 0.2, "balanced": 0.5}, "could not support.*has screening"),
        ({"confirm": None, "screening": None, "balanced": None}, "could not support.*has none"),
        ({}, "nobody measured any.*it has none"),
    ],
)
def test_an_operating_point_that_the_model_does_not_have_is_refused(
    spec: ModelSpec, points: dict[str, float | None], message: str
) -> None:
    made = {name: each and point(each) for name, each in points.items()}
    with pytest.raises(SettingsError, match=f"no operating point 'confirm'.*{message}"):
        policy(structs.replace(spec, operating_points=made), "confirm")
