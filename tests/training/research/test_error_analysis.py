"""What keeps the AUC down is found where it was put."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import typer

from train.data.manifest import Row, write_manifest
from train.data.splits import assign_folds
from train.fit.fit import assign_splits
from train.fit.run import Run
from train.metrics.roc import roc_auc
from train.research import error_analysis as ceiling
from train.research.cell_traits import Traits
from train.research.error_analysis import SHEET_NAME
from train.research.error_sources import (
    by_acquisition,
    by_ensemble,
    by_traits,
    of_labels,
    variance_parts,
)
from train.research.markdown import sections
from train.research.results import ERROR_ANALYSIS
from train.research.trial_figures import Measure, TrialScores
from train.research.trial_scores import SCORES_NAME
from train.research.trials import FOLDS, REFERENCE, SPLIT_SEED

GROUPS, SIZE = 40, 25
NO_DIFFERENCES = "no differences between acquisitions of a class"


def said(trials=3, of_groups=0.3, of_cells=1.0, of_fits=0.8, wrong=0):
    """Trials that share the error of a cell and of its group, and each have one of their own."""
    chance = np.random.default_rng(5)
    number = np.repeat(np.arange(GROUPS), SIZE)
    positive = number % 2 == 0
    shared = np.where(positive, 1.5, -1.5) + chance.normal(0, of_groups, GROUPS)[number]
    shared += chance.normal(0, of_cells, len(number))
    shared[:wrong] = np.where(positive[:wrong], -6.0, 6.0)
    names = [REFERENCE, "seed-2", "seed-3", "no-noise", "one-view"][:trials]
    return TrialScores(
        rows=np.arange(len(number)),
        fold=1 + number % 2,
        positive=positive,
        group=np.array([f"A{n:03}" for n in number]),
        logit={name: shared + chance.normal(0, of_fits, len(number)) for name in names},
    )


@pytest.mark.parametrize(("of_groups", "of_cells"), [(0.0, 1.0), (1.0, 1.0), (2.0, 0.5)])
def test_variance_is_parted_as_it_was_drawn(of_groups, of_cells):
    drawn = said(1, of_groups, of_cells, of_fits=0.0)
    between, within = variance_parts(drawn.reference, drawn.positive, drawn.group)
    assert within == pytest.approx(of_cells**2, rel=0.15)
    assert between == pytest.approx(of_groups**2, rel=0.5, abs=0.03)


def test_acquisitions_count_where_they_differ():
    apart, alike = (said(1, of_groups=each, of_fits=0.0) for each in (2.0, 0.0))
    gain = by_acquisition(apart, Measure(apart)).gains[NO_DIFFERENCES]
    assert gain.low > 0.02
    part = by_acquisition(alike, Measure(alike))
    assert part.gains[NO_DIFFERENCES].value == pytest.approx(0, abs=0.01)
    assert "40 acquisitions with at least 10 cells" in " ".join(part.text.split())


def test_a_trait_that_matters_is_named_and_others_are_not():
    drawn = said(1)
    chance = np.random.default_rng(6)
    columns = {name: chance.random(len(drawn.rows)) for name in ("sharpness", "diameter", "edge")}
    contrast = chance.random(len(drawn.rows))
    blind = contrast < 1 / 3
    drawn.logit[REFERENCE][blind] = chance.normal(0, 1, blind.sum())
    part = by_traits(drawn, Traits(contrast=contrast, **columns), Measure(drawn))
    assert part.text.endswith("by: contrast (coarse structure).")
    (gain,) = part.gains.values()
    assert gain.low > 0.05


def test_several_networks_gain_what_their_own_errors_cost():
    drawn = said(3, of_fits=1.5)
    part = by_ensemble(drawn, Measure(drawn))
    gain = part.gains["the mean of 3 seeds instead of one"]
    together = np.mean(list(drawn.logit.values()), axis=0)
    expected = roc_auc(drawn.positive, together) - roc_auc(drawn.positive, drawn.reference)
    assert gain.value == pytest.approx(expected)
    assert gain.low > 0.01
    assert "3 seeds of the reference alone" in part.text
    alone = said(1)
    assert by_ensemble(alone, Measure(alone)).gains == {}


def test_trials_that_scored_some_folds_alone_count_there():
    drawn = said(2)
    drawn.logit["seed-2"][drawn.fold == 2] = np.nan
    part = by_ensemble(drawn, Measure(drawn))
    assert f"on {np.count_nonzero(drawn.fold == 1):,} cells" in part.text
    assert np.array_equal(drawn.ensemble[drawn.fold == 2], drawn.reference[drawn.fold == 2])


def test_cells_that_all_call_wrongly_are_found_and_the_nucleus_judges_them():
    drawn = said(3, of_cells=0.3, of_fits=0.3, wrong=20)
    truth = np.where(drawn.positive, 1.0, -1.0)
    contrast = np.arange(len(truth)).astype(float)
    part, doubted = of_labels(drawn, truth, contrast, Measure(drawn))
    assert "Of the 20 tumour cells among them 20 are in the third" in " ".join(part.text.split())
    assert set(doubted) == set(range(20))
    assert next(iter(part.gains.values())).value == pytest.approx(0)
    truth[:20] *= -1
    part, _ = of_labels(drawn, truth, contrast, Measure(drawn))
    assert next(iter(part.gains.values())).value > 0.01
    assert "2.0% of all cells would be labelled wrongly" in " ".join(part.text.split())


def crop(chance, positive):
    """Bright field and nucleus of a disk, larger for a CTC."""
    row, column = np.indices((100, 100)) - 50
    inside = np.hypot(row, column) < chance.normal(22 if positive else 16, 4)
    return [
        np.clip(level + height * inside + chance.normal(0, 6, (100, 100)), 0, 255).astype(np.uint8)
        for level, height in ((128, -30), (10, 150))
    ]


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    """Twenty acquisitions, their manifest, and what two trials said of the first fold."""
    folder = tmp_path_factory.mktemp("benchmark")
    chance = np.random.default_rng(7)
    rows = []
    for number in range(200):
        sample, positive = f"A{number % 20:03}", number % 2 == 0
        images = {}
        for channel, pixels in zip(("BF", "DAPI"), crop(chance, positive), strict=True):
            images[channel] = folder / f"{sample}_{number:05}_{channel}.png"
            cv2.imwrite(str(images[channel]), pixels)
        label = "CTC" if positive else "other"
        rows.append(Row(sample, f"{number:05}", label, label, "labels.csv", None, images))
    write_manifest(folder / "cells.csv", rows)
    return folder


def keep_scores(benchmark, out, names):
    cells = ceiling.read_cells(
        ceiling.choose(ceiling.read_manifests([benchmark / "cells.csv"])),
        ceiling.TRIALS[0].input(),
        lambda: None,
    )
    side = assign_splits(cells, SPLIT_SEED, assign_folds(cells, FOLDS, SPLIT_SEED) == 0)
    rows = np.flatnonzero(side == "test")
    chance = np.random.default_rng(8)
    for trial in ceiling.TRIALS:
        if trial.name not in names:
            continue
        folder = out / trial.name / "fold-1"
        Run(folder, trial.settings, trial.input(), cells, side).save()
        probability = np.where(cells.positive[rows], 0.7, 0.3) + chance.normal(0, 0.1, len(rows))
        probability[0] = 0.05 if cells.positive[rows[0]] else 0.95
        np.savez(folder / SCORES_NAME, row=rows, probability=probability.clip(0.01, 0.99))


def test_the_command_writes_its_section_alone_and_a_picture(benchmark, tmp_path):
    keep_scores(benchmark, tmp_path / "runs", (REFERENCE, "seed-2"))
    path = tmp_path / "RESULTS.md"
    path.write_text("# Title\n\n## Kept\n\nas it\nstands\n")
    ceiling.main(benchmark / "cells.csv", tmp_path / "out", tmp_path / "runs", path)
    told = sections(path.read_text(encoding="utf-8"))
    assert told["Kept"] == "as it\nstands"
    for part in (
        "By what a crop",
        "By acquisition",
        "Wrong labels",
        "Several",
        "More acquisitions",
    ):
        assert f"### {part}" in told[ERROR_ANALYSIS]
    assert "nan" not in told[ERROR_ANALYSIS]
    assert "| The mean of 2 seeds instead of one |" in told[ERROR_ANALYSIS]
    sheet = cv2.imread(str(tmp_path / "out" / SHEET_NAME), cv2.IMREAD_UNCHANGED)
    assert sheet.shape == (118, 8 * 204)
    assert sheet.std() > 20


def test_scores_of_other_cells_are_refused(benchmark, tmp_path, capsys):
    keep_scores(benchmark, tmp_path / "runs", (REFERENCE,))
    rows = ceiling.read_manifests([benchmark / "cells.csv"])
    write_manifest(benchmark / "fewer.csv", rows[:-1])
    with pytest.raises(typer.Exit):
        ceiling.main(
            benchmark / "fewer.csv", tmp_path / "out", tmp_path / "runs", tmp_path / "RESULTS.md"
        )
    assert "other cells, labels or splits" in capsys.readouterr().err


def test_without_the_reference_it_says_what_to_run(benchmark, tmp_path, capsys):
    keep_scores(benchmark, tmp_path / "runs", ("seed-2",))
    with pytest.raises(typer.Exit):
        ceiling.main(
            benchmark / "cells.csv", tmp_path / "out", tmp_path / "runs", tmp_path / "RESULTS.md"
        )
    assert f"no fold of the trial '{REFERENCE}'" in capsys.readouterr().err
