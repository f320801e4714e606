from __future__ import annotations

import numpy as np
import pytest

from ctcedge.quality.exposure import View, is_dark, is_offset, saturated_fraction


def test_the_view_is_the_center_without_padding() -> None:
    pixels = np.zeros((60, 80), np.uint8)
    pixels[10:, 20:] = 100
    pixels[30, 50] = 200
    view = View.of(pixels, None, 100)
    assert (view.pixels.shape, view.shorter_side, view.is_whole) == ((50, 60), 50, True)
    assert (view.lowest, view.highest) == (0, 200)
    view = View.of(pixels, None, 30)
    assert (view.pixels.shape, view.shorter_side, view.is_whole) == ((30, 30), 50, False)


def test_a_few_rows_among_zeros_are_not_taken_for_all_there_is() -> None:
    pixels = np.zeros((40, 40), np.uint8)
    pixels[10:15] = 100
    assert View.of(pixels, None, 100).pixels.shape == (40, 40)
    assert View.of(np.zeros_like(pixels), None, 100).pixels.shape == (40, 40)


@pytest.mark.parametrize(
    ("dtype", "bits", "highest", "background", "dark"),
    [
        (np.uint8, 8, 100, 10, True),
        (np.uint8, 8, 100, 11, False),
        (np.uint16, 12, 4000, 160, True),
        (np.uint16, 16, 4000, 165, False),  # values of 12 bits
        (np.uint16, 16, 5000, 500, True),  # values of 14 bits
        (np.uint16, 16, 60000, 2600, True),
    ],
)
def test_the_range_is_that_of_the_values(
    dtype: type, bits: int, highest: int, background: float, dark: bool
) -> None:
    pixels = np.full((20, 20), highest, dtype)
    assert is_dark(View.of(pixels, bits, 100), background) == dark


def test_black_pixels_are_dark() -> None:
    pixels = np.full((20, 20), 100, np.uint8)
    pixels[5:9, 5:9] = 0
    assert is_dark(View.of(pixels, None, 100), 100)


@pytest.mark.parametrize(
    ("highest", "count", "background", "fraction"),
    [
        (255, 40, 100, 0.1),
        (255, 3, 100, 0.0),
        (180, 40, 100, 0.1),  # a peak below the end of the range
        (180, 40, 179, 0.0),  # the background
    ],
)
def test_saturated_pixels(highest: int, count: int, background: float, fraction: float) -> None:
    pixels = np.full((20, 20), 100, np.uint8)
    pixels.ravel()[150 : 150 + count] = highest
    assert saturated_fraction(View.of(pixels, 8, 100), background) == pytest.approx(fraction)


@pytest.mark.parametrize(
    ("pixels", "bits", "offset"),
    [
        (np.arange(33_000, 33_100, dtype=np.uint16).reshape(10, 10), 16, True),
        (np.arange(33_000, 33_100, dtype=np.uint16).reshape(10, 10), None, True),
        (np.arange(32_700, 32_800, dtype=np.uint16).reshape(10, 10), 16, False),
        (np.arange(33_000, 63_000, 300, dtype=np.uint16).reshape(10, 10), 16, False),
        (np.arange(130, 230, dtype=np.uint16).reshape(10, 10) * 257, 16, False),
        (np.full((10, 10), 200, np.uint8), 8, False),
    ],
    ids=["signed", "unknown bits", "some below", "whole range", "8 bits times 257", "8 bits"],
)
def test_signed_values_written_as_unsigned(
    pixels: np.ndarray, bits: int | None, offset: bool
) -> None:
    assert is_offset(View.of(pixels, bits, 100)) == offset
