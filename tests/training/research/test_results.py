"""The tables of trials: fair pairs, honest words, and sections that are left alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import typer

from tests.training.drawn import drawn_cells
from tests.training.evaluate.evaluated import export
from train.data import splits as split
from train.data.manifest import choose, read_manifests
from train.fit.fit import assign_splits
from train.fit.folder import RunError
from train.fit.presets import PRESETS
from train.fit.run import Run
from train.metrics.roc import roc_auc
from train.research import results
from train.research.comparison import BETTER, BY_CHANCE, NOTHING, WORSE, compare
from train.research.markdown import sections
from train.research.results import (
    CLAIMED,
    COMPARED,
    FOLDS,
    NETWORKED,
    RECIPE,
    made_sections,
    recipe_section,
)
from train.research.trial_scores import SCORES_NAME, HeldOutScores, benchmark, read_scores, run
from train.research.trials import (
    CLAIMS,
    FIRST_NETWORK,
    NETWORK_CLAIM,
    REFERENCE,
    SEEDS,
    SPLIT_SEED,
    TRIALS,
    Trial,
)


@pytest.fixture(scope="module")
def cells():
    """Forty groups, half of them CTCs."""
    drawn = drawn_cells(PRESETS["tiny"].input, groups=40, size=10)
    group = np.repeat(np.arange(40), 10)
    blank = np.zeros((len(drawn), 1, 1), np.uint8)
    return replace(drawn, positive=group % 2 == 0, bright=blank, nucleus=blank)


def said(cells, spread, seed=1, rows=None):
    """Scores that scatter by so much about the truth."""
    rows = np.arange(len(cells)) if rows is None else rows
    chance = np.random.default_rng(seed)
    logit = np.where(cells.positive, 1, -1) + chance.normal(0, spread, len(cells))
    return HeldOutScores(rows, 1 + rows % 3, 1 / (1 + np.exp(-logit[rows])))


def keep(cells, out, name, told):
    """Keep scores of all cells as the five fits of a trial would."""
    (trial,) = (trial for trial in TRIALS if trial.name == name)
    for number in range(1, FOLDS + 1):
        side = assign_splits(
            cells, SPLIT_SEED, split.assign_folds(cells, FOLDS, SPLIT_SEED) == number - 1
        )
        fitted = Run(out / name / f"fold-{number}", trial.settings, trial.input(), cells, side)
        fitted.save()
        row = np.flatnonzero(side == "test")
        np.savez(fitted.folder / SCORES_NAME, row=row, probability=told.probability[row])


def test_trials_are_compared_on_the_cells_that_both_have_scored(cells):
    sharp, blunt = said(cells, 0.5), said(cells, 4.0)
    some = np.flatnonzero(np.arange(len(cells)) % 3 < 2)
    found = compare(cells, said(cells, 0.5, rows=some), blunt)
    assert (found.folds, found.cells) == (2, len(some))
    assert found.gain.value == pytest.approx(
        found.auc.value - compare(cells, said(cells, 4.0, rows=some)).auc.value
    )
    assert 0 < found.gain.low < found.gain.value < found.gain.high
    none = HeldOutScores(np.array([], int), np.array([], int), np.array([]))
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
    keep(cells, tmp_path, REFERENCE, said(cells, 1.0))
    keep(cells, tmp_path, "no-geometry", said(cells, 4.0))
    keep(cells, tmp_path, "no-noise", said(cells, 1.0, seed=3))
    keep(cells, tmp_path, "dapi-samples", said(cells, 4.0))
    keep(cells, tmp_path, "no-illumination", said(cells, 0.1))
    told = made_sections(cells, tmp_path)
    families, dapi = told[CLAIMED].splitlines()[-2:]
    assert "Shown for: geometry +" in families
    assert "The opposite is shown for: illumination -" in families
    assert "Nothing is shown for: noise and blur" in families
    assert "Not run yet: all three together." in families
    assert "The opposite is shown for: the study's way -" in dapi
    assert "| without geometry | 5 | 400 |" in told[COMPARED]
    assert "| worse |" in told[COMPARED]
    assert "- Seeds: seed 2" in told[COMPARED]
    assert "- Augmentation: without geometry" not in told[COMPARED]
    assert NETWORKED not in told


def test_networks_are_compared_with_the_first_of_them(cells, tmp_path):
    keep(cells, tmp_path, "resnet18", said(cells, 4.0))
    keep(cells, tmp_path, "resnet34", said(cells, 4.0, seed=3))
    keep(cells, tmp_path, "resnet50", said(cells, 1.0))
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
    keep(cells, tmp_path, "resnet18", said(cells, 4.0))
    keep(cells, tmp_path, "resnet50", said(cells, 1.0))
    keep(cells, tmp_path, REFERENCE, said(cells, 0.1))
    keep(cells, tmp_path, "seed-2", said(cells, 9.0))
    keep(cells, tmp_path, "no-noise", said(cells, 4.0))
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
    benchmarked = benchmark(manifest, TRIALS[0])
    keep(benchmarked, tmp_path / "runs", "resnet18", said(benchmarked, 1.0))
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


def test_a_fold_scores_the_cells_it_held_out(manifest, tmp_path):
    trial = Trial("tiny", "Table", "tiny", PRESETS["tiny"].settings)
    run(trial, manifest, 2, tmp_path)
    cells = benchmark(manifest, trial)
    told = read_scores([trial], cells, tmp_path)["tiny"]
    fold = split.assign_folds(cells, FOLDS, SPLIT_SEED)
    assert told.row.tolist() == np.flatnonzero(fold == 1).tolist()
    assert set(told.fold) == {2}
    assert len(choose(read_manifests([manifest]))) == len(cells)
    longer = replace(trial, settings=replace(trial.settings, epochs=99))
    with pytest.raises(RunError, match="instead of 99"):
        run(longer, manifest, 2, tmp_path)


def test_a_trial_starts_from_the_weights_it_names(manifest, tmp_path):
    first = Trial("first", "Table", "first", PRESETS["tiny"].settings)
    run(first, manifest, 2, tmp_path)
    onwards = replace(first, name="onwards", init=tmp_path / "first" / "fold-2")
    run(onwards, manifest, 2, tmp_path)
    cells = benchmark(manifest, first)
    told = read_scores([first, onwards], cells, tmp_path)
    assert (told["first"].probability != told["onwards"].probability).any()
    with pytest.raises(RunError, match="other initial weights"):
        read_scores([replace(onwards, init=None)], cells, tmp_path)


def test_a_fold_that_is_done_is_not_fitted_again(manifest, tmp_path, monkeypatch):
    cells = benchmark(manifest, TRIALS[0])
    keep(cells, tmp_path / "runs", REFERENCE, said(cells, 1.0))
    (tmp_path / "runs" / REFERENCE / "fold-3" / SCORES_NAME).unlink()
    wanted = []
    monkeypatch.setattr(results, "_run_all", wanted.extend)
    results.main(manifest, tmp_path / "runs", [REFERENCE], None, None, tmp_path / "RESULTS.md")
    assert [(trial.name, number) for trial, _, number, _ in wanted] == [(REFERENCE, 3)]


def test_scores_follow_their_cells_through_another_order_of_the_manifest(cells, tmp_path):
    keep(cells, tmp_path, REFERENCE, said(cells, 1.0))
    (trial,) = (trial for trial in TRIALS if trial.name == REFERENCE)
    other = cells.select(np.random.default_rng(2).permutation(len(cells)))
    aucs = []
    for each in (cells, other):
        told = read_scores([trial], each, tmp_path)[REFERENCE]
        assert sorted(told.row) == list(range(len(cells)))
        aucs.append(roc_auc(each.positive[told.row], told.probability))
    assert aucs[0] == aucs[1] > 0.8


@pytest.mark.parametrize(
    "change",
    [
        lambda cells: cells.select(np.arange(len(cells) - 1)),
        lambda cells: replace(cells, digest=np.roll(cells.digest, 10)),
        lambda cells: replace(cells, positive=~cells.positive),
        lambda cells: replace(cells, group=np.char.add(cells.group, " of another")),
    ],
)
def test_scores_of_other_cells_or_labels_are_refused(cells, tmp_path, change):
    keep(cells, tmp_path, REFERENCE, said(cells, 1.0))
    with pytest.raises(RunError, match=r"fold-1 .*other cells, labels or splits"):
        made_sections(change(cells), tmp_path)


def test_scores_of_another_recipe_are_refused_before_anything_is_fitted(
    manifest, tmp_path, monkeypatch, capsys
):
    cells = benchmark(manifest, TRIALS[0])
    keep(cells, tmp_path / "runs", "longer", said(cells, 1.0))
    changed = [
        replace(trial, settings=replace(trial.settings, epochs=50))
        if trial.name == "longer"
        else trial
        for trial in TRIALS
    ]
    monkeypatch.setattr(results, "TRIALS", changed)
    with pytest.raises(typer.Exit):
        results.main(manifest, tmp_path / "runs", None, None, None, tmp_path / "RESULTS.md")
    assert "epochs 48 instead of 50" in capsys.readouterr().err
    assert not (tmp_path / "RESULTS.md").exists()
