"""Features of a network, and a head that is fitted on them alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from train.fit.head import fit_head, network_features
from train.fit.networks import Classifier, predict
from train.fit.presets import PRESETS

GAIN = PRESETS["tiny"].input.gain


@pytest.fixture
def network():
    torch.manual_seed(1)
    return Classifier("resnet10", 0.0625, views=8)


def test_features_do_not_depend_on_the_orientation(hospitals, network):
    turned = np.ascontiguousarray(np.rot90(hospitals.bright[:4], axes=(1, 2)))
    described = network_features(network, hospitals.bright[:4], GAIN)
    assert np.allclose(described, network_features(network, turned, GAIN), atol=1e-4)


def test_batches_do_not_matter(hospitals, network):
    whole = network_features(network, hospitals.bright, GAIN)
    parts = network_features(network, hospitals.bright, GAIN, batch_size=24)
    assert whole.shape == (len(hospitals), network.head.in_features)
    assert np.allclose(whole, parts, atol=1e-4)


def test_the_head_gives_the_logits_of_the_regression(hospitals, network):
    features = network_features(network, hospitals.bright, GAIN)
    fit_head(network, features, hospitals.positive)
    standard = (features - features.mean(0)) / (features.std(0) + 1e-6)
    regression = LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
    expected = regression.fit(standard, hospitals.positive).decision_function(standard)
    assert np.allclose(predict(network, hospitals.bright, GAIN), expected, atol=1e-2)
