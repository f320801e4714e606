"""Figures of merit against scikit-learn and against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from train.logistic import class_weights, fit_logistic, sigmoid
from train.metrics import (
    average_precision,
    bootstrap_interval,
    brier,
    calibration_error,
    f1,
    log_loss,
    macro_f1,
    roc_auc,
    sensitivity_at,
)


@pytest.fixture(params=[False, True], ids=["distinct", "tied"])
def scored(request):
    chance = np.random.default_rng(4)
    positive = chance.random(500) < 0.3
    score = sigmoid(chance.normal(size=500) + positive)
    return positive, np.round(score, 1) if request.param else score


def test_ranking_agrees_with_scikit_learn(scored):
    positive, score = scored
    assert roc_auc(positive, score) == pytest.approx(sk.roc_auc_score(positive, score))
    assert average_precision(positive, score) == pytest.approx(
        sk.average_precision_score(positive, score)
    )


def test_f1_agrees_with_scikit_learn(scored):
    positive, score = scored
    called = score >= 0.6
    assert f1(positive, called) == pytest.approx(sk.f1_score(positive, called))
    expected = sk.f1_score(positive, called, average="macro")
    assert macro_f1(positive, called) == pytest.approx(expected)


def test_scores_of_the_probability_agree_with_scikit_learn(scored):
    positive, score = scored
    weight = class_weights(positive)
    assert brier(positive, score) == pytest.approx(
        sk.brier_score_loss(positive, score, sample_weight=weight)
    )
    inner = np.clip(score, 1e-6, 1 - 1e-6)
    assert log_loss(positive, score) == pytest.approx(
        sk.log_loss(positive, inner, sample_weight=weight)
    )


def test_the_constant_predictor_scores_as_the_card_says(scored):
    positive, _ = scored
    half = np.full(len(positive), 0.5)
    assert brier(positive, half) == pytest.approx(0.25)
    assert log_loss(positive, half) == pytest.approx(math.log(2))
    assert calibration_error(positive, half) == pytest.approx(0)


def test_one_class_has_no_ranking():
    ones = np.ones(3, dtype=bool)
    assert math.isnan(roc_auc(ones, np.arange(3.0)))
    assert math.isnan(average_precision(~ones, np.arange(3.0)))
    with pytest.raises(ValueError, match="one class only"):
        class_weights(ones)


def test_sensitivity_counts_the_false_calls():
    positive = np.array([True, True, True, False, False, False, False])
    score = np.array([0.9, 0.6, 0.2, 0.8, 0.5, 0.4, 0.1])
    assert sensitivity_at(positive, score, 0.0) == pytest.approx(1 / 3)
    assert sensitivity_at(positive, score, 0.25) == pytest.approx(2 / 3)
    assert sensitivity_at(positive, score, 0.75) == 1
    assert sensitivity_at(positive, score, 1.0) == 1


def test_calibration_error_by_hand():
    positive = np.array([True, False, True, False])
    probability = np.array([0.9, 0.9, 0.1, 0.1])
    assert calibration_error(positive, probability) == pytest.approx(0.4)


def test_interval_holds_the_value_and_depends_on_samples():
    chance = np.random.default_rng(5)
    positive = chance.random(400) < 0.5
    sample = np.repeat(np.arange(20).astype(str), 20)
    score = chance.normal(size=400) + positive + np.repeat(chance.normal(size=20), 20)
    low, high = bootstrap_interval(roc_auc, positive, score, sample, seed=1, draws=200)
    assert low < roc_auc(positive, score) < high
    assert (low, high) == bootstrap_interval(roc_auc, positive, score, sample, seed=1, draws=200)
    alone = np.full(400, "s")
    same = bootstrap_interval(roc_auc, positive, score, alone, seed=1, draws=20)
    assert same == pytest.approx((roc_auc(positive, score),) * 2)


def test_logistic_agrees_with_scikit_learn():
    chance = np.random.default_rng(6)
    positive = chance.random(300) < 0.2
    features = chance.normal(size=(300, 2)) + positive[:, None] * np.array([1.0, -0.5])
    ours = fit_logistic(features, positive)
    theirs = LogisticRegression(C=1e9, class_weight="balanced", tol=1e-10).fit(features, positive)
    assert ours == pytest.approx([*theirs.coef_[0], theirs.intercept_[0]], abs=1e-3)


def test_logistic_survives_separable_classes():
    coefficients = fit_logistic(np.array([[-1.0], [1.0]]), np.array([False, True]))
    assert np.isfinite(coefficients).all()
    assert coefficients[0] > 0
