"""Two views of a crop: one geometry for all channels, light and focus of each view its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from train.fit.augment import Augmentation
from train.fit.distributed import ProcessGroup
from train.pretrain.settings import PretrainSettings, ViewSettings
from train.pretrain.views import ViewLoader

ONE = ProcessGroup(0, 1, torch.device("cpu"))
STILL = Augmentation(geometry=False, illumination=False, noise=False)
SETTINGS = PretrainSettings(batch_size=16)


def loader(crops, settings=SETTINGS, processes=ONE):
    return ViewLoader(crops, settings, 32.0, processes, torch.contiguous_format)


def views(**changes):
    return ViewSettings(**({"augmentation": STILL, "offset": 0.0, "defocus": 0.0} | changes))


def first_batch(crops, settings, step=0, processes=ONE):
    made = loader(crops, settings, processes)
    return made.batch(made.order(0)[0], step)


def test_an_epoch_has_each_crop_once(simulated):
    made = loader(simulated.crops)
    for epoch in (0, 1):
        rows = np.concatenate(made.order(epoch))
        assert sorted(rows) == list(range(len(simulated.crops)))
    assert not np.array_equal(made.order(0)[0], made.order(1)[0])


def test_a_step_depends_on_its_number_and_the_seed(simulated):
    one, again = (first_batch(simulated.crops, SETTINGS, 3) for _ in range(2))
    assert torch.equal(one.bright, again.bright)
    assert not torch.equal(one.bright, first_batch(simulated.crops, SETTINGS, 4).bright)
    seeded = replace(SETTINGS, seed=2)
    assert not torch.equal(one.bright, first_batch(simulated.crops, seeded, 3).bright)


def test_the_views_of_a_crop_differ_and_show_it(simulated):
    batch = first_batch(simulated.crops, replace(SETTINGS, views=views()))
    first, second = batch.bright.chunk(2)
    assert torch.equal(first, second)
    batch = first_batch(simulated.crops, SETTINGS)
    first, second = batch.bright.chunk(2)
    assert all(not torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("change", [{"defocus": 3.0}, {"offset": 10.0}])
def test_focus_and_background_are_of_each_view(simulated, change):
    batch = first_batch(simulated.crops, replace(SETTINGS, views=views(**change)))
    first, second = batch.bright.chunk(2)
    assert not torch.equal(first, second)
    if "offset" in change:
        differ = (first - second).flatten(1)
        assert torch.allclose(differ.std(1), torch.zeros(len(differ)), atol=0.1)


def test_stains_have_the_geometry_of_the_view_and_nothing_else(simulated):
    crops = replace(simulated.crops, stains=np.repeat(simulated.crops.bright[:, None], 3, axis=1))
    settings = replace(
        SETTINGS, objectives=("stains",), views=views(augmentation=replace(STILL, geometry=True))
    )
    batch = first_batch(crops, settings)
    assert torch.equal(batch.stains, batch.bright.expand(-1, 3, -1, -1))
    lit = replace(settings, views=views(augmentation=replace(STILL, illumination=True)))
    batch = first_batch(crops, lit)
    first, second = batch.stains.chunk(2)
    assert torch.equal(first, second)
    assert not torch.equal(batch.bright, batch.stains[:, :1])


def test_stains_are_left_out_where_no_objective_needs_them(simulated):
    batch = first_batch(simulated.crops, SETTINGS)
    assert batch.stains.shape[1] == batch.has_stain.shape[1] == 0
    assert batch.hidden is None and batch.whole is batch.bright


def test_hidden_squares_are_background(simulated):
    settings = replace(SETTINGS, objectives=("masked",))
    batch = first_batch(simulated.crops, settings)
    assert batch.hidden.float().mean() == pytest.approx(0.5, abs=0.1)
    assert (batch.bright[batch.hidden] == 0).all()
    assert torch.equal(batch.bright[~batch.hidden], batch.whole[~batch.hidden])


def test_negatives_of_the_sample_come_in_runs(simulated):
    made = loader(simulated.crops, replace(SETTINGS, negatives="sample"))
    rows = np.concatenate(made.order(0))
    samples = simulated.crops.sample[rows]
    assert (samples[1:] == samples[:-1]).mean() > 0.8
    assert sorted(rows) == list(range(len(simulated.crops)))


def test_processes_divide_a_step(simulated):
    parts = [
        first_batch(simulated.crops, SETTINGS, processes=ProcessGroup(rank, 2, torch.device("cpu")))
        for rank in (0, 1)
    ]
    assert sum(len(part.sample) for part in parts) == len(loader(simulated.crops).order(0)[0])
    assert not torch.equal(parts[0].bright[0], parts[1].bright[0])
