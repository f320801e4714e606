from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from ctcedge.quality.segmentation import Segmentation, segment
from tests.helpers.discs import SIDE, discs, noisy
from tests.helpers.drawn_cells import cell


def segmented(pixels: np.ndarray) -> Segmentation:
    (segmentation,) = segment([pixels])
    return segmentation


def separation_in(pixels: np.ndarray) -> float | None:
    segmentation = segmented(pixels)
    return segmentation.separation if segmentation.low_contrast_objects else None


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


@pytest.mark.parametrize(("x", "contact"), [(0, 0), (-SIDE / 2, 1.0)])
def test_edge_contact_is_the_stretch_in_the_object_over_its_diameter(
    x: float, contact: float
) -> None:
    assert segmented(discs((x, 0, 30))).edge_contact == pytest.approx(contact, abs=0.4)


def test_nothing_is_measured_where_no_object_is() -> None:
    empty = segmented(noisy(np.full((SIDE, SIDE), 128)))
    assert (empty.objects, empty.sharpness, empty.edge_contact) == ((), None, 0.0)
    assert empty.border_activity < 2.2


def test_crops_of_several_sizes_are_segmented_each_by_itself() -> None:
    crops = [discs((0, 0, 24)), cell(24, (64, 80)), discs((9, 0, 24), (-9, 0, 20)), cell(30, 64)]
    together = segment(crops)
    for segmentation, crop in zip(together, crops, strict=True):
        alone = segmented(crop)
        np.testing.assert_array_equal(segmentation.energy, alone.energy)
        assert segmentation.sharpness == alone.sharpness
        assert [o.area for o in segmentation.objects] == [o.area for o in alone.objects]
