"""The size-only baseline: measured from pixels and really fitted."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ctcedge.images.preprocess import InputSpec
from train.baselines.size import measured_diameter, measured_diameters, size_score
from train.metrics.roc import roc_auc

INPUT = InputSpec(64, None, 0.1, 0.5, (90.0, 99.0), 0.01, 48.0, crop_px=1.5)


@pytest.mark.parametrize("diameter", [12, 20, 36])
@pytest.mark.parametrize("level", [80, 170])
def test_a_disk_is_measured(diameter, level):
    inputs = np.full((INPUT.size, INPUT.size), 128, dtype=np.uint8)
    cv2.circle(inputs, (INPUT.size // 2, INPUT.size // 2), diameter // 2, level, -1)
    assert measured_diameter(inputs, INPUT) == pytest.approx(diameter, abs=2)


def test_all_are_measured():
    inputs = np.full((3, INPUT.size, INPUT.size), 128, dtype=np.uint8)
    assert measured_diameters(inputs, INPUT).shape == (3,)


def test_the_baseline_learns_which_way_size_points():
    positive = np.arange(200) % 2 == 0
    chance = np.random.default_rng(1)
    larger = chance.normal(np.where(positive, 12.0, 9.0), 2.0)
    smaller = chance.normal(np.where(positive, 9.0, 12.0), 2.0)
    for diameters in (larger, smaller):
        assert roc_auc(positive, size_score(diameters, positive, diameters)) > 0.8


def test_the_baseline_learns_a_band_of_sizes():
    positive = np.arange(200) % 2 == 0
    spread = np.where(positive, 0.5, 4.0)
    diameters = np.random.default_rng(1).normal(10.0, spread)
    assert roc_auc(positive, size_score(diameters, positive, diameters)) > 0.85


def test_equal_sizes_tell_nothing():
    positive = np.arange(10) % 2 == 0
    score = size_score(np.full(10, 9.0), positive, np.full(10, 9.0))
    assert roc_auc(positive, score) == 0.5


def test_separable_sizes_have_finite_scores():
    positive = np.arange(40) % 2 == 0
    diameters = np.where(positive, 14.0, 8.0)
    score = size_score(diameters, positive, diameters)
    assert np.isfinite(score).all()
    assert roc_auc(positive, score) == 1.0


def test_both_classes_count_the_same_whatever_their_numbers():
    chance = np.random.default_rng(6)
    positive = chance.random(20_000) < 0.05
    diameters = chance.normal(np.where(positive, 11.0, 9.0), 1.0)
    middle = size_score(diameters, positive, np.array([10.0]))
    assert middle == pytest.approx(0, abs=0.2)
