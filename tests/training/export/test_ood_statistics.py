"""Statistics of features: distances tell strangers, and runs of strangers, whatever their CTCs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ctcedge.classification.ood import ALERT_SIGMAS, OodDetector, RunFeatures
from ctcedge.classification.ood_statistics import mahalanobis
from ctcedge.classification.wavelet_features import FEATURE_COUNT
from train.export.ood_statistics import FEATURES_FILE, FeatureSet, feature_statistics

WIDTH = 9
MIXED = np.random.default_rng(0).normal(size=(8, 8))


def drawn(seed, groups, cells=40, share=0.3, shift=0.3, strange=0.0, blur=0.0):
    """Draw cells of groups that differ, of two classes, and one feature that is always zero.

    Args:
        share: of CTCs.
        shift: standard deviation of groups' means, in spreads of cells.
        strange: shift of them all.
        blur: of the inputs, standard deviation in pixels.
    """
    chance = np.random.default_rng(seed)
    n = groups * cells
    positive = chance.random(n) < share
    group = np.repeat(np.arange(groups), cells)
    own = chance.normal(strange, shift, (groups, 8))[group]
    features = (chance.normal(size=(n, 8)) + own) @ MIXED + positive[:, None] * 6
    contrast = np.exp(chance.normal(0, 0.1, groups))[group]
    noise = chance.normal(0, 20, (n, 64, 64)) * contrast[:, None, None]
    if blur:
        noise = np.stack([cv2.GaussianBlur(each, (0, 0), blur) for each in noise])
    return FeatureSet(
        inputs=np.clip(np.rint(noise + 128), 0, 255).astype(np.uint8),
        features=np.column_stack((features, np.zeros(n))).astype(np.float32),
        positive=positive,
        group=np.array([f"group {number}" for number in group]),
    )


@pytest.fixture(scope="module")
def statistics():
    validation = drawn(2, 10)
    return feature_statistics(drawn(1, 40), validation, seed=1)


@pytest.fixture(scope="module")
def detector(statistics, tmp_path_factory):
    """The statistics, written and read back."""
    path = tmp_path_factory.mktemp("model") / FEATURES_FILE
    statistics.save(path)
    with np.load(path, allow_pickle=False) as held:
        return OodDetector._from_arrays({name: held[name] for name in held.files})


def domain_shift(detector, cells):
    run = RunFeatures()
    for unlike in detector.score(cells.inputs, cells.features):
        run.add(unlike.features)
    return detector.domain_shift(run)


def distances_of(features, statistics):
    whitening = statistics.whitening
    return mahalanobis(features @ whitening, statistics.means @ whitening)


def test_distances_are_mahalanobis_distances(statistics):
    cells = drawn(3, 100, cells=10)
    training = drawn(1, 40)
    around = training.features[:, :8] - statistics.means[training.positive.astype(int), :8]
    whitening = np.linalg.inv(np.linalg.cholesky(np.cov(around.T)))
    from_each = [
        np.linalg.norm((cells.features - mean)[:, :8] @ whitening.T, axis=1)
        for mean in statistics.means
    ]
    found = distances_of(cells.features, statistics)
    assert np.median(np.abs(found / np.minimum(*from_each) - 1)) < 0.05


def test_classes_are_alike_and_strangers_are_far(statistics):
    assert statistics.distance.shape == (400,)
    ctc, other = (
        np.median(statistics.distance[statistics.positive == kind]) for kind in (True, False)
    )
    assert ctc == pytest.approx(other, rel=0.15)
    strange = drawn(4, 1, cells=100).features - np.float32(25)
    far = distances_of(strange, statistics)
    assert far.min() > statistics.distance.max()


def test_samples_are_numbered_not_named(statistics, tmp_path):
    path = tmp_path / FEATURES_FILE
    statistics.save(path)
    assert b"group" not in path.read_bytes()
    with np.load(path, allow_pickle=False) as held:
        assert np.unique(held["sample"], return_counts=True)[1].tolist() == [40] * 10
        assert {held[name].dtype.kind for name in held.files} == {"f", "b", "i"}


def test_traits_are_uncorrelated_and_of_one_spread_within_groups(detector):
    cells = drawn(5, 1, cells=3000, share=0)
    traits = np.array([each.features for each in detector.score(cells.inputs, cells.features)])
    assert traits.shape[1] == FEATURE_COUNT + WIDTH
    spread = np.cov(traits[:, FEATURE_COUNT:][:, traits[:, FEATURE_COUNT:].std(axis=0) > 0.01].T)
    np.testing.assert_allclose(spread, np.eye(8), atol=0.15)


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
def test_new_groups_are_like_those_of_training_at_any_share_of_ctcs(detector, share):
    found = [domain_shift(detector, drawn(100 + seed, 1, 120, share)) for seed in range(20)]
    assert {each.state for each in found} == {"in-distribution"}
    assert max(each.distance for each in found) < 0.8


@pytest.mark.parametrize("share", [0, 0.5])
def test_strangers_are_told_by_their_features(detector, share):
    found = [domain_shift(detector, drawn(200 + s, 1, 120, share, strange=2)) for s in range(5)]
    assert {each.state for each in found} == {"shifted"}


def test_strangers_are_told_by_their_detail(detector):
    found = [domain_shift(detector, drawn(300 + s, 1, 120, blur=0.7)) for s in range(5)]
    assert {each.state for each in found} == {"shifted"}


def test_groups_that_differ_more_have_a_wider_limit():
    """What would be strange of one lab's runs is usual where labs differ."""
    seen = []
    for shift in (0.1, 1.0):
        held = feature_statistics(drawn(1, 40, shift=shift), drawn(2, 10, shift=shift), seed=1)
        mean = drawn(6, 1, strange=1.2, shift=0, share=0, cells=400).features
        seen.append(held.network.sigmas_above_usual(held.network.project(mean).mean(axis=0), 400))
    alike, different = seen
    assert alike > ALERT_SIGMAS
    assert different < 2


def test_a_network_that_knows_its_training_groups_too_well_does_not_warn_of_others():
    """What is usual is told by groups that the network did not see."""
    training, validation = drawn(1, 40, shift=0.05), drawn(2, 10, shift=0.6)
    held = feature_statistics(training, validation, seed=1)
    groups = [validation.select(validation.group == name) for name in np.unique(validation.group)]
    found = [
        held.network.sigmas_above_usual(
            held.network.project(each.features).mean(axis=0), len(each.features)
        )
        for each in groups
    ]
    assert np.median(found) < 1
    assert max(found) < 2


def test_too_few_groups_say_nothing_of_runs(tmp_path):
    held = feature_statistics(drawn(1, 3), drawn(2, 2), seed=1)
    assert held.wavelet is None
    assert held.network is None
    held.save(tmp_path / FEATURES_FILE)
    with np.load(tmp_path / FEATURES_FILE, allow_pickle=False) as stored:
        assert set(stored.files) == {"means", "whitening", "distance", "positive", "sample"}


@pytest.mark.parametrize("side", ["training", "validation"])
def test_a_side_of_one_class_is_refused(side):
    sides = {"training": drawn(1, 10), "validation": drawn(2, 3)}
    sides[side] = sides[side].select(~sides[side].positive)
    with pytest.raises(ValueError, match=f"the {side} cells are of one class only"):
        feature_statistics(**sides, seed=1)


def test_features_that_are_no_numbers_are_refused():
    training = drawn(1, 10)
    training.features[5, 2] = np.nan
    with pytest.raises(ValueError, match="features of the training cells are not finite"):
        feature_statistics(training, drawn(2, 3), seed=1)


def test_ctcs_of_one_group_alone_say_nothing_of_runs():
    """Without that group there is nothing to compare it with."""
    training = drawn(1, 20)
    training = training.select(~training.positive | (training.group == "group 0"))
    held = feature_statistics(training, drawn(2, 10), seed=1)
    assert np.isfinite(held.means).all()
    assert held.wavelet is None
    assert held.network is None
