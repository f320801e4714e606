"""The three families: each acts alone, none moves the background."""

from __future__ import annotations

import pytest
import torch

from train.fit.augment import Augmentation

OFF = {"geometry": False, "illumination": False, "noise": False}
FAMILIES = tuple(OFF)


def only(family: str, **strength: float) -> Augmentation:
    return Augmentation(**(OFF | {family: True}), **strength)


def chance(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def cells() -> torch.Tensor:
    """Four equal images: a bright square, off centre, on plain background."""
    images = torch.zeros(4, 1, 64, 64)
    images[..., 20:36, 26:42] = 60
    return images


def test_all_off_changes_nothing(cells):
    assert torch.equal(Augmentation(**OFF)(cells, chance()), cells)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_alone_changes_each_image_differently(cells, family):
    out = only(family)(cells, chance())
    assert out.shape == cells.shape
    assert out.dtype == torch.float32
    assert out.min() >= -128
    assert out.max() <= 127
    assert not torch.equal(out[0], cells[0])
    assert not torch.equal(out[0], out[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_seed_decides(cells, family):
    augment = only(family)
    assert torch.equal(augment(cells, chance()), augment(cells, chance()))
    assert not torch.equal(augment(cells, chance()), augment(cells, chance(2)))


def test_geometry_pads_with_background():
    empty = torch.zeros(4, 1, 64, 64)
    assert torch.equal(only("geometry")(empty, chance()), empty)


def test_geometry_keeps_the_area_within_the_scale_jitter(cells):
    area = only("geometry")(cells, chance()).sum(dim=(1, 2, 3)) / cells.sum(dim=(1, 2, 3))
    assert ((area > 0.88) & (area < 1.12)).all()


def test_geometry_rotates_without_shear():
    bar = torch.zeros(64, 1, 64, 64)
    bar[..., 30:34, 12:52] = 100
    out = only("geometry", shift=0.0, scale=0.0)(bar, chance())
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    weight = out[:, 0] / out[:, 0].sum(dim=(1, 2), keepdim=True)
    spread = (weight * ((x - 31.5) ** 2 + (y - 31.5) ** 2)).sum(dim=(1, 2))
    expected = (40**2 + 4**2 - 2) / 12
    assert torch.allclose(spread, torch.full_like(spread, expected), rtol=0.03)


def test_light_tilts_about_the_background(cells):
    out = only("illumination")(torch.zeros_like(cells), chance())
    assert torch.allclose(out.mean(dim=(1, 2, 3)), torch.zeros(4), atol=1e-4)
    assert out.abs().max() > 1


def test_contrast_and_gamma_leave_the_background(cells):
    out = only("illumination", tilt=0.0)(cells, chance())
    assert (out[cells == 0] == 0).all()
    assert (out[cells > 0] > 0).all()


def test_noise_keeps_the_mean(cells):
    out = only("noise")(cells, chance())
    assert torch.allclose(out.mean(), cells.mean(), atol=0.5)


def test_channels_are_moved_alike(cells):
    both_channels = torch.cat((cells, 0.5 * cells), 1)
    out = only("geometry")(both_channels, chance())
    assert torch.allclose(out[:, 1], 0.5 * out[:, 0], atol=1e-5)


@pytest.mark.parametrize("family", ["illumination", "noise"])
def test_channels_differ_in_light_and_noise(cells, family):
    out = only(family)(torch.cat((cells, cells), 1), chance())
    assert not torch.allclose(out[:, 0], out[:, 1])


def test_blur_spreads_a_point_evenly():
    point = torch.zeros(1, 1, 9, 9)
    point[..., 4, 4] = 256.0
    out = only("noise", blur=1.0, noise_levels=0.0, coarseness=1.0)(point, chance())[0, 0]
    assert out.sum() == pytest.approx(256, abs=8)
    assert torch.equal(out, out.T)
    assert torch.equal(out, out.flip(0))
    assert out[4, 4] < 256
