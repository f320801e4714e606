"""Operating points: honest on noise, and silent where the cells cannot tell."""

from __future__ import annotations

import numpy as np
import pytest

from ctcedge.model.spec import OPERATING_POINTS
from train.data.dataset import Cells
from train.export.operating_points import operating_points, upper_bound


def cells_of(positive, group):
    n = len(positive)
    image, text = np.zeros((n, 1, 1), np.uint8), np.full(n, "")
    return Cells(
        bright=image,
        nucleus=image,
        has_nucleus=np.zeros(n, bool),
        positive=positive,
        group=group,
        sample=group,
        cell=text,
        stratum=text,
        digest=text,
        diameter_um=np.full(n, np.nan),
    )


def drawn(seed, groups, size, separation, spread=0.0):
    """Draw probabilities of cells, half of them CTCs, in groups that differ by `spread`."""
    chance = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), size)
    positive = np.arange(len(group)) % 2 == 0
    score = chance.normal(size=len(group)) + separation * np.where(positive, 0.5, -0.5)
    score += spread * chance.normal(size=groups)[group]
    return cells_of(positive, group.astype("U")), np.round(1 / (1 + np.exp(-score)), 6)


def test_screening_is_left_empty_where_too_little_tells_of_it():
    made = [
        operating_points(*drawn(seed, groups=4, size=40, separation=2, spread=2), 10, seed)
        for seed in range(20)
    ]
    kept = [points["screening"] for points in made if points["screening"]]
    assert len(kept) < 5
    assert all(point.sensitivity.low >= 0.85 for point in kept)
    assert all(points["balanced"] for points in made)


def test_thresholds_chosen_on_noise_do_not_look_good():
    gained = []
    for seed in range(60):
        cells, probability = drawn(seed, groups=6, size=10, separation=0)
        point = operating_points(cells, probability, 10, seed)["balanced"]
        gained.append(point.sensitivity.value - point.false_positives_per_10000.value / 1e4)
    assert abs(np.mean(gained)) < 0.04


def test_noise_is_paid_for():
    cells, probability = drawn(1, groups=20, size=1000, separation=0)
    points = operating_points(cells, probability, 100, 1)
    assert points["screening"].false_positives_per_10000.value > 9000
    assert points["confirm"].sensitivity.high < 0.02


def test_screening_keeps_its_sensitivity_on_average():
    sensitivity = []
    for seed in range(40):
        cells, probability = drawn(seed, groups=10, size=40, separation=2)
        point = operating_points(cells, probability, 10, seed)["screening"]
        sensitivity.append(point.sensitivity.value)
        assert point.sensitivity.low <= point.sensitivity.value <= point.sensitivity.high
    assert 0.945 < np.mean(sensitivity) < 0.975


def test_balanced_errs_on_both_sides_alike():
    cells, probability = drawn(1, groups=20, size=200, separation=2)
    point = operating_points(cells, probability, 10, 1)["balanced"]
    assert 1 - point.sensitivity.value == pytest.approx(
        point.false_positives_per_10000.value / 1e4, abs=0.03
    )
    assert point.threshold == pytest.approx(0.5, abs=0.05)


def test_no_false_call_of_1667_still_allows_18_of_10000():
    assert 1e4 * upper_bound(0, 1667) == pytest.approx(18, abs=0.1)
    cells, probability = drawn(1, groups=20, size=166, separation=20)
    points = operating_points(cells, probability, 10, 1)
    assert points["confirm"] is None
    assert points["balanced"].false_positives_per_10000.value == 0
    assert points["balanced"].false_positives_upper == pytest.approx(18, abs=0.2)


def test_confirm_where_there_are_enough_others():
    cells, probability = drawn(1, groups=20, size=1000, separation=20)
    point = operating_points(cells, probability, 10, 1)["confirm"]
    assert point.false_positives_upper <= 10
    assert point.sensitivity.value > 0.9
    assert (point.ctcs, point.negatives, point.samples) == (10_000, 10_000, 20)


def test_intervals_are_wider_where_samples_differ():
    widths = []
    for spread in (0, 2):
        cells, probability = drawn(1, groups=20, size=200, separation=1, spread=spread)
        rate = operating_points(cells, probability, 10, 1)["balanced"].sensitivity
        widths.append(rate.high - rate.low)
    assert widths[1] > 3 * widths[0]


def test_too_few_ctcs_or_samples_support_nothing():
    cells, probability = drawn(1, groups=4, size=8, separation=2)
    points = operating_points(cells, probability, 10, 1)
    assert points["screening"] is None
    cells, probability = drawn(1, groups=1, size=400, separation=2)
    assert operating_points(cells, probability, 10, 1) == dict.fromkeys(OPERATING_POINTS)
