"""What is not said on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from train.data.manifest import ManifestError, Row
from train.fit.presets import PRESETS, input_for, preset_named

CPU = PRESETS["cpu"]


def row(um_per_px):
    return Row("S1", "1", "CTC", "CTC", "gated", um_per_px, {"BF": Path("1_BF.png")})


def test_known_pitch_gives_um_per_px():
    chosen = input_for([row(0.3)], CPU)
    assert (chosen.size, chosen.um_per_px, chosen.crop_px) == (64, 0.5, None)
    assert input_for([row(0.3)], CPU, um_per_px=0.25).um_per_px == 0.25


def test_unknown_pitch_covers_96_crop_pixels():
    assert input_for([row(None)], CPU).crop_px == 1.5
    assert input_for([row(None)], CPU).um_per_px is None
    assert input_for([row(None)], CPU, size=96).crop_px == 1.0
    assert input_for([row(None)], CPU, crop_px=2.0).crop_px == 2.0


def test_the_wrong_unit_is_refused():
    with pytest.raises(ManifestError, match="give --crop-px"):
        input_for([row(None)], CPU, um_per_px=0.5)
    with pytest.raises(ManifestError, match="give --um-per-px"):
        input_for([row(0.5)], CPU, crop_px=1.5)
    with pytest.raises(ManifestError, match="some do not"):
        input_for([row(0.5), row(None)], CPU)
    with pytest.raises(ValueError, match="between 8 and 4,096"):
        input_for([row(0.5)], CPU, size=4)


@pytest.mark.parametrize(
    ("known", "given"), [(0.5, "size"), (0.5, "um_per_px"), (None, "size"), (None, "crop_px")]
)
def test_nothing_is_not_taken_for_the_preset(known, given):
    with pytest.raises(ValueError, match="must"):
        input_for([row(known)], CPU, **{given: 0})


@pytest.mark.parametrize("given", [{"width": 0.01}, {"width": -1}, {"learning_rate": 0}])
def test_settings_that_fit_nothing_are_refused(given):
    with pytest.raises(ValueError, match="is needed"):
        CPU.fit_settings(**given)


def test_families_are_left_out():
    settings = CPU.fit_settings(without=["noise", "geometry"])
    assert not settings.augmentation.noise
    assert not settings.augmentation.geometry
    assert settings.augmentation.illumination
    with pytest.raises(ValueError, match="no augmentation 'light'"):
        CPU.fit_settings(without=["light"])


def test_what_is_given_replaces_the_preset():
    settings = CPU.fit_settings(epochs=3, learning_rate=None, seed=7)
    assert (settings.epochs, settings.seed) == (3, 7)
    assert settings.learning_rate == CPU.settings.learning_rate


def test_another_network_has_width_one():
    assert CPU.fit_settings(network="resnet18").width == 0.5
    assert CPU.fit_settings(network="densenet121").width == 1.0
    assert CPU.fit_settings(network="resnet34", width=0.25).width == 0.25


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_made(name):
    assert preset_named(name).settings.classifier().head.out_features == 1


def test_an_unknown_preset_is_named():
    with pytest.raises(ValueError, match=r"no preset 'fast'.*tiny: seconds"):
        preset_named("fast")
