"""What makes a crop hard to tell is measured on drawn ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from train.research.cell_traits import Traits, traits_of


def crop(contrast=30.0, blur=0.0, radius=15, middle=(50, 50), grain=4.0):
    """Bright field of a grainy disk, and its nucleus image."""
    chance = np.random.default_rng(4)
    row, column = np.indices((100, 100))
    inside = np.hypot(column - middle[0], row - middle[1]) < radius
    structure = contrast * inside * chance.choice((-1, 1), (100, 100)).astype(np.float32)
    structure += contrast * inside * np.sign(column - middle[0])
    if blur:
        structure = cv2.GaussianBlur(structure, (0, 0), blur)
    bright = 128 + structure + chance.normal(0, grain, (100, 100))
    nucleus = 10 + 150 * inside + chance.normal(0, 3, (100, 100))
    return [np.clip(image, 0, 255).astype(np.uint8) for image in (bright, nucleus)]


def measured(**changes):
    found = traits_of(*crop(**changes))
    return Traits(*np.array([found]).T)


def test_blur_takes_fine_structure_and_leaves_coarse():
    sharp, blurred = measured(), measured(blur=3.0)
    assert blurred.sharpness[0] < 0.4 * sharp.sharpness[0]
    assert blurred.contrast[0] > 0.5 * sharp.contrast[0]


def test_a_cell_that_cannot_be_seen_is_like_its_background():
    unseen = measured(contrast=0.0)
    assert unseen.sharpness[0] == pytest.approx(1, abs=0.15)
    assert measured(contrast=10.0).contrast[0] > 2 * unseen.contrast[0]


def test_size_and_place_are_those_of_the_stained_region():
    found = measured(radius=12, middle=(30, 55))
    assert found.diameter[0] == pytest.approx(24, abs=2.5)
    assert found.edge[0] == pytest.approx(30, abs=1)
    assert measured(middle=(50, 80)).edge[0] == pytest.approx(19, abs=1)


def test_the_region_nearest_to_the_middle_counts():
    bright, nucleus = crop(radius=10)
    nucleus[:20, :40] = 200
    assert traits_of(bright, nucleus)[2] == pytest.approx(20, abs=2.5)


def test_an_even_nucleus_image_is_refused():
    bright, _ = crop()
    with pytest.raises(ValueError, match="uniform"):
        traits_of(bright, np.full((100, 100), 7, np.uint8))
