"""The learning curve: honest draws, one command a row, models that can be exported."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from tests.training.drawn import drawn_cells
from train.data.manifest import Row, write_manifest
from train.export.export import ExportSettings, export
from train.fit.presets import PRESETS, preset_named
from train.fit.run import open_runs
from train.pretrain.settings import pretrain_preset
from train.research import learning_curve
from train.research.acquisition_probe import acquisition_accuracy
from train.research.labelled_draws import Recipe, open_benchmark, parse_budget

INPUT = PRESETS["tiny"].input


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Cells of twenty acquisitions of one class each."""
    folder = tmp_path_factory.mktemp("cells")
    cells = drawn_cells(INPUT, groups=20, size=24)
    positive = np.array([int(name.split()[1]) % 2 == 0 for name in cells.group])
    keep = positive == cells.positive
    rows = []
    for number in np.flatnonzero(keep).tolist():
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), cells.bright[number])
        label = "CTC" if positive[number] else "other"
        rows.append(
            Row(cells.group[number], str(number), label, label, "labels.csv", 0.5, {"BF": path})
        )
    write_manifest(folder / "cells.csv", rows)
    return folder / "cells.csv"


def recipe(**changes):
    settings = pretrain_preset("tiny").settings.plain()
    return Recipe(**({"preset": "tiny", "epochs": 1, "pretraining": settings, "seed": 1} | changes))


@pytest.fixture
def benchmark(manifest, tmp_path):
    return open_benchmark([manifest], recipe(), preset_named("tiny"), tmp_path / "curve")


def test_labels_are_drawn_from_whole_acquisitions_that_are_not_tested(benchmark):
    cells = benchmark.cells
    drawn = [benchmark.labels(1, "3x5", draw) for draw in range(3)]
    for rows in drawn:
        assert not (benchmark.fold[rows] == 1).any()
        for kind in (True, False):
            names, count = np.unique(
                cells.group[rows][cells.positive[rows] == kind], return_counts=True
            )
            assert len(names) == 3
            assert (count <= 5).all()
    assert len({tuple(rows) for rows in drawn}) == 3
    assert np.array_equal(drawn[0], benchmark.labels(1, "3x5", 0))
    assert len(benchmark.labels(1, "all", 0)) == (benchmark.fold != 1).sum()


def test_what_is_tested_is_not_pretrained_on(benchmark):
    crops = benchmark.crops(2)
    tested = benchmark.cells.select(benchmark.fold == 2)
    assert not set(crops.group) & set(tested.group)
    assert len(crops) + len(tested) == len(benchmark.cells)


@pytest.mark.parametrize("text", ["5", "5x", "x5", "0x5", "5x5x5", "five x 2"])
def test_a_wrong_budget_is_refused(text):
    with pytest.raises(ValueError, match="a budget is like 5x20"):
        parse_budget(text)


def test_results_of_another_recipe_are_refused(benchmark, manifest):
    with pytest.raises(ValueError, match="another recipe"):
        open_benchmark([manifest], recipe(seed=2), preset_named("tiny"), benchmark.out)


def test_the_acquisition_is_predicted_where_features_tell_it():
    chance = np.random.default_rng(1)
    group = np.repeat([f"{number:02}" for number in range(8)], 25)
    positive = np.repeat([True, False], 100)
    blind = chance.normal(size=(200, 5)).astype(np.float32)
    telling = np.hstack([blind, np.eye(8)[np.repeat(range(8), 25)]]).astype(np.float32)
    assert min(acquisition_accuracy(telling, group, positive).values()) > 0.95
    assert max(acquisition_accuracy(blind, group, positive).values()) < 0.45


@pytest.mark.timeout(600)
def test_one_command_a_row(manifest, tmp_path):
    app = typer.Typer()
    app.command()(learning_curve.main)

    def run(*options):
        arguments = [manifest, "--out", tmp_path / "curve", "--preset", "tiny", "--epochs", "1"]
        arguments += ["--pretrain-epochs", "1", *options]
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result

    small = ("--budget", "4x12", "--draws", "2")
    for row in ("texture", "frozen", "tuned"):
        run("--row", row, *small)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "curve").rglob("draw-*.npz")}
    result = run("--row", "frozen", *small, "--probe")
    assert len(before) == 6
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert "acquisition predicted from the features of fold 1: positive" in result.stdout
    for title in ("Texture with boosting", "features as they are", "Pretrained, then fitted"):
        (line,) = (line for line in result.stdout.splitlines() if title in line)
        assert "| 4x12 | 2 | 0." in line
    folder = tmp_path / "curve" / "frozen" / "fold-1" / "4x12" / "draw-0"
    (fitted,) = open_runs(folder)
    assert len(fitted.unlabelled) > 0
    settings = ExportSettings(name="frozen", version="0.1.0", force=True, review_fraction=0.2)
    (model,) = export(folder, settings, tmp_path / "models", lambda text: None)
    assert "pretrained on" in (model.folder / "README.md").read_text(encoding="utf-8")
