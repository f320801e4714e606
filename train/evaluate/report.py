"""The report for programs and for reading: report.json, report.md and scores.csv.

report.json holds, at its top level, each figure of `train.evaluate.figures.MEANING` by its name,
and its 95 % interval as `<name>_interval`, [low, high]; null where the cells cannot tell. Beside
them:

    schema              ctcedge/evaluation/1
    models              name, version, sha256 (of model.json), training, demonstration; one a fold
    manifests           their paths
    warnings            sentences to read first
    leak_checked        whether it is certain that no cell's patient or sample was trained on
    cells, ctcs         of known label
    unlabelled          cells of unknown label, which stand in strata and per_sample alone
    samples, groups     groups are what the intervals draw: patients, or samples
    prior               share of CTCs at which the probabilities are stated
    seed, draws         of the bootstrap
    baselines           by name (size, texture) the ranking figures and auc_gain, the model's AUC
                        less the baseline's; null where they are not available
    baselines_fitted_on [n, of]: on how many of the models' training cells, all folds together;
                        zeros where they are not available
    operating_points    by name, the figures of its calls
    calls               the runtime's, by call (CTC, leukocyte, review): how many ctcs, others and
                        unlabelled cells; how many CTCs and others of them are at or above the
                        threshold (ctcs_above, others_above); which share of all CTCs and of all
                        others they are (ctcs_share, others_share, each with its interval)
    doubted             likewise, of the cells that go to a person whatever their probability
    reasons             likewise, by reason for review; a cell may have several
    strata, per_sample  cells, ctcs, others, mean_probability, called (CTC), review; a stratum's
                        called_share and auc against all of the other class

All but calls, doubted and reasons goes by the probabilities of all cells, as if there were no
quality gate and no comparison with the training data.

scores.csv has a row a cell: sample, cell, label, stratum, probability, call, fold, reasons; call
and reasons are the runtime's, and spaces part the reasons.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ctcedge.classification.decision import NEAR_THRESHOLD

from .bootstrap import Estimate
from .calls import CallGroup, Calls
from .evaluation import Evaluation
from .figures import MEANING, SECTIONS, CellCounts, Figures

SCHEMA = "ctcedge/evaluation/1"
UNKNOWN = "cannot be told"

NOTICES = (
    "Research software, not a diagnostic.",
    "Figures on one data set do not carry to another: not to another instrument, stain, cell line"
    " or patient group.",
)

EXPLANATIONS = (
    "In brackets: 95 % percentile bootstrap intervals, whole patients or samples drawn anew.",
    "The model states probabilities at its prior, so log loss, Brier score and ECE weight the"
    " classes to it, and the constant predictor says the prior; restated at these cells' own share"
    " of CTCs (Bayes' rule), no weights are needed, and the constant predictor says that share.",
    "'Cannot be told': too few cells or samples, such as fewer than 3,000 others for 1 in 1,000; of"
    " samples, that all of them hold CTCs, or none.",
    "'Others' are cells that are no CTCs.",
    "Calls are those of `ctcedge classify`, which sends cells to a person also for what the quality"
    " gate finds and because they are unlike the training data. All other figures take every cell"
    " by its probability.",
)

BASELINES = {
    "size": "Size only",
    "texture": "Gradient boosting on texture",
}
"""What a baseline is called in text."""


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
            {**asdict(one.counts), **_plain({"called_share": one.called, "auc": one.auc})}
            for one in found.strata
        ],
        "per_sample": [asdict(one) for one in found.per_sample],
    }


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """Write report.json, report.md and scores.csv."""
    text = json.dumps(as_dict(evaluation), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    (folder / "report.md").write_text(markdown(evaluation), encoding="utf-8")
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


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def title(evaluation: Evaluation) -> str:
    """Return the report's headline."""
    spec = evaluation.models[0].spec
    folds = f", {len(evaluation.models)} folds" if len(evaluation.models) > 1 else ""
    return f"Evaluation of {spec.name} {spec.version}{folds}"


def summary(evaluation: Evaluation) -> str:
    """Return what was tested on, in a sentence or two."""
    found = evaluation.figures
    unlabelled = f" {found.unlabelled:,} more cells have no label." if found.unlabelled else ""
    patients = (
        f" (of {found.groups:,} patients, or samples without one)"
        if found.groups != found.samples
        else ""
    )
    by_first = (
        ", or by the first where that holds no labelled cell"
        if len(np.unique(evaluation.scored.cells.group)) > found.groups
        else ""
    )
    who = ""
    if len(evaluation.models) > 1:
        who = (
            "Each cell was scored by the one model that never saw an image of its patient or"
            f" sample{by_first}."
        )
    elif evaluation.leak_checked:
        who = "No cell's image, nor another of its patient or sample, was trained on."
    return (
        f"{found.cells:,} labelled cells, {found.ctcs:,} of them CTCs, of {found.samples:,} samples"
        f"{patients}.{unlabelled} {who}".rstrip()
    )


def tables(evaluation: Evaluation) -> dict[str, list[list[str]]]:
    """Return the report's tables by heading, each with its head first."""
    found = evaluation.figures
    made = {
        heading: [
            ["", "Model"],
            *([text, format_estimate(name, found[name])] for name, text in rows.items()),
        ]
        for heading, rows in SECTIONS.items()
    }
    made["Calls of the runtime"] = _calls(evaluation.calls)
    made["What goes to a person, and why (a cell may have several reasons)"] = _reasons(
        evaluation.calls
    )
    if found.baselines:
        made[f"Beside the baselines, fitted on {_training_cells(evaluation)}"] = _compared(found)
    if found.operating_points:
        made["Operating points"] = _points(found)
    made["Strata"] = _strata(found)
    made["Samples"] = _samples(found)
    return made


def format_estimate(name: str, estimate: Estimate) -> str:
    """Write a figure with its interval."""
    if math.isnan(estimate.value):
        return UNKNOWN
    digits = 0 if "per_10000" in name else 3
    value, low, high = (
        f"{number:z,.{digits}f}" for number in (estimate.value, estimate.low, estimate.high)
    )
    return value if math.isnan(estimate.low) else f"{value} ({low} to {high})"


def _training_cells(evaluation: Evaluation) -> str:
    shown, every = evaluation.fitted_on
    if shown == every:
        return "the model's own training cells"
    return f"{shown:,} of the model's own {every:,} training cells"


def _compared(found: Figures) -> list[list[str]]:
    first = next(iter(found.baselines.values()))
    names = [name for name in MEANING if name in first]
    return [
        ["", "Model", *(BASELINES.get(name, name) for name in found.baselines)],
        *(
            [
                MEANING[name],
                format_estimate(name, found[name]),
                *(format_estimate(name, values[name]) for values in found.baselines.values()),
            ]
            for name in names
        ),
        [
            "AUC of the model less that of the baseline",
            "",
            *(
                format_estimate("auc_gain", values["auc_gain"])
                for values in found.baselines.values()
            ),
        ],
    ]


def _points(found: Figures) -> list[list[str]]:
    points = found.operating_points
    return [
        ["", *points],
        *(
            [MEANING[name], *(format_estimate(name, values[name]) for values in points.values())]
            for name in next(iter(points.values()))
        ),
    ]


def _calls(calls: Calls) -> list[list[str]]:
    parts = calls.by_call.values()
    rows = [
        ["Share of the CTCs", *(format_estimate("share", part.ctcs_fraction) for part in parts)],
        [
            "Share of the others",
            *(format_estimate("share", part.negatives_fraction) for part in parts),
        ],
        ["CTCs", *(f"{part.ctcs:,}" for part in parts)],
        ["Others", *(f"{part.negatives:,}" for part in parts)],
    ]
    if any(part.unlabelled for part in parts):
        rows.append(["Cells without a label", *(f"{part.unlabelled:,}" for part in parts)])
    return [["", *(f"Called {call}" for call in calls.by_call)], *rows]


def _reasons(calls: Calls) -> list[list[str]]:
    named = {
        "any": calls.by_call["review"],
        f"any but {NEAR_THRESHOLD}": calls.flagged,
        **calls.by_reason,
    }
    head = ["Reason", "Share of the CTCs", "Share of the others"]
    return [
        [*head, "CTCs that the threshold finds", "Others that it calls CTC"],
        *(
            [
                reason,
                format_estimate("share", part.ctcs_fraction),
                format_estimate("share", part.negatives_fraction),
                f"{part.ctcs_above:,} of {part.ctcs:,}",
                f"{part.negatives_above:,} of {part.negatives:,}",
            ]
            for reason, part in named.items()
        ),
    ]


def _strata(found: Figures) -> list[list[str]]:
    return [
        ["Stratum", *_COUNTED, "Share called CTC", "AUC against all of the other class"],
        *(
            [
                *_counted(one.counts),
                format_estimate("called", one.called),
                format_estimate("auc", one.auc),
            ]
            for one in found.strata
        ),
    ]


def _samples(found: Figures) -> list[list[str]]:
    return [["Sample", *_COUNTED], *(_counted(one) for one in found.per_sample)]


_COUNTED = ("Cells", "CTCs", "Others", "Mean probability", "Called CTC", "In review band")


def _counted(one: CellCounts) -> list[str]:
    return [
        one.name or "(none)",
        *(f"{count:,}" for count in (one.cells, one.ctcs, one.negatives)),
        f"{one.mean_probability:.3f}",
        *(f"{count:,}" for count in (one.called, one.review)),
    ]


def _plain(values: dict[str, Estimate]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, estimate in values.items():
        told = not math.isnan(estimate.value)
        plain[name] = estimate.value if told else None
        plain[f"{name}_interval"] = (
            [estimate.low, estimate.high] if told and not math.isnan(estimate.low) else None
        )
    return plain


def _part(part: CallGroup) -> dict[str, Any]:
    return {
        "ctcs": part.ctcs,
        "others": part.negatives,
        "unlabelled": part.unlabelled,
        "ctcs_above": part.ctcs_above,
        "others_above": part.negatives_above,
        **_plain({"ctcs_share": part.ctcs_fraction, "others_share": part.negatives_fraction}),
    }


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _write_scores(evaluation: Evaluation, path: Path) -> None:
    scored = evaluation.scored
    folds = len(evaluation.models) > 1
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
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
