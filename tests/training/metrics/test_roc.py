"""Figures of merit against scikit-learn and against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from train.metrics.roc import (
    Calls,
    Curve,
    average_precision,
    brier,
    calibration_error,
    calibration_line,
    f1,
    log_loss,
    log_odds,
    macro_f1,
    restate,
    roc_auc,
)


@pytest.fixture(params=[False, True], ids=["distinct", "tied"])
def scored(request):
    chance = np.random.default_rng(4)
    positive = chance.random(500) < 0.3
    score = expit(chance.normal(size=500) + positive)
    return positive, np.round(score, 1) if request.param else score


@pytest.fixture
def weight():
    """As they are, and two draws, in which some cells count several times and some not at all."""
    chance = np.random.default_rng(5)
    return np.vstack((np.ones(500), chance.multinomial(500, np.full(500, 1 / 500), size=2)))


def test_ranking_agrees_with_scikit_learn(scored, weight):
    positive, score = scored
    curve = Curve.of(positive, score, weight)
    assert curve.auc() == pytest.approx(
        [sk.roc_auc_score(positive, score, sample_weight=w) for w in weight]
    )
    assert curve.average_precision() == pytest.approx(
        [sk.average_precision_score(positive, score, sample_weight=w) for w in weight]
    )
    assert roc_auc(positive, score) == pytest.approx(curve.auc()[0])
    assert average_precision(positive, score) == pytest.approx(curve.average_precision()[0])


def test_f1_agrees_with_scikit_learn(scored, weight):
    positive, score = scored
    called = score >= 0.6
    calls = Calls.of(positive, called, weight)
    for average, ours in (("binary", calls.f1()), ("macro", calls.macro_f1())):
        expected = [sk.f1_score(positive, called, average=average, sample_weight=w) for w in weight]
        assert ours == pytest.approx(expected)
    assert f1(positive, called) == pytest.approx(calls.f1()[0])
    assert macro_f1(positive, called) == pytest.approx(calls.macro_f1()[0])


@pytest.mark.parametrize("prior", [0.5, 0.1])
def test_scores_of_the_probability_agree_with_scikit_learn(scored, weight, prior):
    positive, score = scored
    inner = np.clip(score, 1e-6, 1 - 1e-6)
    class_shares = [
        w * np.where(positive, prior / w[positive].sum(), (1 - prior) / w[~positive].sum())
        for w in weight
    ]
    assert brier(positive, score, weight, prior) == pytest.approx(
        [sk.brier_score_loss(positive, score, sample_weight=w) for w in class_shares]
    )
    assert log_loss(positive, score, weight, prior) == pytest.approx(
        [sk.log_loss(positive, inner, sample_weight=w) for w in class_shares]
    )


@pytest.mark.parametrize("prior", [0.5, 0.1])
def test_the_constant_predictor_scores_as_the_report_says(scored, weight, prior):
    positive, _ = scored
    constant = np.full(len(positive), prior)
    entropy = -prior * math.log(prior) - (1 - prior) * math.log(1 - prior)
    assert brier(positive, constant, weight, prior) == pytest.approx(prior * (1 - prior))
    assert log_loss(positive, constant, weight, prior) == pytest.approx(entropy)
    assert calibration_error(positive, constant, weight, prior) == pytest.approx(0)


def test_the_calibration_line_agrees_with_scikit_learn(scored, weight):
    positive, score = scored
    slope, intercept = calibration_line(positive, score, weight, 0.5)
    for row, w in enumerate(weight):
        balanced = w * np.where(positive, 0.5 / w[positive].sum(), 0.5 / w[~positive].sum())
        theirs = LogisticRegression(C=1e12, tol=1e-10).fit(
            log_odds(score)[:, None], positive, sample_weight=balanced * 500
        )
        assert slope[row] == pytest.approx(theirs.coef_[0, 0], abs=1e-3)
        assert intercept[row] == pytest.approx(theirs.intercept_[0], abs=1e-3)


def test_an_overconfident_model_has_a_slope_below_one():
    chance = np.random.default_rng(8)
    odds = chance.normal(size=20_000)
    positive = chance.random(20_000) < expit(odds)
    ones = np.ones((1, 20_000))
    right, _ = calibration_line(positive, expit(odds), ones, float(positive.mean()))
    overconfident, _ = calibration_line(positive, expit(2 * odds), ones, float(positive.mean()))
    assert right == pytest.approx(1, abs=0.06)
    assert overconfident == pytest.approx(0.5, abs=0.03)


def test_separate_classes_have_no_calibration_line():
    positive = np.array([True, True, False, False])
    line = calibration_line(positive, np.array([0.9, 0.8, 0.2, 0.1]), np.ones((1, 4)), 0.5)
    assert np.isnan(line).all()


def test_one_class_has_no_ranking():
    ones = np.ones(3, dtype=bool)
    assert math.isnan(roc_auc(ones, np.arange(3.0)))
    assert math.isnan(average_precision(~ones, np.arange(3.0)))


def test_sensitivity_counts_the_false_calls():
    positive = np.array([True, True, True, False, False, False, False])
    score = np.array([0.9, 0.6, 0.2, 0.8, 0.5, 0.4, 0.1])
    curve = Curve.of(positive, score)
    found = {rate: float(curve.sensitivity_at(rate)) for rate in (0, 0.2, 0.25, 0.75, 1)}
    assert found == pytest.approx({0: 1 / 3, 0.2: 1 / 3, 0.25: 2 / 3, 0.75: 1, 1: 1})


def test_cells_looked_at_are_counted_at_the_prevalence():
    positive = np.array([True, True, False, False, False, False])
    score = np.array([0.9, 0.4, 0.8, 0.3, 0.2, 0.1])
    curve = Curve.of(positive, score)
    assert float(curve.reviewed_fraction(0.5, 0.01)) == pytest.approx(0.01 * 0.5)
    assert float(curve.reviewed_fraction(0.9, 0.01)) == pytest.approx(0.01 + 0.99 * 0.25)


def test_no_false_call_still_allows_some():
    negatives = np.zeros(1667, dtype=bool)
    assert 10_000 * Calls.of(negatives, negatives).false_positive_rate_bound() == pytest.approx(
        18, abs=0.1
    )
    one = np.arange(100) == 0
    bound = float(Calls.of(np.zeros(100, dtype=bool), one).false_positive_rate_bound())
    at_most_one = (1 - bound) ** 100 + 100 * bound * (1 - bound) ** 99
    assert at_most_one == pytest.approx(0.05)


def test_calibration_error_by_hand():
    positive = np.array([True, False, True, False])
    probability = np.array([0.9, 0.9, 0.1, 0.1])
    assert calibration_error(positive, probability, np.ones((1, 4)), 0.5) == pytest.approx(0.4)


def test_probabilities_are_restated_by_bayes_rule():
    stated = restate(np.array([0.5, 0.9]), 0.5, 0.001)
    assert stated == pytest.approx([0.001, 0.9 * 0.001 / (0.9 * 0.001 + 0.1 * 0.999)])
    assert restate(stated, 0.001, 0.5) == pytest.approx([0.5, 0.9])
