"""Each use of DAPI: what is learnt from it, and a result that sees bright field alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from train.fit.batches import Batch
from train.fit.networks import deviation, predict
from train.fit.objectives import STRATEGIES, BrightField, DapiDropout, Student, Teacher
from train.fit.presets import PRESETS
from train.fit.run import FitSettings

SETTINGS = FitSettings(network="resnet10", width=0.0625, bf16=False)
GAIN = PRESETS["tiny"].input.gain
NAMES = (*STRATEGIES, "teacher")


def made(name):
    teacher = Teacher(SETTINGS).network
    torch.manual_seed(1)
    return Student(SETTINGS, teacher) if name == "teacher" else STRATEGIES[name](SETTINGS)


@pytest.fixture
def batch(hospitals):
    cells = hospitals.select(np.arange(8))
    return Batch(
        bright=deviation(cells.bright) / GAIN,
        nucleus=deviation(cells.nucleus) / GAIN,
        has_nucleus=torch.ones(8, dtype=torch.bool),
        target=torch.from_numpy(cells.positive).float(),
        positive_weight=torch.tensor(1.0),
    )


def without_dapi(batch):
    return replace(
        batch,
        nucleus=torch.zeros_like(batch.nucleus),
        has_nucleus=torch.zeros_like(batch.has_nucleus),
    )


def loss(name, batch):
    strategy = made(name)
    torch.manual_seed(2)
    return strategy(batch).item()


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"none"}))
def test_dapi_is_learnt_from(name, batch):
    strange = replace(batch, nucleus=batch.nucleus.flip(0) + 1)
    assert loss(name, batch) != loss(name, strange)
    assert loss("none", batch) == loss("none", strange)


@pytest.mark.parametrize("name", ["samples", "auxiliary", "teacher"])
def test_cells_without_dapi_count_as_bright_field_alone(name, batch):
    assert loss(name, without_dapi(batch)) == pytest.approx(loss("none", batch), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_that_is_fitted_gets_a_gradient(name, batch):
    strategy = made(name).train()
    strategy(batch).backward()
    assert all(parameter.grad is not None for parameter in strategy.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_result_sees_bright_field_alone(name, hospitals):
    strategy = made(name)
    logits = predict(strategy.result(strategy.network), hospitals.bright, GAIN)
    assert np.array_equal(logits, strategy.logits(strategy.network, hospitals, GAIN))


def test_the_absent_channel_folds_away(hospitals):
    strategy = DapiDropout(SETTINGS)
    absent = np.stack((hospitals.bright, np.full_like(hospitals.bright, 128)), 1)
    folded = predict(strategy.result(strategy.network), hospitals.bright, GAIN)
    assert np.allclose(predict(strategy.network, absent, GAIN), folded, atol=1e-5)


def test_the_teacher_sees_dapi(hospitals):
    teacher = Teacher(SETTINGS)
    other = replace(hospitals, nucleus=hospitals.nucleus[::-1].copy())
    seen = teacher.logits(teacher.network, hospitals, GAIN)
    assert not np.allclose(seen, teacher.logits(teacher.network, other, GAIN))


def test_the_teacher_is_not_fitted_with_its_student(batch):
    student = made("teacher")
    assert len(list(student.parameters())) == len(list(BrightField(SETTINGS).parameters()))


@pytest.mark.parametrize("name", ["none", "dropout"])
def test_given_weights_are_started_from(name, hospitals):
    given = SETTINGS.classifier()
    strategy = made(name)
    strategy.start_from(given)
    given.views = 1
    expected = predict(given, hospitals.bright, GAIN)
    assert np.allclose(strategy.logits(strategy.network, hospitals, GAIN), expected, atol=1e-5)
