"""Fit the trials on grouped folds and write `train/RESULTS.md`.

`python -m train.research.results --help`. An interrupted run continues where it stopped, and
trials can be added later. The tables show the trials run so far and list the others. A section
without a trial run here is not changed. The recipe's own figures come from its evaluation report
(`--report`).
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from ..data.dataset import Cells
from ..evaluate.bootstrap import Estimate
from ..evaluate.tables import UNKNOWN, format_estimate, markdown_table
from ..util.command_line import path_argument, path_option, run_program, whole_option
from ..util.errors import exit_on, fail
from ..util.progress import progress
from .comparison import BETTER, BY_CHANCE, NOTHING, WORSE, compare
from .markdown import put_sections, stamp
from .trial_scores import HeldOutScores, benchmark, read_scores, run
from .trials import (
    CLAIMS,
    FIRST_NETWORK,
    FOLDS,
    NETWORK_CLAIM,
    NETWORKS,
    REFERENCE,
    SEEDS,
    TRIALS,
    Claim,
    Trial,
)

RESULTS = Path("train/RESULTS.md")

RECIPE = "The recipe: preset `cpu`, the INT8 graphs that the runtime loads"
ERROR_ANALYSIS = "Error analysis: what limits the AUC"
CLAIMED = "What the study claims, and what this shows"
COMPARED = "One change at a time"
NETWORKED = "The study's networks"
ORDER = (RECIPE, ERROR_ANALYSIS, CLAIMED, COMPARED, NETWORKED)
"""Headings of the document; `train.research.error_analysis` makes the second section."""


_NOT_RUN = "not run"
_CONCLUSIONS = {
    BETTER: "Shown for",
    WORSE: "The opposite is shown for",
    BY_CHANCE: "Not shown (no more than another seed makes) for",
    NOTHING: "Nothing is shown for",
    UNKNOWN: "Not estimable for",
    _NOT_RUN: "Not run yet",
}
_COMMAND = "python -m train.research.results"


def _one_thread() -> None:
    torch.set_num_threads(1)


def made_sections(cells: Cells, out: Path) -> dict[str, str]:
    """Write the sections on the trials run so far, by heading.

    Raises:
        RunError: one of them was of another recipe or of other cells.
    """
    held = read_scores(TRIALS, cells, out)
    networks = [trial for trial in TRIALS if trial.table == NETWORKS]
    changes = [trial for trial in TRIALS if trial.table != NETWORKS]
    made = {"": _head(cells)}
    if any(trial.name in held for trial in changes):
        names = (REFERENCE, *SEEDS) if REFERENCE in held else ()
        seeds = [held[name] for name in names if name in held]
        lines = "\n".join(f"- {_claim(cells, held, claim, seeds)}" for claim in CLAIMS)
        made[CLAIMED] = f"{stamp(_COMMAND)}\n\n{_OF_CLAIMS}\n\n{lines}"
        made[COMPARED] = _comparisons(cells, held, changes, REFERENCE, seeds, _INTRODUCTION)
    if any(trial.name in held for trial in networks):
        # The reference's seeds are of another width, and say nothing of these.
        introduction = f"{_OF_NETWORKS}\n\n{_claim(cells, held, NETWORK_CLAIM, ())}"
        made[NETWORKED] = _comparisons(cells, held, networks, FIRST_NETWORK, (), introduction)
    return made


def _comparisons(
    cells: Cells,
    held: Mapping[str, HeldOutScores],
    compared: Sequence[Trial],
    reference: str,
    seeds: Sequence[HeldOutScores],
    introduction: str,
) -> str:
    blocks = [stamp(_COMMAND), introduction]
    for table, trials in groupby(compared, key=lambda trial: trial.table):
        rows = []
        for trial in trials:
            against = None if trial.name == reference else held.get(reference)
            mine = held.get(trial.name)
            found = mine and compare(cells, mine, against, seeds)
            if found:
                rows.append(
                    [
                        trial.title,
                        f"{found.folds}",
                        f"{found.cells:,}",
                        format_estimate("auc", found.auc),
                        _gain(found.gain),
                        found.verdict,
                        format_estimate("sample_auc", found.sample_auc),
                    ]
                )
        if rows:
            blocks.append(f"### {table}\n\n{markdown_table(_COLUMNS, rows)}")
    missing = [f"- {trial.table}: {trial.title}" for trial in compared if trial.name not in held]
    if missing:
        blocks.append("### Not run yet\n\nThe same command runs these:\n\n" + "\n".join(missing))
    return "\n\n".join(blocks)


_COLUMNS = (
    "Trial",
    f"Folds of {FOLDS}",
    "Cells",
    "AUC",
    "Gain over the reference",
    "What the gain shows",
    "AUC by acquisition",
)

_INTRODUCTION = f"""\
Each trial changes one setting of the reference, which trains for 16 epochs only: long enough for a
comparison, not for the best result. The intervals are 95 % bootstrap intervals over acquisitions. A
gain is the difference in AUC on the same cells, its interval paired. Where it contains zero,
{NOTHING}; where it does not, but another seed alone has changed the AUC of the reference as much on
these cells, it is '{BY_CHANCE}'. One seed each, unless a row states otherwise."""


_OF_NETWORKS = """\
The same short schedule as above, at full width, 64 px. A gain is over ResNet-18; one seed each,
and the effect of another seed was not measured here."""


_OF_CLAIMS = "By the rules of the tables below, on these two cell lines and a short schedule."


def _claim(
    cells: Cells, held: Mapping[str, HeldOutScores], claim: Claim, seeds: Sequence[HeldOutScores]
) -> str:
    """Write one line: for which pairs it is shown, for which not, and the gains."""
    by_verdict: dict[str, list[str]] = {}
    for pair in claim.pairs:
        found = None
        if pair.better in held and pair.other in held:
            found = compare(cells, held[pair.better], held[pair.other], seeds)
        verdict = found.verdict if found else _NOT_RUN
        gain = f" {_gain(found.gain)} on {_folds(found.folds)}" if found else ""
        by_verdict.setdefault(_CONCLUSIONS[verdict], []).append(f"{pair.title}{gain}")
    parts = [
        f"{conclusion}: {', '.join(by_verdict[conclusion])}"
        for conclusion in dict.fromkeys(_CONCLUSIONS.values())
        if conclusion in by_verdict
    ]
    return f"**{claim.text}.** {'. '.join(parts)}."


def _head(cells: Cells) -> str:
    return f"""\
# What the recipe is worth on real images

Each section says when and how it was made. The page Research of the documentation shows how to
repeat it.

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
    ("deferred_70_ctc", "Fraction of the tumour cells left for review by that"),
    ("deferred_70_other", "Fraction of the benign cells left for review by that"),
    ("log_loss", "Log loss"),
    ("brier", "Brier score"),
    ("calibration_slope", "Calibration slope"),
    ("ece", "Expected calibration error"),
)


def recipe_section(report: dict[str, Any]) -> str:
    """Write the figures of report.json on the recipe's folds."""
    rows = []
    for key, title in _FIGURES:
        estimate = Estimate(report[key], *report[f"{key}_interval"])
        constant = report.get(f"{key}_constant")
        beside = f" (constant predictor {constant:.3f})" if constant is not None else ""
        rows.append([title + beside, format_estimate(key, estimate)])
    return f"""\
{stamp(f"{_COMMAND} --report")}

{len(report["models"])} of {FOLDS} folds, {report["cells"]:,} cells of {report["samples"]}
acquisitions, each scored by the network that never saw its acquisition.

""" + markdown_table(["Figure, pooled out of fold", ""], rows)


def _folds(count: int) -> str:
    return "1 fold" if count == 1 else f"{count} folds"


def _gain(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


def main(
    manifest: Annotated[Path, path_argument("Manifest of the benchmark's cells.", "MANIFEST")],
    out: Annotated[Path, path_option("Parent of the runs.")] = Path("runs/results"),
    trial: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Run this trial only; 'none' only writes the tables. Repeatable."
        ),
    ] = None,
    fold: Annotated[
        list[int] | None, whole_option("Run this fold only. Repeatable.", 1, FOLDS)
    ] = None,
    report: Annotated[
        Path | None, path_option("report.json of the recipe's five folds.", "FILE")
    ] = None,
    write: Annotated[Path, path_option("Markdown file to update.", "FILE")] = Path(
        "train/RESULTS.md"
    ),
) -> None:
    """Fit trials on grouped folds, two at a time on one thread each, and write the tables.

    Example: python -m train.research.results breast.csv --trial reference --trial no-noise --fold
    1
    """
    names = [one.name for one in TRIALS]
    chosen = names if trial is None else [name for name in trial if name != "none"]
    unknown = set(chosen) - set(names)
    if unknown:
        raise fail(f"no trial '{min(unknown)}' (known: {', '.join(names)})")
    with exit_on(ValueError, OSError):
        cells = benchmark(manifest, TRIALS[0])
        # Refuses scores of other cells before hours of fitting.
        held = read_scores(TRIALS, cells, out)
        jobs = [
            (one, manifest, number, out)
            for number in fold or range(1, FOLDS + 1)
            for one in TRIALS
            if one.name in chosen and not (one.name in held and number in held[one.name].fold)
        ]
        if jobs:
            _run_all(jobs)
        made = made_sections(cells, out)
    if report is not None:
        made[RECIPE] = recipe_section(json.loads(report.read_text(encoding="utf-8")))
    put_sections(write, made, ORDER)
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
    run_program(main)
