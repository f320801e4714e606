"""Rates at which the quality checks find defects put into simulated and real crops.

The rates required here are below those that tests/figures/quality.py measures. By default, crops
that were simulated before are checked; the statistical tier simulates twice as many, and checks
real images where there are any.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import get_args

import pytest

from ctcedge.images.decode import CropImage
from ctcedge.images.preprocess import network_inputs
from ctcedge.model.folder import load_model
from ctcedge.quality.checks import Quality, Reason, assess
from tests.helpers import quality_crops
from tests.helpers.defects import DEFECTS, Crop, add_defect, real
from tests.helpers.real_data import DATA

SPEC = load_model(None).spec.input

MIN_RATES = {
    "simulated": {
        "empty": 0.7,
        "out-of-focus": 0.35,
        "truncated": 0.8,
        "debris": 0.5,
        "under-exposed": 0.7,
        "over-exposed": 0.95,
        "low-resolution": 0.9,
        "colour": 0.95,
        "oversized": 0.95,
        "multiple-objects": 0.3,
        "overlap": 0.15,
        "cluster": 0.25,
    },
    "jurkat": {
        "empty": 0.9,
        "out-of-focus": 0.7,
        "truncated": 0.95,
        "debris": 0.9,
        "under-exposed": 0.95,
        "over-exposed": 0.95,
        "low-resolution": 0.95,
        "colour": 0.95,
        "oversized": 0.95,
        "multiple-objects": 0.9,
        "overlap": 0.6,
        "cluster": 0.9,
    },
    "breast": {
        "empty": 0.8,
        "truncated": 0.3,
        "under-exposed": 0.95,
        "over-exposed": 0.95,
        "low-resolution": 0.55,
        "colour": 0.95,
        "oversized": 0.95,
    },
}
"""Smallest rate at which a defect is found, somewhat below that measured with
`python -m tests.figures.quality`. Whether real crops are in focus, and separate, is chance."""
MAX_FLAGGED = {"simulated": 0.15, "jurkat": 0.02, "breast": 0.22}
"""Largest rate of unchanged crops with any reason; many breast crops show no cell."""
MIN_PAIRS = {"simulated": 0.5, "jurkat": 0.9}
"""Smallest rate of pairs (separate, touching or overlapping) with more than one cell counted."""

Crops = dict[str, list[Crop]]
"""Crops without change under `cells`, and pairs that were simulated under their codes."""


def checked(crop: Crop) -> Quality:
    inputs = network_inputs([crop.pixels], crop.um_per_px, SPEC)
    (quality,) = assess(
        [CropImage(crop.pixels, crop.bits, crop.is_colour)], inputs, crop.um_per_px, SPEC
    )
    return quality


@pytest.fixture(scope="module")
def cached() -> Crops:
    return quality_crops.load()


@functools.cache  # a fixture would be made again for each code
def many_crops(name: str) -> Crops:
    if name == "simulated":
        return quality_crops.simulate(120)
    if not (DATA / name).is_dir():
        pytest.skip(f"the real images {name} are not here: {DATA / name}")
    return {"cells": real(DATA / name, 0.5 if name == "jurkat" else None, 120)}


def defective(crops: Crops, code: str) -> list[Crop]:
    if code in crops:
        return crops[code]
    return list(add_defect([crop for crop in crops["cells"] if crop.diameter], code))


def rate(crops: Iterable[Crop], code: str) -> float:
    found = [checked(crop) for crop in crops]
    return sum(code in q.reasons or (code == "cluster" and q.cluster) for q in found) / len(found)


def check_defect(crops: Crops, name: str, code: str) -> None:
    with_defect, without = rate(defective(crops, code), code), rate(crops["cells"], code)
    assert with_defect >= MIN_RATES[name][code]
    assert with_defect > without + 0.01


def check_pairs(crops: Crops, name: str) -> None:
    def several(crop: Crop) -> bool:
        return checked(crop).measures["cells"] > 1

    pairs = [crop for code in quality_crops.PAIRS for crop in defective(crops, code)]
    assert sum(map(several, pairs)) / len(pairs) >= MIN_PAIRS[name]
    assert sum(map(several, crops["cells"])) / len(crops["cells"]) <= 0.06


def check_flagged(crops: Crops, name: str) -> None:
    reasons = [checked(crop).reasons for crop in crops["cells"]]
    assert sum(map(bool, reasons)) / len(reasons) <= MAX_FLAGGED[name], reasons


def test_every_reason_has_a_defect() -> None:
    assert set(MIN_RATES["simulated"]) == set(MIN_RATES["jurkat"]) == set(DEFECTS)
    assert set(DEFECTS) - {"cluster"} == set(get_args(Reason))


@pytest.mark.parametrize("code", MIN_RATES["simulated"])
def test_a_defect_is_found(cached: Crops, code: str) -> None:
    check_defect(cached, "simulated", code)


def test_pairs_are_seldom_taken_for_one_cell(cached: Crops) -> None:
    check_pairs(cached, "simulated")


def test_most_crops_are_not_flagged(cached: Crops) -> None:
    check_flagged(cached, "simulated")


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("name", "code"), [(name, code) for name, codes in MIN_RATES.items() for code in codes]
)
def test_a_defect_is_found_in_many_crops(name: str, code: str) -> None:
    check_defect(many_crops(name), name, code)


@pytest.mark.statistical
@pytest.mark.parametrize("name", MIN_PAIRS)
def test_many_pairs_are_seldom_taken_for_one_cell(name: str) -> None:
    check_pairs(many_crops(name), name)


@pytest.mark.statistical
@pytest.mark.parametrize("name", MAX_FLAGGED)
def test_most_of_many_crops_are_not_flagged(name: str) -> None:
    check_flagged(many_crops(name), name)


@pytest.mark.statistical
def test_the_stored_crops_are_those_that_the_simulator_makes(cached: Crops) -> None:
    simulated = quality_crops.simulate()
    assert list(cached) == list(simulated)
    for name, crops in cached.items():
        assert len(crops) == len(simulated[name])
        for stored, fresh in zip(crops, simulated[name], strict=True):
            assert (stored.um_per_px, stored.bits) == (fresh.um_per_px, fresh.bits)
            assert stored.diameter == fresh.diameter
            assert stored.pixels.dtype == fresh.pixels.dtype
            assert abs(stored.pixels.astype(int) - fresh.pixels.astype(int)).max() <= 1
