"""Quality checks of drawn crops."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest

from ctcedge.images.decode import CropImage
from ctcedge.images.preprocess import network_inputs
from ctcedge.model.folder import load_model
from ctcedge.quality.checks import Quality, assess
from tests.helpers.drawn_cells import cell

SPEC = load_model(None).spec.input
UM_PER_PX = 0.5
NOISE = 1.0


def judge(
    pixels: np.ndarray, um_per_px: float | None = UM_PER_PX, bits: int | None = None
) -> Quality:
    (quality,) = assess(
        [CropImage(pixels, bits)], network_inputs([pixels], um_per_px, SPEC), um_per_px, SPEC
    )
    return quality


def noisy(pixels: np.ndarray, noise: float = NOISE, seed: int = 0) -> np.ndarray:
    values = pixels + np.random.default_rng(seed).normal(0, noise, pixels.shape)
    return np.clip(np.rint(values), 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)


def pair(distance: float, size: float = 24, other: float = 24, side: int = 90) -> np.ndarray:
    """Two dark disks in a noisy field, their middles `distance` pixels from each other."""
    field = np.full((side, side), 128, np.uint8)
    for diameter, x in ((size, -distance / 2), (other, distance / 2)):
        place = round((side / 2 + x) * 16), round(side / 2 * 16)
        cv2.circle(field, place, round(diameter * 8), 68, cv2.FILLED, cv2.LINE_AA, 4)
    return noisy(cv2.GaussianBlur(field, (0, 0), 0.7))


@pytest.mark.parametrize("diameter", [14, 16, 24, 32, 40])
@pytest.mark.parametrize("side", [64, 80, (64, 90), 110])
@pytest.mark.parametrize("noise", [0.0, 1.0, 4.0])
def test_a_plain_cell_passes(diameter: int, side: int | tuple[int, int], noise: float) -> None:
    quality = judge(noisy(cell(diameter, side), noise))
    assert quality.reasons == ()
    assert not quality.cluster
    assert quality.measures["cells"] == 1
    area = math.pi / 4 * diameter**2 * UM_PER_PX**2
    assert quality.measures["area_um2"] == pytest.approx(area, rel=1.4)


@pytest.mark.parametrize(
    ("factor", "bits"), [(1, 8), (4, 10), (16, 12), (64, 14), (257, 16), (16, 16)]
)
@pytest.mark.parametrize("contrast", [60, -60])
def test_bit_depth_changes_no_reason(factor: int, bits: int, contrast: float) -> None:
    plain = noisy(cell(contrast=contrast))
    deep = (plain.astype(np.uint16) * factor) if factor > 1 else plain
    assert judge(deep, bits=bits).reasons == judge(deep).reasons == ()


@pytest.mark.parametrize("value", [1, 128, 200])
def test_a_flat_crop_is_empty(value: int) -> None:
    quality = judge(np.full((64, 64), value, np.uint8))
    assert "empty" in quality.reasons
    assert quality.measures == {"cells": 0.0, "saturated": quality.measures["saturated"]}


@pytest.mark.parametrize("side", [40, 64, 100])
def test_noise_is_empty_and_seldom_anything_else(side: int) -> None:
    field = np.full((side, side), 3000, np.uint16)
    reasons = [judge(noisy(field, 60, seed)).reasons for seed in range(50)]
    assert sum("empty" in each for each in reasons) >= 40
    assert not any("multiple-objects" in each or "overlap" in each for each in reasons)


def backlight(side: int, lines: float) -> np.ndarray:
    """Light that varies over a crop, over two crossing electrodes."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    light = 1 + 0.08 * x - 0.06 * y + 0.06 * (x**2 + y**2)
    across, along = np.abs(x + 0.1) < 0.06, np.abs(y - 0.2) < 0.06
    return np.asarray(light * np.where(across | along, 1 - lines, 1))


def test_uneven_light_is_no_cell() -> None:
    assert judge(noisy((110 * backlight(80, 0)).astype(np.uint8))).reasons == ("empty",)


@pytest.mark.parametrize("lines", [0.0, 0.1, 0.25, -0.25])
def test_neither_uneven_light_nor_electrodes_gate_a_cell(lines: float) -> None:
    values = backlight(80, lines) * cell(26, 80).astype(float)
    quality = judge(noisy(values.astype(np.uint8)))
    assert quality.reasons == ()
    assert not quality.cluster


@pytest.mark.parametrize("contrast", [60, -60])
@pytest.mark.parametrize("edge", range(4))
def test_a_cell_that_the_edge_cuts_is_found_on_every_side(contrast: float, edge: int) -> None:
    half = noisy(cell(28, 80, contrast=contrast))[:, : 80 // 2]
    assert "truncated" in judge(np.rot90(half, edge).copy()).reasons


def test_black_padding_is_no_part_of_the_crop() -> None:
    whole, half = np.zeros((2, 80, 80), np.uint8)
    whole[:, 10:] = noisy(cell(24, (80, 70)))
    half[:, 40:] = noisy(cell(24, 80))[:, 40:]
    assert judge(whole).reasons == ()
    assert "truncated" in judge(half).reasons
    assert "under-exposed" not in judge(half).reasons


@pytest.mark.parametrize(
    ("distance", "reasons", "cluster", "cells"),
    [
        (0, (), False, 1),
        (18, ("overlap",), False, 2),
        (24, (), True, 2),
        (28, ("multiple-objects",), False, 2),
        (36, ("multiple-objects",), False, 2),
    ],
)
def test_neighbours_clusters_and_overlaps_are_distinguished(
    distance: float, reasons: tuple[str, ...], cluster: bool, cells: int
) -> None:
    quality = judge(pair(distance))
    assert (quality.reasons, quality.cluster) == (reasons, cluster)
    assert quality.measures["cells"] == cells


@pytest.mark.parametrize("turn", range(4))
def test_a_cluster_is_one_in_every_direction(turn: int) -> None:
    assert judge(np.rot90(pair(25), turn).copy()).cluster


@pytest.mark.parametrize("contrast", [-40, -25, -18])
def test_a_paler_cell_is_a_neighbour_too(contrast: float) -> None:
    def beside(distance: int) -> Quality:
        dark, pale = np.roll(cell(24, 90), -(distance // 2), 1), cell(24, 90, contrast=contrast)
        both = dark.astype(int) + np.roll(pale, distance - distance // 2, 1) - 128
        return judge(noisy(both.astype(np.uint8), 0.7))

    assert beside(40).reasons == ("multiple-objects",)
    assert beside(22).cluster


@pytest.mark.parametrize("turn", [0, 20, 45])
def test_a_cell_with_a_tail_is_one_cell(turn: float) -> None:
    field = np.full((90, 90), 128, np.uint8)
    cv2.ellipse(field, (45, 45), (14, 12), 0, 0, 360, 68, cv2.FILLED, cv2.LINE_AA)
    cv2.line(field, (45, 45), (80, 45), 68, 4, cv2.LINE_AA)
    about = cv2.getRotationMatrix2D((45, 45), turn, 1)
    turned = cv2.warpAffine(field, about, (90, 90), borderValue=128)
    quality = judge(noisy(turned))
    assert quality.reasons == ()
    assert not quality.cluster


def test_an_oval_cell_is_one_cell() -> None:
    field = np.full((80, 80), 128, np.uint8)
    cv2.ellipse(field, (40, 40), (18, 10), 30, 0, 360, 68, cv2.FILLED, cv2.LINE_AA)
    quality = judge(noisy(field))
    assert quality.reasons == ()
    assert not quality.cluster


def test_a_speck_is_no_neighbour() -> None:
    assert judge(pair(34, size=24, other=6)).reasons == ()


def test_what_the_network_does_not_see_is_no_neighbour() -> None:
    field = np.full((300, 300), 128, np.uint8)
    field[118:182, 118:182] = cell(24)
    field[118:182, 10:74] = cell(32)
    assert judge(noisy(field)).reasons == ()


@pytest.mark.parametrize(
    ("full", "bits"), [(255, 8), (1023, 16), (4095, 16), (4095, 12), (65535, 16), (4080, 16)]
)
def test_saturation_is_told_from_the_values(full: int, bits: int) -> None:
    dtype = np.uint8 if bits == 8 else np.uint16
    values = noisy(cell(background=100, contrast=-40)).astype(float) * full / 140
    below, clipped = np.minimum(values * 0.8, full), np.minimum(values * 1.3, full)
    assert judge(below.astype(dtype), bits=bits).reasons == ()
    quality = judge(clipped.astype(dtype), bits=bits)
    assert "over-exposed" in quality.reasons
    assert quality.measures["saturated"] > 0.04


def test_a_pile_below_the_full_range_is_saturation_too() -> None:
    values = noisy(cell(contrast=-60).astype(np.uint16) * 10, 12)
    assert judge(values).reasons == ()
    assert "over-exposed" in judge(np.minimum(values, 1700)).reasons


@pytest.mark.parametrize(("full", "bits"), [(255, 8), (4095, 12), (4095, 16)])
def test_a_dark_crop_is_under_exposed(full: int, bits: int) -> None:
    dtype = np.uint8 if bits == 8 else np.uint16
    values = noisy(cell()).astype(float) / 128 * full
    assert "under-exposed" in judge((values * 0.03).astype(dtype), bits=bits).reasons
    assert judge((values * 0.15).astype(dtype), bits=bits).reasons == ()


def test_pixels_at_zero_are_under_exposed() -> None:
    values = noisy(cell(background=60, contrast=59)).astype(int) - 20
    assert "under-exposed" in judge(np.maximum(values, 0).astype(np.uint8)).reasons


def test_what_needs_a_scale_is_not_said_without_one() -> None:
    small = noisy(cell(8, 64))
    known, unknown = judge(small, UM_PER_PX), judge(small, None)
    assert "debris" in known.reasons and "area_um2" in known.measures
    assert "debris" not in unknown.reasons and "area_um2" not in unknown.measures
    area = known.measures["area_um2"] / UM_PER_PX**2
    assert unknown.measures["area_px"] == pytest.approx(area, abs=1)
    assert "low-resolution" in judge(cell(8, 32), 1.5).reasons
    assert "low-resolution" not in judge(cell(8, 32), None).reasons


def test_two_pieces_of_debris_are_neighbours_only_without_a_scale() -> None:
    pieces = pair(30, size=6, other=6)
    assert "multiple-objects" not in judge(pieces, UM_PER_PX).reasons
    assert "multiple-objects" in judge(pieces, None).reasons


@pytest.mark.parametrize(
    ("pixels", "code"),
    [
        (noisy(np.full((64, 64), 128, np.uint8)), "empty"),
        (noisy(cv2.GaussianBlur(cell(24, 90), (0, 0), 7)), "out-of-focus"),
        (noisy(cell(28, 80))[:, :40], "truncated"),
        ((noisy(cell()) * 0.03).astype(np.uint8), "under-exposed"),
        (np.minimum(noisy(cell()) * 2.2, 255).astype(np.uint8), "over-exposed"),
        (noisy(cell(14, 19)), "low-resolution"),
        (pair(36), "multiple-objects"),
        (pair(18), "overlap"),
    ],
)
def test_other_reasons_need_no_scale(pixels: np.ndarray, code: str) -> None:
    known, unknown = judge(pixels, UM_PER_PX), judge(pixels, None)
    assert code in unknown.reasons
    assert known.reasons == unknown.reasons


def test_a_cluster_needs_no_scale() -> None:
    assert judge(pair(24), None).cluster
    assert judge(pair(24), None).measures["cells"] == 2


@pytest.mark.parametrize("shape", [(8, 8), (8, 300), (300, 9), (19, 60), (1500, 2000), (21, 20)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("um_per_px", [None, 0.01, 0.5, 20.0])
def test_any_shape_is_judged(shape: tuple[int, int], dtype: type, um_per_px: float | None) -> None:
    rng = np.random.default_rng(0)
    for pixels in (
        rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True),
        np.zeros(shape, dtype),
        np.full(shape, np.iinfo(dtype).max, dtype),
        cell(min(shape) / 2, shape, dtype=dtype),
    ):
        before = pixels.copy()
        quality = judge(pixels, um_per_px)
        assert quality == judge(pixels, um_per_px)
        np.testing.assert_array_equal(pixels, before)
        assert ("low-resolution" in quality.reasons) or min(shape) >= 20
        assert len(set(quality.reasons)) == len(quality.reasons)
        assert all(map(math.isfinite, quality.measures.values()))
        assert json.loads(json.dumps(quality.measures)) == quality.measures


@pytest.mark.parametrize("um_per_px", [None, 0.3])
def test_a_crop_is_judged_alike_alone_and_among_others(um_per_px: float | None) -> None:
    crops = [
        noisy(drawn.astype(dtype), seed=seed)
        for seed in range(6)
        for dtype in (np.uint8, np.uint16)
        for drawn in (cell(24 + seed), cell(24, (90, 93 + seed)), pair(20 + seed))
    ]
    windows = network_inputs(crops, um_per_px, SPEC)
    together = assess([CropImage(pixels) for pixels in crops], windows, um_per_px, SPEC)
    assert together == [judge(pixels, um_per_px) for pixels in crops]


def test_a_crop_in_colour_is_flagged() -> None:
    pixels = noisy(cell(24, 48))
    image = CropImage(pixels, None, True)
    (quality,) = assess([image], network_inputs([pixels], UM_PER_PX, SPEC), UM_PER_PX, SPEC)
    assert "colour" in quality.reasons


@pytest.mark.parametrize(("rows", "columns"), [(5, 6), (1, 30), (30, 1), (10, 10)])
def test_a_montage_is_flagged_and_a_crop_with_much_background_is_not(
    rows: int, columns: int
) -> None:
    crop = noisy(cell(24, 48))
    montage = np.tile(crop, (rows, columns))
    assert "oversized" in judge(montage).reasons
    large = np.full((200, 200), np.median(crop), crop.dtype)
    large[76:124, 76:124] = crop
    assert "oversized" not in judge(noisy(large)).reasons
    assert "oversized" not in judge(crop).reasons


def test_a_crop_of_more_than_eight_fields_of_view_is_flagged() -> None:
    large = np.full((520, 520), 128, np.uint8)
    large[236:284, 236:284] = cell(side=48)
    assert "oversized" in judge(large).reasons
    assert "oversized" not in judge(large, UM_PER_PX / 4).reasons
