from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from ctcedge.discovery.naming import Naming
from ctcedge.results.measurements import (
    StainImages,
    StainIntensity,
    find_outlines,
    find_stains,
    intensity,
    measure_stains,
)
from ctcedge.sidecars.scan import scan_sidecars
from tests.helpers.cli_runner import call
from tests.helpers.drawn_cells import cell, save


def disk(diameter: float, side: int = 64) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.hypot(y, x) <= diameter / 2


def stains_of(folder: Path) -> dict[str, dict[str, StainIntensity]]:
    stains = find_stains(folder, Naming())
    entries = scan_sidecars(folder, None, Naming())
    measured = measure_stains(folder, entries, stains, stains.channels)
    return {crop.entry.crop.cell: crop.stains for crop in measured}


@pytest.mark.parametrize("side", [40, 64, 101, 200])
def test_the_outline_is_that_of_the_cell(side: int) -> None:
    """It is about a downsampled pixel outside, as the quality check's."""
    outlines = find_outlines(cell(side / 2, side))
    assert outlines is not None
    true = disk(side / 2, side)
    assert (outlines.cell & true).sum() > 0.97 * true.sum()
    assert true.sum() < outlines.cell.sum() < disk(side / 2 + 10 * max(1, side / 48), side).sum()
    assert not (outlines.cell & outlines.background).any()
    assert outlines.background.sum() > 0.4 * side**2


def test_padding_is_neither_cell_nor_background() -> None:
    padded = np.zeros((80, 90), np.uint8)
    padded[10:74, 20:84] = cell(24)
    outlines = find_outlines(padded)
    whole = find_outlines(cell(24))
    assert outlines is not None and whole is not None
    assert np.array_equal(outlines.cell[10:74, 20:84], whole.cell)
    assert outlines.background.sum() == whole.background.sum()


def test_no_cell_no_outline() -> None:
    assert find_outlines(np.full((64, 64), 128, np.uint8)) is None
    assert find_outlines(np.full((7, 7), 128, np.uint8)) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_intensity_is_that_above_the_background(dtype: type) -> None:
    outlines = find_outlines(cell(24))
    assert outlines is not None
    stain = np.where(disk(12), 110, 10).astype(dtype)
    measured = intensity(stain, outlines)
    assert measured is not None
    assert measured.background == 10
    assert measured.integrated == 100 * disk(12).sum()
    assert measured.mean == pytest.approx(measured.integrated / outlines.cell.sum(), abs=1e-3)
    full = outlines._replace(background=np.zeros((64, 64), bool))
    assert intensity(stain, full) is None


def test_stains_of_a_folder(called: Path) -> None:
    save(called / "S1" / "00002_DAPI.png", np.where(disk(12), 60, 10).astype(np.uint8))
    save(called / "S1" / "00002_CK.tif", np.full((64, 64), 500, np.uint16))
    measured = stains_of(called)
    assert list(measured) == ["00001", "00002", "00003", "00034"]
    assert measured["00002"]["PE"] == StainIntensity(0.0, 0.0, 500.0)
    assert measured["00002"]["DAPI"].integrated == 50 * disk(12).sum()
    assert measured["00003"] == {}
    call("export", called, "--columns", "cell,stains", "--out", called / "t.csv")
    rows = list(csv.DictReader(io.StringIO((called / "t.csv").read_text("utf-8-sig"))))
    assert rows[1]["PE_background"] == "500.0" and rows[2]["PE_mean"] == ""


def test_a_stain_that_cannot_be_measured_is_named_and_its_cell_empty(called: Path) -> None:
    save(called / "S1" / "00002_DAPI.png", cell(12, side=40))
    (called / "S1" / "00003_DAPI.png").write_bytes(b"no image")
    save(called / "S2" / "Cell_00034_DAPI.tif", cell(12))
    save(called / "S2" / "Cell_00034_Brightfield.tif", cell(13))  # changed since its call
    done = call("export", called, "--columns", "cell,DAPI_mean", code=3)
    rows = dict(line.split(",") for line in done.stdout.splitlines()[1:])
    assert rows["00001"] and {rows[name] for name in ("00002", "00003", "00034")} == {""}
    assert "3 images could not be measured" in done.stderr
    assert "S1/00002_DAPI.png: 40 x 40 px, but bright field 64 x 64 px" in done.stderr
    assert "S1/00003_DAPI.png: " in done.stderr
    assert "S2/Cell_00034_Brightfield.tif: the image changed since the call" in done.stderr
    assert "could not be measured" not in call("export", called, "--columns", "cell,call").stderr


def test_crops_without_a_call_are_not_measured(called: Path) -> None:
    for path in called.rglob("*.ctc.json"):
        record = json.loads(path.read_bytes())
        if record["cell"] == "00001":
            path.unlink()
    assert stains_of(called)["00001"] == {}
    assert StainImages({}).channels == []
