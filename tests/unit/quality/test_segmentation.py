"""What the quality gate sees in a crop, on drawn ones."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from ctcedge.quality.background import downsample, downsampling_factor, subtract_background
from ctcedge.quality.outline import is_compact, separation
from ctcedge.quality.segmentation import Segmentation, segment
from tests.helpers.support import cell

SIDE = 90


def noisy(values: np.ndarray, noise: float = 1.0) -> np.ndarray:
    drawn = values + np.random.default_rng(0).normal(0, noise, values.shape)
    return np.clip(np.rint(drawn), 0, 255).astype(np.uint8)


def discs(*placed: tuple[float, float, float], value: int = 68) -> np.ndarray:
    """Draw discs (x, y, diameter), x and y from the middle."""
    field = np.full((SIDE, SIDE), 128, np.uint8)
    for x, y, diameter in placed:
        place = round((SIDE / 2 + x) * 16), round((SIDE / 2 + y) * 16)
        cv2.circle(field, place, round(diameter * 8), value, cv2.FILLED, cv2.LINE_AA, 4)
    return noisy(cv2.GaussianBlur(field, (0, 0), 0.7))


def behind(pixels: np.ndarray) -> tuple[float, np.ndarray]:
    """Level and relative deviation of one crop."""
    background = subtract_background(downsample(pixels)[None])
    return background.levels[0], background.deviations[0]


def segmented(pixels: np.ndarray) -> Segmentation:
    (segmentation,) = segment([pixels])
    return segmentation


def separation_in(pixels: np.ndarray) -> float | None:
    segmentation = segmented(pixels)
    return segmentation.separation if segmentation.low_contrast_objects else None


@pytest.mark.parametrize("shape", [(40, 40), (64, 90), (100, 100), (150, 70)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_slow_light_is_taken_away(shape: tuple[int, int], dtype: type) -> None:
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    light = 120 * (1 + 0.1 * x - 0.07 * y + 0.08 * x**2 + 0.05 * y**2)
    pixels = light.astype(dtype)
    level, flat = behind(pixels)
    assert np.abs(flat).max() < 0.02
    assert level == pytest.approx(np.median(light), rel=0.1)
    assert flat.shape == tuple(side // downsampling_factor(*shape) for side in shape)


@pytest.mark.parametrize("lines", [0.1, -0.2])
def test_crossing_lines_are_taken_away(lines: float) -> None:
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    crossing = (np.abs(x - 0.3) < 0.06) | (np.abs(y + 0.2) < 0.06)
    _, flat = behind(noisy(128 * (1 + lines * crossing), 0.5))
    assert np.abs(flat).max() < 0.4 * abs(lines)


def test_a_cell_that_meets_the_edge_is_no_light() -> None:
    pixels = discs((-SIDE / 2, 0, 30))
    _, flat = behind(pixels)
    assert np.abs(flat[:, flat.shape[1] // 2 :]).max() < 0.06
    assert flat.min() < -0.4


@pytest.mark.parametrize(("one", "other"), [(24, 24), (20, 28), (28, 18)])
def test_distance_grows_as_cells_move_apart(one: float, other: float) -> None:
    mean = (one + other) / 2
    found = [
        separation_in(discs((-share * mean / 2, 0, one), (share * mean / 2, 0, other)))
        for share in (0.78, 0.9, 1.0, 1.12)
    ]
    assert None not in found
    assert found == sorted(found)
    assert found[0] < 0.85 < found[2] < 1.05
    assert found[-1] - found[0] > 0.2


@pytest.mark.parametrize("turn", [0.0, 0.4, 0.8, 1.2])
def test_distance_is_the_same_in_every_direction(turn: float) -> None:
    x, y = 12 * math.cos(turn), 12 * math.sin(turn)
    assert separation_in(discs((x, y, 24), (-x, -y, 24))) == pytest.approx(0.97, abs=0.12)


def test_a_round_cell_is_alone() -> None:
    assert segmented(noisy(cell(24, SIDE))).low_contrast_objects == ()


def test_sharpness_falls_with_blur_whatever_the_contrast() -> None:
    found = []
    for blur in (0.5, 3, 7):
        pair = []
        for value in (68, 108, 188):
            drawn = cv2.GaussianBlur(discs((0, 0, 26), value=value), (0, 0), blur)
            pair.append(segmented(noisy(drawn, 0.5)).sharpness)
        assert max(pair) < 1.35 * min(pair)
        found.append(np.mean(pair))
    assert found[0] > 1.1 * found[1] > 1.2 * found[2]


def test_a_line_is_not_two_cells() -> None:
    outline = np.array([[[x, 5]] for x in (*range(30), *range(28, 0, -1))], np.int32)
    assert separation(outline) is None
    assert not is_compact(outline)
