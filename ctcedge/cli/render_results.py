"""Console output of review, export, verify and controls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from ctcedge.cli.console import (
    messages,
    output,
    pairs,
    plural,
    print_list,
    print_unreadable_folders,
    print_warning,
    printable,
)
from ctcedge.sidecars.schema import CALLS

if TYPE_CHECKING:
    from pathlib import Path

    from ctcedge.results.agreement import Assessment, Kappa, Missed
    from ctcedge.results.controls import AddResult, Control
    from ctcedge.results.reviews import Imported
    from ctcedge.results.table import PickList
    from ctcedge.results.verification import Verified

_REVIEWER_CALLS = ("CTC", "leukocyte", "unsure")


def print_import(imported: Imported, folder_name: str | None) -> None:
    """Print what an import did.

    Args:
        imported: its result.
        folder_name: name of the folder that the file was saved from, if it is another one.
    """
    output.print(
        f"{plural(imported.entries, 'review')} by {printable(imported.reviewer)}:"
        f" {imported.applied:,} written, {imported.known:,} already there"
    )
    if folder_name is not None:
        print_warning(f"The file was saved from a folder named {folder_name}")
    for one, many, cells in (
        (
            "conflict with another reviewer; both reviews are kept",
            "conflicts with other reviewers; all reviews are kept",
            imported.conflicts,
        ),
        (
            "review dated in the future (check the clock): a later review cannot replace it",
            "reviews dated in the future (check the clock): later reviews cannot replace them",
            imported.ahead,
        ),
        (
            "review kept in the history only, as a newer one exists",
            "reviews kept in the history only, as newer ones exist",
            imported.earlier,
        ),
        (
            "cell found by its image under another name",
            "cells found by their images under other names",
            imported.moved,
        ),
        (
            "review not applied: the cell has changed since",
            "reviews not applied: the cells have changed since",
            imported.changed,
        ),
        (
            "review not applied: the cell was not found",
            "reviews not applied: the cells were not found",
            imported.missing,
        ),
        (
            "review not applied: its sidecar cannot be written",
            "reviews not applied: their sidecars cannot be written",
            imported.failed,
        ),
    ):
        print_list(one, many, pairs(cells), more="")


def print_assessment(assessment: Assessment) -> None:
    """Print how the reviews of a folder compare with the model and with each other."""
    table = Table("model's call", *(f"reviewer: {call}" for call in _REVIEWER_CALLS))
    for column in table.columns[1:]:
        column.justify = "right"
    for call in CALLS:
        counts = (f"{assessment.words[call, word]:,}" for word in _REVIEWER_CALLS)
        table.add_row(call, *counts)
    output.print(table)
    output.print(f"Reviewed: {assessment.reviewed:,} of {plural(assessment.cells, 'cell')}")
    if assessment.outdated:
        output.print(f"Reviewed, but the image has changed since: {assessment.outdated:,}")
    same, both = assessment.agreement()
    if both:
        output.print(
            f"Model and reviewer agree on {same:,} of {plural(both, 'cell')} that both classified"
        )
    output.print(_missed(assessment.missed))
    for kappa in assessment.kappas:
        output.print(_kappa(kappa))
    if left_out := assessment.readers_left_out:
        output.print(f"{plural(left_out, 'reader')} of fewer cells not compared")


def _missed(missed: Missed | None) -> str:
    title = "Estimated CTCs among the cells called leukocyte"
    if missed is None:
        return f"{title}: unknown, as no randomly drawn cell was reviewed blinded"
    unsure = f" (and {missed.drawn_unsure:,} unsure)" if missed.drawn_unsure else ""
    return (
        f"{title}: {missed.estimate:,.0f} (95 % interval {missed.low:,.0f} to {missed.high:,.0f});"
        f" reviewed as CTC: {missed.drawn_ctcs:,}{unsure} of {missed.drawn:,} randomly drawn and"
        f" {missed.other_ctcs:,} of {missed.others:,} other cells, of {missed.leukocytes:,} in all"
    )


def _kappa(kappa: Kappa) -> str:
    first, second = map(printable, kappa.readers)
    line = f"{first} and {second} agree on {kappa.same:,} of {plural(kappa.cells, 'cell')}"
    if kappa.kappa is None:
        return f"{line}; Cohen's kappa undefined, as both gave one answer only"
    interval = f"95 % interval {kappa.low:.2f} to {kappa.high:.2f}"
    return f"{line}; Cohen's kappa {kappa.kappa:.2f} ({interval})"


def print_picklist_notes(picklist: PickList) -> None:
    """Print on standard error how long a pick list is, and what to know about it."""
    if picklist.cells:
        messages.print(plural(len(picklist.cells), "confirmed CTC"))
    elif not picklist.unread:
        messages.print(
            "[yellow]The list is empty: no cell was reviewed as CTC.[/] Import reviews from the"
            " report page with 'ctcedge review import'"
        )
    left_out = "left out: reviewed as CTC, but the image changed since"
    print_list(f"cell {left_out}", f"cells {left_out}", picklist.changed, messages, more="")
    left_out = "left out: reviewed as CTC, but the image cannot be read now"
    unread = pairs(picklist.unread.items())
    print_list(f"cell {left_out}", f"cells {left_out}", unread, messages, more="")
    print_list(
        "cell has another image that was reviewed as something else",
        "cells have another image that was reviewed as something else",
        (f"{sample} / {cell}" for sample, cell in picklist.disputed),
        messages,
        more="",
    )


def print_unmeasured(problems: Mapping[str, str]) -> None:
    """Name the images of which a stain could not be measured; its columns are empty."""
    print_list(
        "image could not be measured; its cell's columns of stains are empty",
        "images could not be measured; their cells' columns of stains are empty",
        pairs(problems.items()),
        messages,
        more="",
    )


def print_verification(verified: Verified) -> None:
    """Print what was verified and what differs."""
    output.print(
        f"{verified.same_image:,} of {plural(verified.sidecars, 'sidecar')} match their image"
    )
    output.print(f"{plural(verified.followed, 'call follows', 'calls follow')} from the score")
    chains = plural(verified.sidecars - len(verified.without_chain), "sidecar has", "sidecars have")
    output.print(f"{chains} a hash chain, by which edited or removed reviews and calls show")
    if verified.without_chain:
        without = plural(len(verified.without_chain), "sidecar has", "sidecars have")
        output.print(f"{without} none yet: it is added when the sidecar is written again")
    output.print(
        f"Reproduced {verified.reproduced:,} of {plural(verified.chosen, 'recomputed call')}"
    )
    if missing := verified.crops - verified.sidecars:
        output.print(f"{plural(missing, 'crop has', 'crops have')} no readable sidecar")
    for model, count in verified.models.most_common():
        here = "missing: give --model DIR" if model in verified.missing_models else "available"
        name = printable(f"{model.name} {model.version}")
        sidecars = plural(count, "sidecar")
        output.print(f"Model: {name} (SHA-256 {model.sha256[:12]}): {sidecars}, {here}")
    for one, many, lines in (
        (
            "sidecar of another image",
            "sidecars of other images",
            pairs(verified.changed),
        ),
        ("sidecar without an image", "sidecars without an image", verified.orphans),
        ("sidecar cannot be used", "sidecars cannot be used", pairs(verified.unusable)),
        (
            "sidecar does not belong to its path",
            "sidecars do not belong to their paths",
            pairs(verified.misplaced),
        ),
        (
            "sidecar was changed after it was written",
            "sidecars were changed after they were written",
            pairs(verified.altered),
        ),
        ("call differs", "calls differ", pairs(verified.different)),
        (
            "call cannot be recomputed by this ctcedge",
            "calls cannot be recomputed by this ctcedge",
            pairs(verified.other_rules),
        ),
        ("model is damaged", "models are damaged", pairs(verified.damaged)),
    ):
        print_list(one, many, lines, more="")
    print_unreadable_folders(verified.unreadable_dirs)


def print_added_controls(added: AddResult) -> None:
    """Print which controls were added."""
    for control in added.controls:
        replaced = " (replaces the earlier count)" if control.sample in added.replaced else ""
        output.print(f"{_control(control)}{replaced}")
    for warning in added.warnings:
        print_warning(warning)


def print_controls(controls: Iterable[Control], path: Path | None) -> None:
    """Print all controls and the file that holds this account's."""
    lines = [_control(control) for control in controls]
    for line in lines or ["No controls: the expected number of false positives is unknown here."]:
        output.print(line)
    if path is not None:
        output.print(f"File: {printable(str(path))}")


def _control(control: Control) -> str:
    rate = 10_000 * control.ctc_calls / control.cells
    context = control.context
    ctcs = f"; {plural(control.confirmed_ctcs, 'confirmed CTC')}" if control.confirmed_ctcs else ""
    return (
        f"{printable(control.sample)}: {control.ctc_calls:,} of {plural(control.cells, 'cell')}"
        f" called CTC ({rate:.1f} per 10,000) by {printable(control.model)}"
        f" ({context.model_sha256[:12]}), {context.operating_point or 'own thresholds'};"
        f" added {control.added[:10]}{ctcs}"
    )
