"""A folder's crops are read by its own settings."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from msgspec import structs

from ctcedge.errors import NoCropsError, SetupError
from ctcedge.images.preprocess import network_input
from train.data.folder import CropFolder
from train.fit.presets import PRESETS

SPEC = structs.replace(PRESETS["cpu"].input, um_per_px=0.5, crop_px=None)


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (60, 60), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}_lamp.png"), pixels)
    (tmp_path / "ctcedge.toml").write_text('[images]\num_per_px = 0.8\nchannels.BF = ["lamp"]\n')
    return tmp_path


def test_the_folders_own_settings_count_where_nothing_else_is_given(folder):
    own, given = CropFolder.read(folder), CropFolder.read(folder, 0.4)
    assert (own.um_per_px, given.um_per_px) == (0.8, 0.4)
    for crops in (own, given):
        seen = [network_input(pixels, crops.um_per_px, SPEC) for pixels in crops.pixels]
        assert np.array_equal(crops.inputs(SPEC), np.stack(seen))
    assert (own.inputs(SPEC) != given.inputs(SPEC)).any()


def test_it_is_said_by_what_um_per_px_they_are_seen(folder):
    crops = CropFolder.read(folder)
    assert crops.scale(SPEC) == "um/px 0.8"
    assert replace(crops, um_per_px=None).scale(SPEC) == (
        "um/px unknown, the model's own 0.5 assumed"
    )
    assert (
        crops.scale(structs.replace(SPEC, um_per_px=None, crop_px=1.0)) == "the model has no um/px"
    )


def test_a_folder_that_cannot_be_used_is_refused(folder, tmp_path):
    with pytest.raises(SetupError, match="does not exist"):
        CropFolder.read(tmp_path / "gone")
    (folder / "3_lamp.png").write_bytes(b"no image")
    (folder / "4_lamp.png").write_bytes(b"no image")
    with pytest.raises(SetupError, match=r"2 crops .* 3_lamp.png \(.*; 4_lamp.png"):
        CropFolder.read(folder)
    (folder / "ctcedge.toml").unlink()
    with pytest.raises(NoCropsError):
        CropFolder.read(folder)
