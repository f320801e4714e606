"""The loop: deterministic, honest about its data, watched on bright field alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from train.build import INPUT
from train.dataset import LeakError, prepare, split
from train.fit import LOG_NAME, WEIGHTS_NAME, FitSettings, fit
from train.network import Classifier, predict
from train.simulate import simulate_cells

SETTINGS = FitSettings(network="resnet10", width=0.0625, epochs=2, batch_size=16, bf16=False)


@pytest.fixture(scope="module")
def sides():
    cells = simulate_cells(hospitals=3, samples=1, cells=16, seed=2, channels=("BF", "DAPI"))
    images = prepare(cells, INPUT, ("BF", "DAPI"))
    return split(images, by="hospital", validation=1, test=1)


def fitted(sides, folder, settings=SETTINGS):
    training, validation, test = sides
    network = fit(training, validation, settings, INPUT.gain, folder)
    return predict(network, test.inputs, INPUT.gain)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_seed_gives_the_same_weights(sides, tmp_path, bf16):
    settings = replace(SETTINGS, bf16=bf16)
    first = fitted(sides, tmp_path / "first", settings)
    assert np.array_equal(first, fitted(sides, tmp_path / "again", settings))
    other = fitted(sides, tmp_path / "other", replace(settings, seed=2))
    assert not np.array_equal(first, other)


def test_the_callers_randomness_is_left_alone(sides, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fitted(sides, tmp_path, replace(SETTINGS, epochs=1))
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_weights_and_log_lie_in_the_run_folder(sides, tmp_path):
    logits = fitted(sides, tmp_path)
    network = Classifier(SETTINGS.network, SETTINGS.width)
    network.load_state_dict(torch.load(tmp_path / WEIGHTS_NAME, weights_only=True))
    assert np.array_equal(predict(network, sides[2].inputs, INPUT.gain), logits)
    log = json.loads((tmp_path / LOG_NAME).read_text(encoding="utf-8"))
    assert [entry["epoch"] for entry in log["epochs"]] == [1, 2]
    assert log["settings"]["augmentation"]["geometry"] is True


def test_a_sample_on_both_sides_is_refused(sides, tmp_path):
    training, _, _ = sides
    with pytest.raises(LeakError):
        fit(training, training, SETTINGS, INPUT.gain, tmp_path)


def test_one_class_is_refused(sides, tmp_path):
    training, validation, _ = sides
    ctcs = training.select(training.positive)
    with pytest.raises(ValueError, match="one class only"):
        fit(ctcs, validation, SETTINGS, INPUT.gain, tmp_path)


def test_a_loss_that_explodes_is_named(sides, tmp_path):
    with pytest.raises(ValueError, match="loss of epoch 1 is not finite"):
        fitted(sides, tmp_path, replace(SETTINGS, learning_rate=float("inf")))


def test_unknown_network_is_named():
    with pytest.raises(ValueError, match="unknown network 'vgg'"):
        Classifier("vgg")
