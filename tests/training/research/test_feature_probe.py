"""Features as they are and few labels: what is scored, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from train.metrics.roc import roc_auc
from train.research.feature_probe import METHODS


@pytest.fixture
def features():
    """Cells of two classes that two of eight features separate, the first half the pool."""
    chance = np.random.default_rng(1)
    positive = np.arange(400) % 2 == 0
    values = chance.normal(size=(400, 8)) + 2.0 * positive[:, None] * (np.arange(8) < 2)
    return values.astype(np.float32), positive


@pytest.mark.parametrize("name", METHODS)
def test_every_method_scores_cells_without_a_label(features, name):
    values, positive = features
    rows = np.arange(20)
    scores = METHODS[name](values[:200], rows, positive[rows], values[200:])
    assert scores.shape == (200,)
    assert roc_auc(positive[200:], scores) > 0.85


def test_self_training_does_not_look_at_labels_of_the_pool(features):
    values, positive = features
    rows = np.arange(20)
    wrong = ~positive[rows]
    scores = METHODS["self-training"](values[:200], rows, wrong, values[200:])
    assert roc_auc(positive[200:], scores) < 0.15
