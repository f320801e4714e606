"""Text of the report: title, summary, explanations and tables, for Markdown and HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from ctcedge.classification.decision import NEAR_THRESHOLD

from .bootstrap import Estimate
from .calls import Calls
from .evaluation import Evaluation
from .figures import MEANING, SECTIONS, CellCounts, Figures

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


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
