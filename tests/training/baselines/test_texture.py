"""Texture features: what they must see, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest

from ctcedge.images.preprocess import InputSpec, network_input
from tests.helpers import drawn_cells
from train.baselines.texture import COUNT, texture_features

INPUT = InputSpec(64, None, 0.1, 0.5, (90.0, 99.0), 0.01, 48.0, crop_px=1.0)


def features(pixels: np.ndarray) -> np.ndarray:
    return texture_features(network_input(pixels, None, INPUT), INPUT)


@pytest.fixture
def cell():
    grain = np.random.default_rng(1).normal(0, 6, (64, 64))
    lopsided = drawn_cells.cell(24, contrast=40).astype(float) + grain
    lopsided[20:30, 24:30] -= 30
    return np.clip(np.rint(lopsided), 0, 255).astype(np.uint8)


def test_there_are_as_many_as_documented(cell):
    found = features(cell)
    assert found.shape == (COUNT,)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


def test_turning_and_mirroring_hardly_matter(cell):
    found = features(cell)
    for turned in (np.rot90(cell), cell[:, ::-1], cell.T):
        assert features(np.ascontiguousarray(turned)) == pytest.approx(found, rel=0.06, abs=0.06)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_input_is_described(level):
    empty = np.full((64, 64), level, dtype=np.uint8)
    assert np.isfinite(texture_features(empty, INPUT)).all()


def test_the_blob_is_measured():
    area, outline, eccentricity, solidity, level, offset = features(drawn_cells.cell(30))[-6:]
    assert area == pytest.approx(np.pi * 15**2, rel=0.1)
    assert outline == pytest.approx(np.pi * 30, rel=0.15)
    assert eccentricity < 0.2
    assert solidity > 0.95
    assert level < 0
    assert offset < 0.5


def test_grain_raises_the_energy_of_the_finest_scale():
    smooth = drawn_cells.cell(30)
    grain = np.random.default_rng(2).normal(0, 8, smooth.shape)
    grainy = np.clip(np.rint(smooth + grain), 0, 255).astype(np.uint8)
    finest_around_the_cell = 18 + 7 + 16 + 1
    gain = features(grainy)[finest_around_the_cell] - features(smooth)[finest_around_the_cell]
    assert gain > 1
