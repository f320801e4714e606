"""Fit the trials on grouped folds and write `train/RESULTS.md`: `python -m train.results --help`.

Each fold of each trial is a run folder of its own, so that a run that is cut off goes on where it
stopped, and trials can be added later. The tables hold what has been run so far, and say so.
"""

from __future__ import annotations

import datetime
import json
import multiprocessing
import os
import platform
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from train import split
from train.calibrate import calibrate
from train.dataset import Cells, read_cells
from train.evaluate.bootstrap import Estimate, Resampling
from train.evaluate.report import markdown_table, shown
from train.evaluate.statistics import of_samples
from train.fit import fit, sides_of
from train.graphs import probabilities
from train.manifest import choose, read_manifests
from train.metrics import Curve, Floats
from train.network import predict
from train.progress import progress
from train.run import packed, write_whole
from train.trials import FOLDS, REFERENCE, SPLIT_SEED, TRIALS, Trial

SCORES_NAME = "scores.npz"


@dataclass(frozen=True, slots=True)
class Scores:
    """What a trial says of the cells that it never saw.

    Attributes:
        row: (n,) index of each cell in the manifest.
        fold: (n,) the fold that held it out.
        probability: (n,) of CTC, calibrated on the fold's validation side.
    """

    row: NDArray[np.intp]
    fold: NDArray[np.intp]
    probability: NDArray[np.float64]


def run(trial: Trial, manifest: Path, number: int, out: Path) -> None:
    """Fit one fold of one trial, unless that is done, and keep what it says of its test cells."""
    folder = out / trial.name / f"fold-{number}"
    if (folder / SCORES_NAME).is_file():
        return
    input = trial.input()
    cells = _read(manifest, trial)
    test = split.folds(cells, FOLDS, SPLIT_SEED) == number - 1
    side = sides_of(cells, SPLIT_SEED, test)
    network = fit(cells, side, trial.settings, input, folder)
    logits = {
        name: predict(network, cells.bright[side == name], input.gain)
        for name in ("validation", "test")
    }
    calibration = calibrate(logits["validation"], cells.positive[side == "validation"])
    said = {
        "row": np.flatnonzero(side == "test"),
        "probability": probabilities(logits["test"], calibration),
    }
    write_whole(folder / SCORES_NAME, packed(said))


def _read(manifest: Path, trial: Trial) -> Cells:
    return read_cells(choose(read_manifests([manifest])), trial.input(), lambda: None)


def _one_thread() -> None:
    torch.set_num_threads(1)


def scores(trial: Trial, out: Path) -> Scores | None:
    """Read what a trial has said so far; None where no fold is done."""
    parts = []
    for number in range(1, FOLDS + 1):
        path = out / trial.name / f"fold-{number}" / SCORES_NAME
        if path.is_file():
            with np.load(path, allow_pickle=False) as held:
                parts.append((held["row"], np.full(len(held["row"]), number), held["probability"]))
    if not parts:
        return None
    return Scores(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def compare(
    cells: Cells, mine: Scores, reference: Scores | None
) -> tuple[dict[str, Estimate], int, int]:
    """Measure a trial, and its difference from the reference on the cells that both have scored.

    Returns:
        `auc`, `sample_auc` and, where there is a reference, `gain` in AUC, each with its interval
        over samples; the number of folds; the number of cells.
    """
    common = mine.row
    if reference is not None:
        common = np.intersect1d(mine.row, reference.row)
    positive, sample = cells.positive[common], cells.sample[common]
    said = {"mine": _at(mine, common)}
    if reference is not None:
        said["reference"] = _at(reference, common)

    def statistics(weight: Floats) -> dict[str, dict[str, Floats]]:
        auc = {name: Curve.of(positive, p, weight).auc() for name, p in said.items()}
        figures = {
            "auc": auc["mine"],
            **of_samples(positive, said["mine"], sample, weight),
        }
        if "reference" in auc:
            figures["gain"] = auc["mine"] - auc["reference"]
        return {"all": figures}

    resampling = Resampling(cells.group[common], positive, SPLIT_SEED)
    estimates = resampling.estimate(statistics)["all"]
    return estimates, len(np.unique(mine.fold)), len(common)


def _at(said: Scores, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    order = np.argsort(said.row)
    found: NDArray[np.float64] = said.probability[order][np.searchsorted(said.row[order], rows)]
    return found


def document(cells: Cells, out: Path, report: dict[str, Any] | None) -> str:
    """Write the Markdown text from what has been run so far."""
    reference = scores(TRIALS[0], out)
    sections = [_head(cells)]
    if report is not None:
        sections.append(_recipe(report))
    sections.append(_COMPARISONS)
    missing = []
    for table, trials in groupby(TRIALS, key=lambda trial: trial.table):
        rows = []
        for trial in trials:
            mine = scores(trial, out)
            if mine is None:
                missing.append(f"{table}: {trial.title}")
                continue
            against = None if trial.name == REFERENCE else reference
            found, folds, count = compare(cells, mine, against)
            rows.append(
                [
                    trial.title,
                    f"{folds}",
                    f"{count:,}",
                    shown("auc", found["auc"]),
                    _gain(found.get("gain")),
                    shown("sample_auc", found["sample_auc"]),
                ]
            )
        if rows:
            sections.append(f"### {table}\n\n{markdown_table(_COLUMNS, rows)}")
    if missing:
        sections.append(
            "### Not run yet\n\nThe same command runs these:\n\n- " + "\n- ".join(missing)
        )
    return "\n\n".join(sections) + "\n"


_COLUMNS = (
    "Trial",
    f"Folds of {FOLDS}",
    "Cells",
    "AUC",
    "Gain over the reference",
    "AUC by acquisition",
)

_COMPARISONS = """\
## One change at a time

Each trial changes one thing of the reference, which trains for 16 epochs only: long enough to
compare, not to be best. The intervals are 95 % bootstrap intervals over acquisitions. A gain is
the difference in AUC on the same cells, its interval paired; where it holds zero, nothing is
shown. One seed each, unless a row says otherwise: two fits that differ in the seed alone tell how
much chance there is beside the acquisitions."""


def _head(cells: Cells) -> str:
    today = datetime.date.today().isoformat()
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "monai", "onnx"))
    return f"""\
# What the recipe is worth on real images

Made by `python -m train.results` on {today} with Python {platform.python_version()}, {libraries},
{os.cpu_count()} CPU cores, no GPU. How to repeat it stands in [README.md](../README.md).

**MCF7 tumour cells against MCF10A benign cells**, both cell lines, bright field alone at test:
{len(cells):,} cells of {len(np.unique(cells.sample))} acquisitions, {cells.positive.mean():.0%} of
them tumour, um/px unknown (github fabiesposit/Breas-Cell-Classification @1f1dbdb1, no licence
stated, so that no shipped weights are trained on it). The figures measure the training recipe.
They are not the accuracy of CTC detection, nor comparable with the study's F1 of 0.798 on its own
data; calling every cell tumour would score F1
{2 * cells.positive.mean() / (1 + cells.positive.mean()):.3f} here."""


_FIGURES = (
    ("auc", "AUC"),
    ("sample_auc", "AUC by acquisition (mean probability of its cells)"),
    ("average_precision", "Average precision"),
    ("macro_f1", "Macro F1"),
    ("macro_f1_70", "Macro F1 of the 70 % most certain cells"),
    ("log_loss", "Log loss"),
    ("brier", "Brier score"),
    ("calibration_slope", "Calibration slope"),
    ("ece", "Expected calibration error"),
)


def _recipe(report: dict[str, Any]) -> str:
    rows = []
    for key, title in _FIGURES:
        estimate = Estimate(report[key], *report[f"{key}_interval"])
        constant = report.get(f"{key}_constant")
        beside = f" (constant predictor {constant:.3f})" if constant is not None else ""
        rows.append([title + beside, shown(key, estimate)])
    return f"""\
## The recipe: preset `cpu`, the INT8 graphs that the runtime loads

{len(report["models"])} of {FOLDS} folds, {report["cells"]:,} cells of {report["samples"]}
acquisitions, each scored by the network that never saw its acquisition.

""" + markdown_table(["Figure, pooled out of fold", ""], rows)


def _gain(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


def main(
    manifest: Annotated[Path, typer.Argument(help="Of the benchmark's cells.")],
    out: Annotated[Path, typer.Option(help="Parent of the runs.")] = Path("runs/results"),
    trial: Annotated[
        list[str] | None, typer.Option(help="Only this one; none to write the tables. Repeatable.")
    ] = None,
    fold: Annotated[
        list[int] | None, typer.Option(min=1, max=FOLDS, help="Only this one. Repeatable.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="report.json of the recipe's five folds.")
    ] = None,
    write: Annotated[Path, typer.Option(help="The document.")] = Path("train/RESULTS.md"),
) -> None:
    """Fit trials on grouped folds, two at a time on one thread each, and write the tables.

    Example: `python -m train.results breast.csv --trial reference --trial no-noise --fold 1`
    """
    names = [one.name for one in TRIALS]
    chosen = names if trial is None else [name for name in trial if name != "none"]
    unknown = set(chosen) - set(names)
    if unknown:
        typer.echo(f"no trial '{min(unknown)}' (known: {', '.join(names)})", err=True)
        raise typer.Exit(2)
    jobs = [
        (one, manifest, number, out)
        for number in fold or range(1, FOLDS + 1)
        for one in TRIALS
        if one.name in chosen
    ]
    _run_all(jobs)
    cells = _read(manifest, TRIALS[0])
    held = None if report is None else json.loads(report.read_text(encoding="utf-8"))
    write.write_text(document(cells, out, held), encoding="utf-8")
    typer.echo(f"{write} written")


def _run_all(jobs: Sequence[tuple[Trial, Path, int, Path]]) -> None:
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(2, mp_context=context, initializer=_one_thread) as pool,
        progress("Fit", len(jobs)) as advance,
    ):
        for done in as_completed([pool.submit(run, *job) for job in jobs]):
            done.result()
            advance()


if __name__ == "__main__":
    typer.run(main)
