"""Statistics of features: distances tell strangers, whatever the share of CTCs."""

from __future__ import annotations

import numpy as np
import pytest

from train.guard import distances, feature_statistics


def drawn(seed, count):
    """Draw correlated features of two classes, and one feature that is always zero."""
    chance = np.random.default_rng(seed)
    positive = chance.random(count) < 0.3
    features = chance.normal(size=(count, 8)) @ np.random.default_rng(0).normal(size=(8, 8))
    features += positive[:, None] * 6
    return np.column_stack((features, np.zeros(count))).astype(np.float32), positive


@pytest.fixture(scope="module")
def statistics():
    validation, positive = drawn(2, 400)
    group = np.repeat(["b", "a"], 200)
    return feature_statistics(*drawn(1, 2000), validation, positive, group)


def test_distances_are_mahalanobis_distances(statistics):
    features, positive = drawn(3, 500)
    around = features[:, :8] - statistics.means[positive.astype(int), :8]
    whitened = np.linalg.solve(np.linalg.cholesky(np.cov(around.T)), around.T)
    expected = np.linalg.norm(whitened, axis=0)
    found = distances(features, statistics.means, statistics.whitening)
    assert np.median(np.abs(found / expected - 1)) < 0.05


def test_classes_are_alike_and_strangers_are_far(statistics):
    assert statistics.distance.shape == (400,)
    ctc, other = (
        np.median(statistics.distance[statistics.positive == kind]) for kind in (True, False)
    )
    assert ctc == pytest.approx(other, rel=0.15)
    strange = drawn(4, 100)[0] - np.float32(25)
    far = distances(strange, statistics.means, statistics.whitening)
    assert far.min() > statistics.distance.max()


def test_samples_are_numbered_not_named(statistics, tmp_path):
    path = tmp_path / "features.npz"
    statistics.save(path)
    with np.load(path, allow_pickle=False) as held:
        assert set(held.files) == {"means", "whitening", "distance", "positive", "sample"}
        assert held["sample"].tolist() == [1] * 200 + [0] * 200
        assert held["means"].dtype == held["whitening"].dtype == np.float32
