from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs

from ctcedge.classification.classifier import Classifier
from ctcedge.images.decode import decode
from ctcedge.images.preprocess import BACKGROUND_LEVEL, InputSpec, network_input, network_inputs
from ctcedge.records import revised
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, REVIEW, UM_PER_PX, cell, encoded

SPEC = InputSpec(64, UM_PER_PX, 0.1, 0.5, (90.0, 99.0), 0.01, 48.0)


def diameter(window: np.ndarray) -> float:
    """Diameter of the disk in a network input, by its area."""
    inside = np.abs(window.astype(float) - BACKGROUND_LEVEL) > 24
    return float(2 * np.sqrt(inside.sum() / np.pi))


def test_the_input_is_square_and_its_background_is_128() -> None:
    window = network_input(cell(20, side=(90, 50)), UM_PER_PX, SPEC)
    assert window.shape == (64, 64)
    assert window.dtype == np.uint8
    assert set(window[0]) == {BACKGROUND_LEVEL}


@pytest.mark.parametrize("gain", [0.3, 1, 16, 200])
@pytest.mark.parametrize("offset", [0, 100, 1000])
def test_gain_and_offset_do_not_matter(gain: float, offset: float) -> None:
    values = gain * cell(20).astype(float) + offset
    shifted = network_input(np.rint(values).astype(np.uint16), UM_PER_PX, SPEC)
    plain = network_input(cell(20), UM_PER_PX, SPEC)
    assert np.abs(shifted.astype(int) - plain).max() <= 3


@pytest.mark.parametrize("size", [LEUKOCYTE, 20, REVIEW, CTC])
@pytest.mark.parametrize("contrast", [24, 60])
def test_bit_depth_does_not_change_the_probability(
    classifier: Classifier, size: int, contrast: float
) -> None:
    noise = np.random.default_rng(size).normal(0, 1, (64, 64))
    exact = cell(size, background=128, contrast=contrast, dtype=float) + noise
    probabilities = []
    for factor, dtype in ((1, np.uint8), (16, np.uint16), (257, np.uint16)):
        for suffix in (".png", ".tif"):
            stored = encoded(np.rint(exact * factor).astype(dtype), suffix)
            (verdict,) = classifier.classify([decode(stored).pixels], UM_PER_PX)
            probabilities.append(verdict.probability)
    assert max(probabilities) - min(probabilities) <= 0.02


@pytest.mark.parametrize("um_per_px", [0.2, 0.31, 0.5, 0.645, 1.0])
@pytest.mark.parametrize("um", [8.0, 14.0])
def test_a_disk_of_known_um_has_its_size_at_the_input(um: float, um_per_px: float) -> None:
    drawn = cell(um / um_per_px, side=round(40 / um_per_px))
    window = network_input(drawn, um_per_px, SPEC)
    assert diameter(window) == pytest.approx(um / SPEC.um_per_px, abs=1.2)


@pytest.mark.parametrize("side", [(40, 64), (64, 40), (33, 200), (200, 33)])
def test_a_narrow_crop_is_padded_and_never_stretched(side: tuple[int, int]) -> None:
    window = network_input(cell(20, side=side), UM_PER_PX, SPEC)
    inside = np.abs(window.astype(float) - BACKGROUND_LEVEL) > 24
    rows, columns = inside.any(1).sum(), inside.any(0).sum()
    assert abs(int(rows) - int(columns)) <= 1
    assert diameter(window) == pytest.approx(20, abs=1)


def test_a_model_that_knows_no_um_per_px_takes_every_crop_alike() -> None:
    spec = structs.replace(SPEC, um_per_px=None, crop_px=2.0)
    window = network_input(cell(40, side=128), None, spec)
    assert diameter(window) == pytest.approx(20, abs=1)
    np.testing.assert_array_equal(window, network_input(cell(40, side=128), 0.3, spec))


def test_padding_is_background() -> None:
    window = network_input(cell(10, side=20), UM_PER_PX, SPEC)
    outside = np.ones_like(window, bool)
    outside[22:42, 22:42] = False
    assert set(window[outside]) == {BACKGROUND_LEVEL}


def test_the_middle_is_kept_when_cropping() -> None:
    window = network_input(cell(20, side=301), UM_PER_PX, SPEC)
    inside = np.argwhere(np.abs(window.astype(float) - BACKGROUND_LEVEL) > 24)
    np.testing.assert_allclose(inside.mean(0), 31.5, atol=1)


def test_noise_of_an_empty_crop_is_not_blown_up() -> None:
    noise = np.random.default_rng(0).normal(128, 0.4, (64, 64))
    window = network_input(np.rint(noise).astype(np.uint8), UM_PER_PX, SPEC)
    assert np.abs(window.astype(int) - BACKGROUND_LEVEL).max() < 3 * SPEC.gain


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("um_per_px", [0.01, 0.5, 20])
def test_a_flat_crop_is_all_background(value: int, um_per_px: float) -> None:
    window = network_input(np.full((8, 9), value, np.uint8), um_per_px, SPEC)
    assert set(window.ravel()) == {BACKGROUND_LEVEL}


def test_shrinking_averages() -> None:
    noise = cell(60, side=128).astype(float) + np.random.default_rng(0).normal(0, 10, (128, 128))
    window = network_input(np.rint(noise).astype(np.uint8), UM_PER_PX / 2, SPEC)
    assert window[:8].std() == pytest.approx(SPEC.gain * 10 / 2 / 60, rel=0.3)


def test_the_given_pixels_are_left_alone() -> None:
    pixels = cell()
    before = pixels.copy()
    network_input(pixels, UM_PER_PX, SPEC)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0},
        {"um_per_px": 0.0},
        {"um_per_px": None},
        {"crop_px": 1.0},
        {"um_per_px": None, "crop_px": 0.0},
        {"border": 0.7},
        {"disk": 0.0},
        {"contrast": (90.0, 101.0)},
        {"floor": -1.0},
        {"gain": 0.0},
    ],
)
def test_impossible_expectations_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        revised(SPEC, **change)


@pytest.mark.parametrize("side", [8, 9, 33, 100])
def test_bytes_and_words_of_the_same_values_give_the_same_input(side: int) -> None:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side + 3)).astype(np.uint8)
    assert (
        network_input(pixels, 0.4, SPEC) == network_input(pixels.astype(np.uint16), 0.4, SPEC)
    ).all()


@pytest.mark.parametrize("um_per_px", [0.3, UM_PER_PX, 0.7])
def test_a_crop_comes_out_alike_alone_and_among_others(um_per_px: float) -> None:
    rng = np.random.default_rng(0)
    crops = [
        rng.integers(0, 256 * scale, (side, side + wider)).astype(dtype)
        for side in (9, 64, 101)
        for wider in (0, 5)
        for dtype, scale in ((np.uint8, 1), (np.uint16, 16))
    ]
    alone = [network_input(crop, um_per_px, SPEC) for crop in crops]
    np.testing.assert_array_equal(network_inputs(crops, um_per_px, SPEC), alone)
