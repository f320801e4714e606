"""The command that measures the guard: which runs it draws, and what it says of them."""

from __future__ import annotations

import dataclasses
import re
import shutil

import cv2
import numpy as np
import pytest
from msgspec import structs
from typer.testing import CliRunner

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.ood import MIN_CROPS
from ctcedge.images.preprocess import network_input
from tests.training.drawn import SETTINGS, drawn_cells, sides_of
from train.data.dataset import image_digest
from train.evaluate import ood_rates as strangers
from train.export.export import ExportSettings, export
from train.export.parity import ParityLimits
from train.fit.fit import fit
from train.fit.presets import PRESETS
from train.fit.run import open_runs

INPUT = structs.replace(PRESETS["tiny"].input, um_per_px=None, crop_px=1.0)


@pytest.fixture(scope="module")
def fold(tmp_path_factory):
    """Return a run with a test side, the model exported from it, and the folder of its crops."""
    place = tmp_path_factory.mktemp("fold")
    drawn = drawn_cells(INPUT, groups=28, size=24)
    seen = np.stack([network_input(pixels, None, INPUT) for pixels in drawn.bright])
    digest = np.array([image_digest(pixels) for pixels in drawn.bright])
    # As of a manifest that was labelled with '--run lab'.
    sample = np.char.add("lab/", drawn.sample)
    cells = dataclasses.replace(drawn, bright=seen, digest=digest, sample=sample)
    fit(cells, sides_of(cells), SETTINGS, INPUT, place / "run")
    settings = ExportSettings("drawn", force=True, limits=ParityLimits())
    (model,) = export(place / "run", settings, place / "models", on_warning=lambda text: None)
    for sample, cell, pixels in zip(drawn.sample, drawn.cell, drawn.bright, strict=True):
        folder = place / "crops" / sample
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{cell}_BF.png"), pixels)
    return place / "run", model.folder, place / "crops"


def said(*arguments: object) -> dict[str, float]:
    """Run the command and return the percentage of runs warned of, by what it says it of."""
    result = CliRunner().invoke(strangers.app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    found = re.findall(r"^(.+): alert for ([\d.]+)% of \d+ runs;", result.output, re.MULTILINE)
    return {what: float(share) for what, share in found}


def test_the_model_of_a_fold_knows_its_own_crops_and_warns_of_others(fold, tmp_path):
    for number in range(MIN_CROPS):
        noise = np.random.default_rng(number).integers(0, 256, (64, 64), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}_BF.png"), noise)
    found = said("held-out", *fold, tmp_path)
    assert found.pop("held-out acquisitions, unchanged") <= 5
    assert found[f"{tmp_path}, all in one"] == 100
    assert found["held-out acquisitions, blurred by 2 px"] == 100
    assert len(found) == 7


def test_simulated_hospitals_are_judged_by_share_of_ctcs(fold):
    _, model, crops = fold
    found = said("simulated", model, crops, "--hospitals", 2)
    for share in ("0%", "10%", "50%"):
        assert found.pop(f"simulated hospitals, {share} CTCs") == 100
    assert found[f"{crops}, all in one"] == 0


@pytest.mark.parametrize("share", [0, 0.1, 0.5])
def test_runs_have_the_share_that_is_asked_for(share):
    hospital = np.repeat(["a", "b", "few"], [300, 200, 90])
    positive = np.arange(590) % 3 == 0
    runs = list(strangers._runs_with_fraction(hospital, positive, share))
    assert len(runs) == 2
    for rows, name in zip(runs, "ab", strict=True):
        assert len(set(rows)) == MIN_CROPS
        assert set(hospital[rows]) == {name}
        assert positive[rows].mean() == pytest.approx(share)


def test_pools_are_of_whole_acquisitions_and_large_enough():
    sample = np.repeat([f"{number}" for number in range(12)], 30)
    for rows in strangers._pools(sample):
        assert len(rows) == 120
        assert len(set(sample[rows])) == 4


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(strangers.app, [str(each) for each in arguments])
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


def test_what_cannot_be_judged_is_refused_in_one_line(fold, tmp_path):
    run, model, crops = fold
    assert "does not exist" in refused("simulated", model, tmp_path / "gone")
    few = tmp_path / "few"
    few.mkdir()
    for number in range(MIN_CROPS - 1):
        cv2.imwrite(str(few / f"{number}_BF.png"), np.full((64, 64), number, np.uint8))
    assert "holds 99 crops; 100 are needed" in refused("simulated", model, few)
    assert "holds 99 crops; 100 are needed" in refused("held-out", run, model, crops, few)
    assert "holds 0 of the 168 test cells" in refused("held-out", run, model, few, crops)
    (few / "99_BF.png").write_bytes(b"no image")
    assert "99_BF.png" in refused("simulated", model, few)
    for number in (1, 2):
        shutil.copytree(run, tmp_path / f"folds/fold-{number}")
    told = refused("held-out", tmp_path / "folds", model, crops, crops)
    assert "contains 2 folds; give one, such as" in told
    opened = open_runs(run)[0]
    rest = opened.split != "test"
    cells, side = opened.cells.select(rest), opened.split[rest]
    whole = dataclasses.replace(opened, folder=tmp_path / "whole", cells=cells, split=side)
    whole.save()
    assert "has no test cells" in refused("held-out", whole.folder, model, crops, crops)


def test_a_folders_own_um_per_px_is_used_and_told(fold, tmp_path):
    *_, crops = fold
    shipped = Classifier.load().model.folder
    shutil.copytree(crops, tmp_path / "crops")
    (tmp_path / "crops" / "ctcedge.toml").write_text("[images]\num_per_px = 0.8\n")
    arguments = ["simulated", shipped, crops, tmp_path / "crops", "--hospitals", 2]
    result = CliRunner().invoke(strangers.app, [str(each) for each in arguments])
    assert f"{crops}: um/px unknown, the model's own 0.5 assumed" in result.output
    assert f"{tmp_path / 'crops'}: um/px 0.8" in result.output


def test_the_scale_is_wrong_by_a_factor_whatever_the_model_knows():
    for spec in (INPUT, structs.replace(INPUT, um_per_px=0.5, crop_px=None)):
        assert strangers._scaled(spec, 1.5).zoom(0.5) == pytest.approx(spec.zoom(0.5) / 1.5)


def test_a_model_that_judges_no_runs_is_refused(model_folder, tmp_path):
    result = CliRunner().invoke(strangers.app, ["simulated", str(model_folder), str(tmp_path)])
    assert result.exit_code == 2
    assert "has no run statistics" in result.output
