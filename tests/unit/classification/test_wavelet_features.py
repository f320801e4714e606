from __future__ import annotations

import cv2
import numpy as np
import pytest

from ctcedge.classification.wavelet_features import (
    FEATURE_COUNT,
    MIN_INPUT_SIDE,
    RINGS,
    SCALES,
    wavelet_energies,
)

NOISE = np.random.default_rng(1).integers(0, 256, (3, 64, 64), dtype=np.uint8)


def by_scale(inputs: np.ndarray) -> np.ndarray:
    """Return (n, scales, rings and the whole)."""
    return wavelet_energies(inputs).reshape(len(inputs), SCALES, RINGS + 1)


@pytest.mark.parametrize("side", [MIN_INPUT_SIDE, 96, 99])
def test_every_input_gives_as_many_numbers(side: int) -> None:
    found = wavelet_energies(np.full((2, side, side), 128, np.uint8))
    assert found.shape == (2, FEATURE_COUNT)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.log(0.5) / 2, rtol=1e-6)


def test_a_crop_alone_has_what_it_has_among_others() -> None:
    np.testing.assert_allclose(
        wavelet_energies(NOISE)[1:2], wavelet_energies(NOISE[1:2]), rtol=1e-5
    )


def test_blur_takes_fine_detail_first() -> None:
    blurred = np.stack([cv2.GaussianBlur(each, (0, 0), 1.0) for each in NOISE])
    lost = (by_scale(NOISE) - by_scale(blurred)).mean(axis=(0, 2))
    assert (np.diff(lost) < 0).all()
    assert lost[0] > 1.5
    assert lost[-1] < 0.3


def test_magnification_moves_detail_to_a_coarser_scale() -> None:
    plain = np.stack([cv2.GaussianBlur(each, (0, 0), 1.0) for each in NOISE])
    twice = np.stack([cv2.resize(each, None, fx=2, fy=2)[32:96, 32:96] for each in plain])
    np.testing.assert_allclose(
        by_scale(twice)[:, 1:, 0].mean(axis=0), by_scale(plain)[:, :-1, 0].mean(axis=0), atol=0.35
    )


def test_detail_is_found_in_the_ring_where_it_is() -> None:
    inputs = np.full((1, 64, 64), 128, np.uint8)
    inputs[0, :8, :8] = NOISE[0, :8, :8]
    finest = by_scale(inputs)[0, 0]
    assert finest[2] > 2
    assert finest[:2] == pytest.approx(np.log(0.5) / 2)


def test_mirrored_and_turned_images_have_the_same_detail() -> None:
    for turned in (NOISE[:, ::-1], NOISE[:, :, ::-1], NOISE.transpose(0, 2, 1)):
        np.testing.assert_allclose(
            wavelet_energies(np.ascontiguousarray(turned)), wavelet_energies(NOISE), rtol=1e-4
        )
