"""What the commands around finished sidecars tell a person: review, export, verify, controls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table

from ctcedge.cli.render import left_out, listed, messages, output, pairs, printable
from ctcedge.results.tally import CALLS

if TYPE_CHECKING:
    from ctcedge.results.agreement import Assessment, Kappa, Missed
    from ctcedge.results.controls import AddResult, Control
    from ctcedge.results.reviews import Imported
    from ctcedge.results.table import PickList
    from ctcedge.results.verify import Verified


def imported(found: Imported, folder_name: str | None) -> None:
    """Print what an import did; `folder_name` where the file is of a folder of another name."""
    output.print(
        f"{found.entries:,} reviews by {printable(found.reviewer)}: {found.applied:,} written,"
        f" {found.known:,} already there"
    )
    if folder_name is not None:
        messages.print(
            f"[yellow]The file was saved from a folder named {printable(folder_name)}[/]"
        )
    for title, cells in (
        ("conflict with another reviewer; both reviews are kept", found.conflicts),
        (
            "dated in the future (is a clock wrong?): a later review cannot replace them",
            found.ahead,
        ),
        ("only kept in the history, as a later review stands", found.earlier),
        ("found by their image under another name", found.moved),
        ("not applied, as the cell changed since", found.changed),
        ("not applied, as the cell was not found", found.missing),
        ("not applied, as the sidecar cannot be written", found.failed),
    ):
        listed(title, pairs(cells), then="")


def assessment(found: Assessment) -> None:
    """Print what the reviews of a folder say."""
    words = ("CTC", "leukocyte", "unsure")
    table = Table("the model's call", *(f"person: {word}" for word in words))
    for column in table.columns[1:]:
        column.justify = "right"
    for call in CALLS:
        table.add_row(call, *(str(found.words[call, word]) for word in words))
    output.print(table)
    output.print(f"Reviewed: {found.reviewed:,} of {found.cells:,} cells")
    if found.outdated:
        output.print(f"Reviewed, but of an image that changed since: {found.outdated:,}")
    same, both = found.agreement()
    if both:
        output.print(f"Model and person agree on {same:,} of {both:,} that both called")
    output.print(_missed(found.missed))
    for each in found.kappas:
        output.print(_kappa(each))


def _missed(found: Missed | None) -> str:
    title = "CTCs missed among the cells called leukocyte"
    if found is None:
        return f"{title}: unknown: none of the randomly drawn cells was reviewed blinded"
    unsure = f", of {found.drawn_unsure:,} unsure" if found.drawn_unsure else ""
    return (
        f"{title}: {found.estimate:,.0f} (95 % interval {found.low:,.0f} to {found.high:,.0f}):"
        f" {found.drawn_ctcs:,} among {found.drawn:,} drawn at random{unsure},"
        f" {found.other_ctcs:,} among {found.others:,} looked at otherwise,"
        f" {found.leukocytes:,} in all"
    )


def _kappa(found: Kappa) -> str:
    one, two = map(printable, found.readers)
    line = f"{one} and {two}: the same on {found.same:,} of {found.cells:,} cells"
    if found.kappa is None:
        return f"{line}; kappa unknown: both said one word only"
    return f"{line}; kappa {found.kappa:.2f} (95 % interval {found.low:.2f} to {found.high:.2f})"


def picked(found: PickList) -> None:
    """Say on standard error how long a pick list is, and what a person should know of it."""
    cells = len(found.cells)
    messages.print(
        f"{cells:,} confirmed CTC{'s' * (cells != 1)}"
        if cells
        else "[yellow]The list is empty: no cell was reviewed as CTC.[/] Reviews come from the"
        " report page, by 'ctcedge review import'"
    )
    title = "left out: reviewed as CTC, but the image changed since"
    listed(title, found.changed, messages, then="")
    disputed = (f"{sample} / {cell}" for sample, cell in found.disputed)
    listed("have another image that was called something else", disputed, messages, then="")


def verified(found: Verified) -> None:
    """Print what was verified, and what not."""
    output.print(
        f"{found.same_image:,} of {found.sidecars:,} sidecars are of the image that lies there now"
    )
    output.print(f"{found.reproduced:,} of {found.chosen:,} calls made again are the same")
    if found.crops > found.sidecars:
        output.print(f"{found.crops - found.sidecars:,} crops have no sidecar that can be read")
    for made_by, count in found.models.most_common():
        here = "not at hand: give --model DIR" if made_by in found.missing_models else "at hand"
        name = printable(f"{made_by.name} {made_by.version}")
        output.print(f"Model: {name} (SHA-256 {made_by.sha256[:12]}): {count:,}, {here}")
    for title, lines in (
        ("of another image", pairs(found.changed)),
        ("sidecars without an image", found.orphans),
        ("sidecars cannot be used", pairs(found.unusable)),
        ("calls are not the same", pairs(found.different)),
        ("calls cannot be made again by this ctcedge", pairs(found.other_rules)),
        ("models are damaged", pairs(found.damaged)),
    ):
        listed(title, lines, then="")
    left_out(found.closed)


def added(found: AddResult) -> None:
    """Say what was added to the controls."""
    for each in found.controls:
        again = " (replaces what was there)" if each.sample in found.replaced else ""
        output.print(f"{_control(each)}{again}")
    for doubt in found.doubts:
        messages.print(f"[yellow]{printable(doubt)}[/]")


def controls(found: Iterable[Control], place: str) -> None:
    """List controls by what decided."""
    count = 0
    for count, each in enumerate(found, start=1):  # noqa: B007
        output.print(_control(each))
    if not count:
        output.print("No controls: false CTC calls to expect are unknown here.")
    output.print(f"Kept in: {printable(place)}")


def _control(each: Control) -> str:
    rate = 10_000 * each.ctc_calls / each.cells
    return (
        f"{printable(each.sample)}: {each.ctc_calls:,} of {each.cells:,} cells called CTC"
        f" ({rate:.1f} per 10,000) by {printable(each.model)}"
        f" ({each.rule.model_sha256[:12]}), {each.rule.operating_point or 'own decision'};"
        f" added {each.added[:10]}"
    )
