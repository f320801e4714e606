"""Cross-validation: each cell is scored by the model that never saw it."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
from typer.testing import CliRunner

from tests.helpers import disk_model
from train.cli import app
from train.data.manifest import read_manifests, write_manifest
from train.data.splits import LeakageError
from train.evaluate import evaluate
from train.evaluate.tables import summary

from .evaluated import export, refused, with_table


@pytest.fixture
def two_folds(tmp_path, train_manifest):
    """Two models, one of which never saw T0 to T3, the other T4 to T7."""
    for fold, held_out in (("fold-1", "0123"), ("fold-2", "4567")):
        (tmp_path / "folds").mkdir(exist_ok=True)
        disk_model.build(tmp_path / "folds" / fold)
        with_table(
            tmp_path / "folds" / fold,
            train_manifest,
            lambda name, held_out=held_out: "test" if name[-1] in held_out else "training",
        )
    return tmp_path / "folds"


def test_each_cell_is_scored_by_the_fold_that_never_saw_it(two_folds, train_manifest, tmp_path):
    result = CliRunner().invoke(
        app, ["evaluate", str(two_folds), str(train_manifest), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    with (tmp_path / "out" / "scores.csv").open(newline="", encoding="utf-8") as file:
        fold_of = {line["sample"]: line["fold"] for line in csv.DictReader(file)}
    assert fold_of == {f"T{i}": "fold-1" if i < 4 else "fold-2" for i in range(8)}
    told = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert told["cells"] == 64
    assert len(told["models"]) == 2
    assert told["baselines"]["size"]["auc"] > 0.7


def test_a_sample_that_several_folds_may_score_is_refused(two_folds, test_manifest):
    with pytest.raises(
        LeakageError, match=r"2 of the models were not trained on 'E0'.*one of them.*only"
    ):
        evaluate(two_folds, [test_manifest], seed=1)


def test_a_sample_that_nobody_labelled_is_scored_by_the_first_fold(
    two_folds, train_manifest, tmp_path
):
    """As one whose stains could not be gated: fit left it out, so that no fold saw it."""
    shutil.copytree(train_manifest.parent, tmp_path / "T")
    ungated = export(tmp_path / "T" / "U", samples=1, seed=8, label="", stratum="ungated")
    rows = [*read_manifests([train_manifest]), *read_manifests([ungated])]
    write_manifest(tmp_path / "cells.csv", rows)
    evaluation = evaluate(two_folds, [tmp_path / "cells.csv"], seed=1)
    scored, found = evaluation.scored, evaluation.figures
    assert set(scored.by[scored.cells.sample == "U0"]) == {0}
    assert (found.cells, found.unlabelled) == (64, 8)
    assert "by the first where it has no labelled cell" in summary(evaluation)


def test_models_that_do_not_tell_what_they_saw_are_refused(tmp_path, test_manifest):
    (tmp_path / "models").mkdir()
    for name in ("one", "two"):
        disk_model.build(tmp_path / "models" / name)
    output = refused(tmp_path / "models", test_manifest, "--out", tmp_path / "out")
    assert "2 models without training tables" in output.replace("\n", " ")
