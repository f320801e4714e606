"""Probability calibration and review band."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from train.metrics.calibration import calibrate, choose_decision
from train.metrics.onnx_scores import probabilities
from train.metrics.roc import calibration_line


def drawn(seed, positives, negatives, slope):
    """Draw logits whose true log odds at equal class shares are `slope` times them."""
    chance = np.random.default_rng(seed)
    positive = np.arange(positives + negatives) < positives
    log_odds = chance.normal(np.where(positive, 1, -1), np.sqrt(2))
    return (log_odds / slope).astype(np.float32), positive


@pytest.mark.parametrize("slope", [0.3, 1.0])
@pytest.mark.parametrize(("positives", "negatives"), [(300, 150), (40, 700)])
def test_probabilities_are_right_on_other_cells(slope, positives, negatives):
    calibration = calibrate(*drawn(1, positives, negatives, slope))
    logits, positive = drawn(2, 20_000, 20_000, slope)
    line = calibration_line(
        positive, probabilities(logits, calibration), np.ones((1, len(positive))), prior=0.5
    )
    assert 0.8 < line[0][0] < 1.25
    assert abs(line[1][0]) < 0.3


def test_few_cells_that_lie_apart_promise_no_certainty():
    logits = np.concatenate((np.full(10, 3), np.full(10, -3))).astype(np.float32)
    positive = logits > 0
    certain = probabilities(logits, calibrate(logits, positive))
    assert certain[positive] == pytest.approx(11 / 12, abs=1e-4)
    assert certain[~positive] == pytest.approx(1 / 12, abs=1e-4)


@pytest.mark.parametrize("positives", [0, 9, 100])
def test_too_few_cells_of_a_class_are_refused(positives):
    positive = np.arange(100) < positives
    with pytest.raises(ValueError, match=rf"has {positives} CTCs and {100 - positives} negatives"):
        calibrate(positive.astype(np.float32), positive)


def test_a_network_that_ranks_the_wrong_way_round_is_refused():
    logits, positive = drawn(1, 50, 50, 1)
    with pytest.raises(ValueError, match="does not rank"):
        calibrate(-logits, positive)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_the_review_band_holds_its_share(share):
    probability = np.random.default_rng(1).random(5000)
    low, high = choose_decision(probability, share).review
    held = np.mean((probability >= low) & (probability < high))
    assert share - 0.005 <= held <= share + 0.03


@pytest.mark.parametrize("positives", [40, 300])
def test_the_calibration_maximises_the_weighted_likelihood_of_platts_targets(positives):
    logits, positive = drawn(3, positives, 150, 0.7)
    calibration = calibrate(logits, positive)
    target = np.where(positive, (positives + 1) / (positives + 2), 1 / 152)
    weight = np.where(positive, 1 / positives, 1 / 150)
    error = weight * (expit(calibration.slope * logits + calibration.intercept) - target)
    assert error.sum() == pytest.approx(0, abs=1e-4)
    assert (error * logits).sum() == pytest.approx(0, abs=1e-4)


def test_separable_cells_have_a_finite_calibration():
    logits = np.array([*[-1e-3] * 10, *[1e-3] * 10], np.float32)
    calibration = calibrate(logits, logits > 0)
    assert np.isfinite([calibration.slope, calibration.intercept]).all()
    assert calibration.slope > 0
