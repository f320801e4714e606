"""The tables of trials: fair pairs, honest words, and sections that are left alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import typer

from train import results, split
from train.manifest import choose, read_manifests
from train.presets import PRESETS
from train.results import (
    BETTER,
    BY_CHANCE,
    CLAIMED,
    COMPARED,
    FOLDS,
    NETWORKED,
    NOTHING,
    RECIPE,
    SCORES_NAME,
    WORSE,
    Scores,
    compare,
    made_sections,
    recipe_section,
    run,
    scores,
)
from train.sections import sections
from train.trials import (
    CLAIMS,
    FIRST_NETWORK,
    NETWORK_CLAIM,
    REFERENCE,
    SEEDS,
    SPLIT_SEED,
    TRIALS,
    Trial,
)

from .drawn import drawn_cells
from .test_evaluate import export


@pytest.fixture(scope="module")
def cells():
    """Forty groups, half of them CTCs."""
    drawn = drawn_cells(PRESETS["tiny"].input, groups=40, size=10)
    group = np.repeat(np.arange(40), 10)
    return replace(drawn, positive=group % 2 == 0)


def said(cells, spread, seed=1, rows=None):
    """Scores that scatter by so much about the truth."""
    rows = np.arange(len(cells)) if rows is None else rows
    chance = np.random.default_rng(seed)
    logit = np.where(cells.positive, 1, -1) + chance.normal(0, spread, len(cells))
    return Scores(rows, 1 + rows % 3, 1 / (1 + np.exp(-logit[rows])))


def keep(out, name, told):
    for fold in np.unique(told.fold):
        mine = told.fold == fold
        folder = out / name / f"fold-{fold}"
        folder.mkdir(parents=True)
        np.savez(folder / SCORES_NAME, row=told.row[mine], probability=told.probability[mine])


def test_trials_are_compared_on_the_cells_that_both_have_scored(cells):
    sharp, blunt = said(cells, 0.5), said(cells, 4.0)
    some = np.flatnonzero(np.arange(len(cells)) % 3 < 2)
    found = compare(cells, said(cells, 0.5, rows=some), blunt)
    assert (found.folds, found.cells) == (2, len(some))
    assert found.gain.value == pytest.approx(
        found.auc.value - compare(cells, said(cells, 4.0, rows=some)).auc.value
    )
    assert 0 < found.gain.low < found.gain.value < found.gain.high
    none = Scores(np.array([], int), np.array([], int), np.array([]))
    assert compare(cells, none, sharp) is None


def test_the_words_follow_the_figures(cells):
    sharp, blunt, alike = said(cells, 0.8), said(cells, 4.0), said(cells, 0.8, seed=3)
    assert compare(cells, sharp, blunt).verdict == BETTER
    assert compare(cells, blunt, sharp).verdict == WORSE
    assert compare(cells, alike, sharp).verdict == NOTHING
    assert compare(cells, sharp).verdict == ""
    # Another seed that moves the AUC as far takes the word back.
    assert compare(cells, blunt, sharp, [sharp, said(cells, 5.0)]).verdict == BY_CHANCE
    assert compare(cells, blunt, sharp, [sharp, alike]).verdict == WORSE


def test_claims_are_judged_from_the_scores(cells, tmp_path):
    keep(tmp_path, REFERENCE, said(cells, 1.0))
    keep(tmp_path, "no-geometry", said(cells, 4.0))
    keep(tmp_path, "no-noise", said(cells, 1.0, seed=3))
    keep(tmp_path, "dapi-samples", said(cells, 4.0))
    keep(tmp_path, "no-illumination", said(cells, 0.1))
    told = made_sections(cells, tmp_path)
    families, dapi = told[CLAIMED].splitlines()[-2:]
    assert "Shown for: geometry +" in families
    assert "The opposite is shown for: illumination -" in families
    assert "Nothing is shown for: noise and blur" in families
    assert "Not run yet: all three together." in families
    assert "The opposite is shown for: the study's way -" in dapi
    assert "| without geometry | 3 | 400 |" in told[COMPARED]
    assert "| worse |" in told[COMPARED]
    assert "- Seeds: seed 2" in told[COMPARED]
    assert "- Augmentation: without geometry" not in told[COMPARED]
    assert NETWORKED not in told


def test_networks_are_compared_with_the_first_of_them(cells, tmp_path):
    keep(tmp_path, "resnet18", said(cells, 4.0))
    keep(tmp_path, "resnet34", said(cells, 4.0, seed=3))
    keep(tmp_path, "resnet50", said(cells, 1.0))
    told = made_sections(cells, tmp_path)
    assert list(told) == ["", NETWORKED]
    claim = next(line for line in told[NETWORKED].splitlines() if line.startswith("**"))
    shown, _, not_run = claim.partition("Not run yet")
    assert shown.count("Shown for: against ResNet-18 +") == 1
    assert not_run.count("against") == 2
    rows = [line for line in told[NETWORKED].splitlines() if line.startswith("| ResNet")]
    assert len(rows) == 3
    assert "| better |" in rows[2]
    assert "- Networks: EfficientNet-B4" in told[NETWORKED]


def test_no_seed_of_another_network_takes_a_verdict_back(cells, tmp_path):
    keep(tmp_path, "resnet18", said(cells, 4.0))
    keep(tmp_path, "resnet50", said(cells, 1.0))
    keep(tmp_path, REFERENCE, said(cells, 0.1))
    keep(tmp_path, "seed-2", said(cells, 9.0))
    keep(tmp_path, "no-noise", said(cells, 4.0))
    told = made_sections(cells, tmp_path)
    assert BY_CHANCE in told[COMPARED].split("| without noise")[1].splitlines()[0]
    assert "| better |" in told[NETWORKED]
    assert "Shown for: against ResNet-18 +" in told[NETWORKED]


def test_claims_name_trials_that_exist():
    names = {trial.name for trial in TRIALS}
    for claim in (*CLAIMS, NETWORK_CLAIM):
        assert {name for pair in claim.pairs for name in (pair.better, pair.other)} <= names
    assert {REFERENCE, FIRST_NETWORK, *SEEDS} <= names
    assert len(names) == len(TRIALS)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return export(tmp_path_factory.mktemp("exports") / "R", samples=20, each=12, um_per_px=None)


def test_a_refresh_leaves_what_was_not_run_here_as_it_stands(manifest, tmp_path):
    path = tmp_path / "RESULTS.md"
    recipe = f"## {RECIPE}\n\nof another day,\nAUC 0.885"
    tables = f"## {COMPARED}\n\nold tables"
    path.write_text(f"# Old\n\n{recipe}\n\n{tables}\n")
    rows = np.arange(240)
    keep(tmp_path / "runs", "resnet18", Scores(rows, 1 + rows % FOLDS, rows / 240))
    results.main(manifest, tmp_path / "runs", ["none"], None, None, path)
    text = path.read_text(encoding="utf-8")
    assert recipe in text
    assert tables in text
    assert "240 cells of 20 acquisitions" in " ".join(text.split())
    assert list(sections(text)) == ["", RECIPE, COMPARED, NETWORKED]


def test_an_unknown_trial_is_refused(manifest, tmp_path, capsys):
    with pytest.raises(typer.Exit):
        results.main(manifest, tmp_path, ["nonsense"], None, None, tmp_path / "RESULTS.md")
    assert "no trial 'nonsense'" in capsys.readouterr().err
    assert not (tmp_path / "RESULTS.md").exists()


def test_the_recipe_is_written_from_its_report(tmp_path):
    keys = ("auc", "sample_auc", "average_precision", "macro_f1", "macro_f1_70", "log_loss")
    keys += ("deferred_70_ctc", "deferred_70_other", "brier", "calibration_slope", "ece")
    report = {"models": [0] * 5, "cells": 5414, "samples": 191, "brier_constant": 0.25}
    for key in keys:
        report |= {key: 0.7, f"{key}_interval": [0.6, 0.8]}
    text = recipe_section(json.loads(json.dumps(report)))
    assert "5 of 5 folds, 5,414 cells of 191" in text
    assert "| Brier score (constant predictor 0.250) | 0.700 (0.600 to 0.800) |" in text
    assert "--report" in text


def test_a_fold_is_fitted_once_and_scores_the_cells_it_held_out(manifest, tmp_path):
    trial = Trial("tiny", "Table", "tiny", PRESETS["tiny"].settings)
    run(trial, manifest, 2, tmp_path)
    told = scores(trial, tmp_path)
    cells = results._read(manifest, trial)
    fold = split.folds(cells, FOLDS, SPLIT_SEED)
    assert told.row.tolist() == np.flatnonzero(fold == 1).tolist()
    assert set(told.fold) == {2}
    assert len(choose(read_manifests([manifest]))) == len(cells)
    written = tmp_path / "tiny" / "fold-2" / SCORES_NAME
    before = written.stat().st_mtime_ns
    run(trial, manifest, 2, tmp_path)
    assert written.stat().st_mtime_ns == before
