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

UNKNOWN = "not estimable"

NOTICES = (
    "Research software, not a diagnostic.",
    "Figures on one data set do not apply to another instrument, stain, cell line or patient"
    " group.",
)

EXPLANATIONS = (
    "In brackets: 95 % percentile bootstrap intervals, resampling whole patients or samples.",
    "The model states probabilities at its prior: log loss, Brier score and ECE weight the classes"
    " to it, and the constant predictor is the prior. Restated at these cells' own fraction of CTCs"
    " (Bayes' rule), they need no weights, and the constant predictor is that fraction.",
    "'Not estimable': too few cells or samples, such as fewer than 3,000 negatives for 1 in 1,000;"
    " for samples, that all of them have CTCs, or none.",
    "'Negatives' are cells that are not CTCs.",
    "Calls are those of `ctcedge classify`, which also flags cells for review by its quality checks"
    " and its out-of-distribution detection. All other figures depend on the probabilities alone.",
)

BASELINES = {
    "size": "Size only",
    "texture": "Gradient boosting on texture",
}
"""Names of the baselines in text."""


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
    """Return a description of the test cells, in one or two sentences."""
    found = evaluation.figures
    unlabelled = f" {found.unlabelled:,} more cells have no label." if found.unlabelled else ""
    patients = (
        f" (of {found.groups:,} patients, or samples without one)"
        if found.groups != found.samples
        else ""
    )
    by_first = (
        ", or by the first where it has no labelled cell"
        if len(np.unique(evaluation.scored.cells.group)) > found.groups
        else ""
    )
    who = ""
    if len(evaluation.models) > 1:
        who = (
            "Each cell was scored by the one model that was not trained on its patient or"
            f" sample{by_first}."
        )
    elif evaluation.leak_checked:
        who = "No image of these cells, patients or samples was used for training."
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
    made["Reasons for review (a cell may have several)"] = _reasons(evaluation.calls)
    if found.baselines:
        made[f"Comparison with baselines, fitted on {_training_cells(evaluation)}"] = _compared(
            found
        )
    if found.operating_points:
        made["Operating points"] = _points(found)
    made["Strata"] = _strata(found)
    made["Samples"] = _samples(found)
    return made


def format_estimate(name: str, estimate: Estimate) -> str:
    """Format a figure with its interval."""
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
            "Difference in AUC, model minus baseline",
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
        ["Fraction of the CTCs", *(format_estimate("share", part.ctcs_fraction) for part in parts)],
        [
            "Fraction of the negatives",
            *(format_estimate("share", part.negatives_fraction) for part in parts),
        ],
        ["CTCs", *(f"{part.ctcs:,}" for part in parts)],
        ["Negatives", *(f"{part.negatives:,}" for part in parts)],
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
    head = ["Reason", "Fraction of the CTCs", "Fraction of the negatives"]
    return [
        [*head, "CTCs at or above the threshold", "Negatives at or above it"],
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
        ["Stratum", *_COUNTED, "Fraction called CTC", "AUC against all of the other class"],
        *(
            [
                *_counted(stratum.counts),
                format_estimate("called", stratum.called),
                format_estimate("auc", stratum.auc),
            ]
            for stratum in found.strata
        ),
    ]


def _samples(found: Figures) -> list[list[str]]:
    return [["Sample", *_COUNTED], *(_counted(counts) for counts in found.per_sample)]


_COUNTED = ("Cells", "CTCs", "Negatives", "Mean probability", "Called CTC", "In review band")


def _counted(counts: CellCounts) -> list[str]:
    return [
        counts.name or "(none)",
        *(f"{count:,}" for count in (counts.cells, counts.ctcs, counts.negatives)),
        f"{counts.mean_probability:.3f}",
        *(f"{count:,}" for count in (counts.called, counts.review)),
    ]


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
