from __future__ import annotations

import numpy as np
import pytest

from ctcedge.quality.background import downsample, downsampling_factor, subtract_background
from tests.helpers.discs import SIDE, discs, noisy


def subtracted(pixels: np.ndarray) -> tuple[float, np.ndarray]:
    """Level and relative deviation of one crop."""
    background = subtract_background(downsample(pixels)[None])
    return background.levels[0], background.deviations[0]


@pytest.mark.parametrize("shape", [(40, 40), (64, 90), (100, 100), (150, 70)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_slow_light_is_taken_away(shape: tuple[int, int], dtype: type) -> None:
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    light = 120 * (1 + 0.1 * x - 0.07 * y + 0.08 * x**2 + 0.05 * y**2)
    pixels = light.astype(dtype)
    level, flat = subtracted(pixels)
    assert np.abs(flat).max() < 0.02
    assert level == pytest.approx(np.median(light), rel=0.1)
    assert flat.shape == tuple(side // downsampling_factor(*shape) for side in shape)


@pytest.mark.parametrize("lines", [0.1, -0.2])
def test_crossing_lines_are_taken_away(lines: float) -> None:
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    crossing = (np.abs(x - 0.3) < 0.06) | (np.abs(y + 0.2) < 0.06)
    _, flat = subtracted(noisy(128 * (1 + lines * crossing), 0.5))
    assert np.abs(flat).max() < 0.4 * abs(lines)


def test_a_cell_that_meets_the_edge_is_no_light() -> None:
    pixels = discs((-SIDE / 2, 0, 30))
    _, flat = subtracted(pixels)
    assert np.abs(flat[:, flat.shape[1] // 2 :]).max() < 0.06
    assert flat.min() < -0.4
