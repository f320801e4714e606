"""The learning curve: AUC on acquisitions left out against the number of labelled cells.

`python -m train.research.learning_curve --help`. One command trains one row of the table, at all
budgets and draws; an interrupted one continues. Of the five grouped folds, one at a time is tested;
the labels are drawn from the others, which are also, without their labels, the cells to pretrain
on. Each draw leaves its model: a run folder, which `ctcedge-train export` takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args

import numpy as np
import typer
from numpy.typing import NDArray

from ctcedge.fs.files import atomic_write
from ctcedge.model.folder import models_folder

from ..baselines.baselines import TRAINING, baseline_scores, training_table
from ..data.dataset import Cells
from ..evaluate.bootstrap import Estimate
from ..evaluate.tables import format_estimate, markdown_table
from ..fit.fit import assign_splits, fit
from ..fit.folder import npz_bytes
from ..fit.head import network_features
from ..fit.networks import predict
from ..fit.presets import preset_named
from ..fit.pretrained import InitialWeights
from ..fit.run import Run
from ..metrics.roc import Floats, roc_auc
from ..pretrain.settings import pretrain_preset
from ..util.command_line import path_argument, path_option, run_program, whole_option
from ..util.errors import exit_on, fail
from ..util.progress import progress
from .acquisition_probe import acquisition_accuracy
from .labelled_draws import FOLDS, Benchmark, Recipe, open_benchmark, parse_budget

Row: TypeAlias = Literal["texture", "scratch", "shipped", "frozen", "tuned"]

TITLES: dict[Row, str] = {
    "texture": "Texture with boosting",
    "scratch": "From random weights",
    "shipped": "From the shipped model",
    "frozen": "Pretrained, features as they are, logistic regression",
    "tuned": "Pretrained, then fitted",
}
PRETRAINED: tuple[Row, ...] = ("frozen", "tuned")
BUDGETS = ("5x20", "10x20", "20x30", "all")
_REPLICATES = 400
_SHIPPED = models_folder() / "sim-resnet18"


def scores_of(row: Row, benchmark: Benchmark, fold: int, budget: str, draw: int) -> Floats:
    """Train a model of a row, and score the cells of a fold with it, higher for CTC."""
    rows = benchmark.labels(fold, budget, draw)
    test = benchmark.cells.select(benchmark.fold == fold)
    labelled = benchmark.cells.select(rows)
    seed = benchmark.recipe.seed + draw
    folder = _folder(benchmark.out, row, fold, budget) / f"draw-{draw}"
    if row == "texture":
        spec = benchmark.input
        training, tested = (training_table(each, TRAINING, spec) for each in (labelled, test))
        return baseline_scores(training, tested, seed)["texture"]
    initial = None
    if row in PRETRAINED:
        initial = benchmark.pretrained(fold)
    elif row == "shipped":
        initial = InitialWeights.of(_SHIPPED)
    settings = benchmark.recipe.fit_settings(seed)
    split = assign_splits(labelled, seed)
    settings = replace(settings, frozen=row == "frozen")
    network = fit(labelled, split, settings, benchmark.input, folder, initial=initial)
    return predict(network, test.bright, benchmark.input.gain).astype(np.float64)


def _folder(out: Path, row: Row, fold: int, budget: str) -> Path:
    return out / row / f"fold-{fold}" / budget


def run_row(
    row: Row, benchmark: Benchmark, folds: Sequence[int], budgets: Sequence[str], draws: int
) -> None:
    """Train and score all draws of a row that are not there yet."""
    jobs = [
        (fold, budget, draw)
        for fold in folds
        for budget in budgets
        for draw in range(1 if budget == "all" else draws)
    ]
    with progress(f"Row {row}", len(jobs), lines=True) as advance:
        for fold, budget, draw in jobs:
            path = _folder(benchmark.out, row, fold, budget) / f"draw-{draw}.npz"
            note = ""
            if not path.is_file():
                scores = scores_of(row, benchmark, fold, budget, draw)
                path.parent.mkdir(parents=True, exist_ok=True)
                atomic_write(path, npz_bytes({"scores": scores}))
                auc = roc_auc(benchmark.cells.positive[benchmark.fold == fold], scores)
                note = f"fold {fold}, {budget}, draw {draw}: AUC {auc:.3f}"
            advance(1, note)


def curve_table(benchmark: Benchmark) -> str:
    """Return the table of all rows that there are scores of, as Markdown."""
    lines = []
    for row, title in TITLES.items():
        held = benchmark.out / row
        budgets = {path.name for path in held.glob("fold-*/*") if any(path.glob("draw-*.npz"))}
        order = sorted(budgets, key=lambda name: (name == "all", _size(name)))
        for budget in order:
            estimate, draws = _estimate(benchmark, held, budget)
            lines.append([title, budget, f"{draws}", format_estimate("auc", estimate)])
    return markdown_table(["Row", "Labelled", "Draws", "AUC"], lines)


def _size(budget: str) -> tuple[int, ...]:
    return () if budget == "all" else parse_budget(budget)


def _estimate(benchmark: Benchmark, held: Path, budget: str) -> tuple[Estimate, int]:
    """Return the mean AUC of all draws, with an interval over draws and acquisitions."""
    by_fold: dict[int, list[Floats]] = {}
    for fold in range(1, FOLDS + 1):
        for path in sorted((held / f"fold-{fold}" / budget).glob("draw-*.npz")):
            with np.load(path) as file:
                by_fold.setdefault(fold, []).append(file["scores"])
    chance = np.random.default_rng(benchmark.recipe.seed)
    aucs = []
    for replicate in range(_REPLICATES + 1):
        values = []
        for fold, draws in by_fold.items():
            tested = benchmark.cells.select(benchmark.fold == fold)
            rows, drawn = np.arange(len(tested)), np.arange(len(draws))
            if replicate:
                rows = _resampled(tested, chance)
                drawn = chance.integers(len(draws), size=len(draws))
            values += [roc_auc(tested.positive[rows], draws[number][rows]) for number in drawn]
        aucs.append(float(np.mean(values)))
    low, high = np.percentile(aucs[1:], [2.5, 97.5])
    return Estimate(aucs[0], float(low), float(high)), sum(map(len, by_fold.values()))


def _resampled(cells: Cells, chance: np.random.Generator) -> NDArray[np.intp]:
    """Draw acquisitions of each class with replacement; return the rows of their cells."""
    rows = []
    for kind in (True, False):
        member = np.unique(cells.group, return_inverse=True)[1]
        having = np.unique(member[cells.positive == kind])
        for number in chance.choice(having, len(having)):
            rows.append(np.flatnonzero((member == number) & (cells.positive == kind)))
    return np.concatenate(rows)


def probe(benchmark: Benchmark, fold: int) -> str:
    """Return how well the pretrained features predict the acquisition of a cell."""
    initial = benchmark.pretrained(fold)
    cells = benchmark.cells
    settings = benchmark.recipe.fit_settings(1)
    run = Run(Path(), settings, benchmark.input, cells, np.full(len(cells), "training"))
    features = network_features(initial.network(run), cells.bright, benchmark.input.gain)
    accuracy = acquisition_accuracy(features, cells.group, cells.positive)
    shown = ", ".join(f"{name} {value:.3f}" for name, value in accuracy.items())
    return f"acquisition predicted from the features of fold {fold}: {shown} (chance 0.1)"


def main(
    manifests: Annotated[list[Path], path_argument("Manifests of labelled cells.", "MANIFEST")],
    out: Annotated[Path, path_option("Folder of the models and results.")],
    row: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROW",
            help=f"Row to train: {', '.join(TITLES)}; repeatable. Without: the table.",
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AxC",
            help="Labelled acquisitions of each class x cells of each, such as 5x20, or all;"
            " repeatable.",
            show_default=", ".join(BUDGETS),
        ),
    ] = None,
    fold: Annotated[
        list[int] | None,
        whole_option("Fold to test on; repeatable.", 1, FOLDS, show_default="1"),
    ] = None,
    draws: Annotated[int, whole_option("Draws of the labels in each fold.", 1, 1_000)] = 8,
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="Preset of fit and pretraining.")
    ] = "cpu",
    objective: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="As of pretrain.", show_default="of the preset"),
    ] = None,
    negatives: Annotated[str | None, typer.Option(metavar="WHICH", help="As of pretrain.")] = None,
    pretrain_epochs: Annotated[
        int | None,
        whole_option("Of the pretraining.", 1, 100_000, show_default="of the preset"),
    ] = None,
    epochs: Annotated[
        int | None, whole_option("Of a fit.", 1, 100_000, show_default="of the preset")
    ] = None,
    probed: Annotated[
        bool, typer.Option("--probe", help="Also predict the acquisition from the features.")
    ] = False,
    seed: Annotated[int, whole_option("Of the draws and the fits.", 0, 2**32 - 1)] = 1,
) -> None:
    """Train rows of the learning curve, and print the table.

    Example: python -m train.research.learning_curve breast.csv --row tuned --seed 1 --out
    runs/curve
    """
    chosen: list[Row] = [name for name in get_args(Row) if name in (row or [])]
    if unknown := set(row or []) - set(chosen):
        raise fail(f"no row '{min(unknown)}' (known: {', '.join(TITLES)})")
    budgets = budget or BUDGETS
    with exit_on(ValueError, OSError):
        for name in budgets:
            if name != "all":
                parse_budget(name)
        settings = pretrain_preset(preset).settings.with_overrides(
            objectives=tuple(objective) if objective else None,
            negatives=negatives,
            epochs=pretrain_epochs,
            seed=seed,
        )
        recipe = Recipe(preset, epochs, settings.plain(), seed)
        benchmark = open_benchmark(manifests, recipe, preset_named(preset), out)
        folds = fold or [1]
        for name in chosen:
            run_row(name, benchmark, folds, budgets, draws)
        for number in folds if probed else ():
            typer.echo(probe(benchmark, number))
        typer.echo(curve_table(benchmark))


if __name__ == "__main__":
    run_program(main)
