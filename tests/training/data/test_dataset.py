"""Cells as the network sees them, read from manifests or simulated."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ctcedge.images.preprocess import BACKGROUND_LEVEL
from train.data.dataset import (
    CHANNELS,
    cells_from_simulation,
    draw_by_sample,
    read_cells,
    rows_by_sample,
)
from train.data.manifest import ManifestError, Row
from train.fit.presets import PRESETS
from train.simulate import simulate_cells

INPUT = PRESETS["tiny"].input


@pytest.fixture
def rows(tmp_path):
    """Two cells, the second without DAPI, with the pixels of simulated ones."""
    made = []
    for cell in simulate_cells(hospitals=1, samples=1, cells=2, seed=3, channels=CHANNELS):
        images = {}
        for channel in CHANNELS[: 2 - len(made)]:
            images[channel] = tmp_path / f"{cell.cell}_{channel}.png"
            cv2.imwrite(str(images[channel]), cell.images[channel])
        made.append(
            Row("S1", cell.cell, "CTC", "cluster", "gated", cell.um_per_px, images, patient="P1")
        )
    return made


def test_read_cells_are_the_simulated_ones(rows):
    read = read_cells(rows, INPUT, lambda: None)
    cells = simulate_cells(hospitals=1, samples=1, cells=2, seed=3, channels=CHANNELS)
    simulated = cells_from_simulation(cells, INPUT)
    assert np.array_equal(read.bright, simulated.bright)
    assert np.array_equal(read.digest, simulated.digest)
    assert np.array_equal(read.nucleus[0], simulated.nucleus[0])
    assert read.positive.tolist() == [True, True]
    assert read.group.tolist() == ["P1", "P1"]
    assert read.sample.tolist() == ["S1", "S1"]
    assert read.stratum.tolist() == ["cluster", "cluster"]


def test_a_missing_dapi_image_is_background(rows):
    read = read_cells(rows, INPUT, lambda: None)
    assert read.has_nucleus.tolist() == [True, False]
    assert (read.nucleus[1] == BACKGROUND_LEVEL).all()


def test_blank_images_are_not_one_image(rows):
    for row in rows:
        cv2.imwrite(str(row.images["BF"]), np.zeros((20, 20), np.uint8))
    one, other = read_cells(rows, INPUT, lambda: None).digest
    assert one != other


def test_every_image_that_cannot_be_read_is_named(rows):
    for row in rows:
        row.images["BF"].write_bytes(b"no image")
    with pytest.raises(ManifestError, match="images of 2 cells cannot be read") as error:
        read_cells(rows, INPUT, lambda: None)
    assert all(f"cell {row.cell} of sample S1" in str(error.value) for row in rows)


def test_cells_have_both_channels(hospitals):
    assert len(hospitals) == 64
    assert hospitals.bright.shape == hospitals.nucleus.shape == (64, INPUT.size, INPUT.size)
    assert hospitals.bright.dtype == hospitals.nucleus.dtype == np.uint8
    assert hospitals.has_nucleus.all()
    assert len(np.unique(hospitals.group)) == 4
    assert len(np.unique(hospitals.digest)) == 64


def test_selected_cells_keep_their_columns(hospitals):
    chosen = hospitals.select(hospitals.positive)
    assert chosen.positive.all()
    assert len(chosen.digest) == len(chosen) == hospitals.positive.sum()


def test_every_sample_is_drawn_from_alike(hospitals):
    drawn = draw_by_sample(hospitals, 12, seed=1)
    for kind in (True, False):
        _, counts = np.unique(drawn.sample[drawn.positive == kind], return_counts=True)
        assert sorted(counts) == [1, 1, 2, 2]
    assert np.array_equal(draw_by_sample(hospitals, 12, seed=1).digest, drawn.digest)
    assert len(draw_by_sample(hospitals, 10**6, seed=1)) == 64


@pytest.mark.parametrize(("ctcs", "drawn"), [(0, 0), (7, 7), (30, 20), (3_990, 30), (4_000, 40)])
def test_the_rarer_class_is_drawn_whole_up_to_half(ctcs, drawn):
    positive = np.random.default_rng(1).permutation(4_000) < ctcs
    sample = np.repeat([f"sample {number}" for number in range(4)], 1_000)
    rows = rows_by_sample(sample, positive, 40, seed=1)
    assert len(np.unique(rows)) == 40
    assert positive[rows].sum() == drawn
