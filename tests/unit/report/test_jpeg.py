"""Pictures of crops: scales, tiles and strips."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from ctcedge.report.jpeg import (
    bright_field,
    common_scale,
    strip,
    tile_zooms,
)
from tests.helpers.drawn_cells import cell


def test_tiles_share_one_scale_in_um_if_known() -> None:
    assert tile_zooms([72, 72, 36], [0.5, 0.5, 1.0]) == pytest.approx([1, 1, 2])
    assert tile_zooms([144, 144, 72], [None, None, None]) == pytest.approx([0.5, 0.5, 0.5])
    assert tile_zooms([], []) == []


def test_bright_field_does_not_depend_on_exposure_and_depth() -> None:
    dim = bright_field(cell(30, background=60, contrast=30))
    bright = bright_field(cell(30, background=30000, contrast=15000, dtype=np.uint16))
    assert abs(dim.astype(int) - bright).max() <= 3
    assert bright_field(cell(0)).std() < 1
    assert bright_field(np.zeros((8, 8), np.uint8)).shape == (8, 8)


def test_stains_of_a_sample_share_one_scale() -> None:
    faint, strong = cell(20, background=10, contrast=-20), cell(20, background=10, contrast=-200)
    scale = common_scale([faint, strong])
    assert scale.apply(faint).max() < scale.apply(strong).max() / 4
    empty = common_scale([np.full((16, 16), 7, np.uint8)])
    assert empty.apply(np.full((16, 16), 7, np.uint8)).max() == 0


def test_strips_of_unequal_and_large_pictures() -> None:
    one, other = np.zeros((600, 300), np.uint8), np.full((50, 50), 255, np.uint8)
    line, width, height, pitch = strip([one, other])
    assert (width, height, pitch) == (128, 256, 128)
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(line), np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels.shape == (256, 256)
    assert pixels[:, :128].max() < 20
    assert pixels[:, 128:].min() > 235
    assert strip([np.zeros((33, 42), np.uint8)])[1:] == (42, 33, 48)
