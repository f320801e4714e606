"""Write the report: report.json, report.md and scores.csv.

The top level of report.json has each figure of `train.evaluate.figures.MEANING` by its name, and
its 95 % interval as `<name>_interval`, [low, high]; null where it cannot be estimated. The other
keys are:

    schema              ctcedge/evaluation/1
    models              name, version, sha256 (of model.json), training, demonstration; one per fold
    manifests           their paths
    warnings            sentences to read first
    leak_checked        whether it is certain that no cell's patient or sample was trained on
    pretrained_on       patients or samples among these that the model's pretraining used without
                        labels
    cells, ctcs         number of cells with a label, and of CTCs among them
    unlabelled          cells without a label, which are in strata and per_sample only
    samples, groups     groups are the units of the bootstrap: patients, or samples
    prior               fraction of CTCs for which the probabilities are stated
    seed, draws         of the bootstrap
    baselines           by name (size, texture) the ranking figures and auc_gain, the difference
                        of the model's AUC and the baseline's; null where they are not available
    baselines_fitted_on [n, of]: number of the models' training cells that the baselines are fitted
                        on, and of all training cells, over all folds; zeros where not available
    operating_points    by name, the figures of its calls
    calls               of the runtime, by call (CTC, leukocyte, review): numbers of ctcs, others
                        (negatives) and unlabelled cells; CTCs and negatives at or above the
                        threshold (ctcs_above, others_above); fractions of all CTCs and of all
                        negatives (ctcs_share, others_share, each with its interval)
    doubted             the same, for cells flagged for review whatever their probability
    reasons             the same, by reason for review; a cell may have several
    strata, per_sample  cells, ctcs, others (negatives), mean_probability, called (CTC), review;
                        and a stratum's called_share and auc against all of the other class

All keys but calls, doubted and reasons depend on the probabilities alone, not on the quality
checks or the out-of-distribution detection.

scores.csv has a row per cell: sample, cell, label, stratum, probability, call, fold, reasons; call
and reasons are the runtime's, and the reasons are separated by spaces.
"""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ctcedge.fs.files import atomic_write, atomic_writer

from .bootstrap import Estimate
from .calls import CallGroup
from .evaluation import Evaluation
from .figures import CellCounts
from .tables import EXPLANATIONS, NOTICES, markdown_table, summary, tables, title

SCHEMA = "ctcedge/evaluation/1"


def as_dict(evaluation: Evaluation) -> dict[str, Any]:
    """Return the contents of report.json."""
    found = evaluation.figures
    return {
        "schema": SCHEMA,
        "models": [
            {
                "name": model.spec.name,
                "version": model.spec.version,
                "sha256": model.sha256,
                "training": model.spec.training,
                "demonstration": model.spec.demonstration,
            }
            for model in evaluation.models
        ],
        "manifests": [str(path) for path in evaluation.manifests],
        "warnings": evaluation.warnings,
        "leak_checked": evaluation.leak_checked,
        "pretrained_on": evaluation.scored.unlabelled,
        "cells": found.cells,
        "ctcs": found.ctcs,
        "unlabelled": found.unlabelled,
        "samples": found.samples,
        "groups": found.groups,
        "prior": found.prior,
        "seed": evaluation.seed,
        "draws": evaluation.draws,
        **_plain(found.values),
        "baselines": (
            None
            if evaluation.scored.baselines is None
            else {name: _plain(values) for name, values in found.baselines.items()}
        ),
        "baselines_fitted_on": list(evaluation.fitted_on),
        "operating_points": {n: _plain(values) for n, values in found.operating_points.items()},
        "calls": {call: _part(part) for call, part in evaluation.calls.by_call.items()},
        "doubted": _part(evaluation.calls.flagged),
        "reasons": {reason: _part(part) for reason, part in evaluation.calls.by_reason.items()},
        "strata": [
            {
                **_counts(stratum.counts),
                **_plain({"called_share": stratum.called, "auc": stratum.auc}),
            }
            for stratum in found.strata
        ],
        "per_sample": [_counts(counts) for counts in found.per_sample],
    }


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """Write report.json, report.md and scores.csv."""
    text = json.dumps(as_dict(evaluation), indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write(folder / "report.json", f"{text}\n".encode())
    atomic_write(folder / "report.md", markdown(evaluation).encode())
    _write_scores(evaluation, folder / "scores.csv")


def markdown(evaluation: Evaluation) -> str:
    """Return the contents of report.md."""
    found = evaluation.figures
    parts = [f"# {title(evaluation)}", *(f"**{notice}**" for notice in NOTICES)]
    if evaluation.warnings:
        parts.append("\n".join(f"- {warning}" for warning in evaluation.warnings))
    parts.append(summary(evaluation))
    for name, rows in tables(evaluation).items():
        head, *body = rows
        parts.append(f"## {name}\n\n{markdown_table(head, body)}")
    if not found.baselines:
        parts.append("Baselines: not available.")
    parts.append("## How to read this\n\n" + "\n".join(f"- {line}" for line in EXPLANATIONS))
    return "\n\n".join(parts) + "\n"


def _plain(values: dict[str, Estimate]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, estimate in values.items():
        known = not math.isnan(estimate.value)
        plain[name] = estimate.value if known else None
        plain[f"{name}_interval"] = (
            [estimate.low, estimate.high] if known and not math.isnan(estimate.low) else None
        )
    return plain


def _part(group: CallGroup) -> dict[str, Any]:
    return {
        "ctcs": group.ctcs,
        "others": group.negatives,
        "unlabelled": group.unlabelled,
        "ctcs_above": group.ctcs_above,
        "others_above": group.negatives_above,
        **_plain({"ctcs_share": group.ctcs_fraction, "others_share": group.negatives_fraction}),
    }


def _counts(counts: CellCounts) -> dict[str, Any]:
    keys = {"negatives": "others"}
    return {keys.get(name, name): value for name, value in asdict(counts).items()}


def _write_scores(evaluation: Evaluation, path: Path) -> None:
    scored = evaluation.scored
    folds = len(evaluation.models) > 1
    with atomic_writer(path) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
        table = csv.writer(text, lineterminator="\n")
        table.writerow(
            ("sample", "cell", "label", "stratum", "probability", "call", "fold", "reasons")
        )
        for index, row in enumerate(scored.rows):
            by, verdict = scored.by[index], scored.verdicts[index]
            table.writerow(
                (
                    row.sample_id,
                    row.cell,
                    row.label,
                    row.stratum,
                    f"{verdict.probability:.6f}",
                    verdict.call,
                    evaluation.models[by].folder.name if folds else "",
                    " ".join(verdict.reasons),
                )
            )
