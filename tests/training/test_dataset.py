"""Splits by group, never by cell."""

from __future__ import annotations

import numpy as np
import pytest

from train.build import INPUT
from train.dataset import LeakError, draw_by_sample, prepare, refuse_leak, split
from train.simulate import simulate_cells


@pytest.fixture(scope="module")
def images():
    cells = simulate_cells(hospitals=4, samples=2, cells=4, seed=3, channels=("BF", "DAPI"))
    return prepare(cells, INPUT, ("BF", "DAPI"))


def test_each_channel_of_a_cell_is_a_row(images):
    assert len(images) == 4 * 2 * 4 * 2
    assert images.inputs.shape == (64, INPUT.size, INPUT.size)
    assert images.inputs.dtype == np.uint8
    bright, dapi = images.of("BF"), images.of("DAPI")
    assert len(bright) == len(dapi) == 32
    assert (bright.positive == dapi.positive).all()


def test_no_image_of_the_channel_is_an_error():
    cells = simulate_cells(hospitals=1, samples=1, cells=1, seed=3, channels=("BF",))
    with pytest.raises(ValueError, match="no image of channel PE"):
        prepare(cells, INPUT, ("PE",))


@pytest.mark.parametrize("by", ["hospital", "sample"])
def test_sides_share_no_group_and_lose_no_row(images, by):
    sides = split(images, by=by, validation=1, test=2)
    assert sum(map(len, sides)) == len(images)
    assert [len(np.unique(side.groups(by))) for side in sides[1:]] == [1, 2]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not set(sides[one].groups(by)) & set(sides[other].groups(by))


def test_too_few_groups_are_refused(images):
    with pytest.raises(ValueError, match="4 hospitals are too few"):
        split(images, by="hospital", validation=2, test=2)


def test_a_split_by_cell_is_refused(images):
    even = np.arange(len(images)) % 2 == 0
    with pytest.raises(LeakError, match="sample 'h00/h00s00' stands on both sides"):
        refuse_leak(images.select(even), images.select(~even), by="sample")


def test_a_split_by_sample_leaks_hospitals(images):
    first = np.char.endswith(images.sample, "s00")
    one, other = images.select(first), images.select(~first)
    refuse_leak(one, other, by="sample")
    with pytest.raises(LeakError, match="hospital 'h00'"):
        refuse_leak(one, other, by="hospital")


def test_every_sample_is_drawn_from_alike(images):
    drawn = draw_by_sample(images, 20, seed=1)
    _, counts = np.unique(drawn.sample, return_counts=True)
    assert len(drawn) == 20
    assert len(counts) == 8
    assert set(counts) == {2, 3}
    assert (draw_by_sample(images, 20, seed=1).inputs == drawn.inputs).all()
    assert len(draw_by_sample(images, 10**6, seed=1)) == len(images)
