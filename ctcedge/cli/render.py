"""What a person sees: tables, progress and messages, all on standard error but for results."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ctcedge.discovery.naming import BRIGHT_FIELD, Skipped
from ctcedge.log import escape_control_chars
from ctcedge.results.tally import CALLS

if TYPE_CHECKING:  # what is shown; loading it all here would make light commands slow
    from ctcedge.classification.decision import Policy
    from ctcedge.classification.ood import DomainShift
    from ctcedge.discovery.scan import CropListing
    from ctcedge.doctor import Check
    from ctcedge.model.folder import Model
    from ctcedge.model.spec import ModelSpec, Parity
    from ctcedge.pipeline.run import Run
    from ctcedge.results.inspect import Inspection
    from ctcedge.results.status import Status
    from ctcedge.results.summary import Summary
    from ctcedge.sidecars.scan import Closed

output = Console(highlight=False, soft_wrap=True, emoji=False)
messages = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

UM_PER_PX_UNKNOWN = (
    "model knows no um/px: crops must come from the same instrument and magnification as those that"
    " it was trained on"
)

_SHOWN = 20
_REST_IN_JSON = "; --json lists all"


def printable(text: str) -> str:
    """A name from outside, safe to print: control characters and markup are escaped."""
    return escape(escape_control_chars(text))


@contextmanager
def progress(total: int | None, task: str = "Classifying") -> Iterator[Progress]:
    """A progress bar on a terminal; nothing elsewhere.

    Args:
        total: steps; None while unknown.
        task: what takes so long.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages, disable=not sys.stderr.isatty()) as bar:
        bar.add_task(task, total=total)
        yield bar


def opening(run: Run) -> None:
    """Say which model runs where, and what is assumed."""
    for level, text in notices(run):
        messages.print(printable(text), style="yellow" if level == logging.WARNING else None)


def notices(run: Run) -> Iterator[tuple[int, str]]:
    """What to know before a run, with logging's levels: model, provider, what is assumed."""
    spec = run.classifier.model.spec
    engine = run.classifier.engine
    yield (
        logging.INFO,
        f"Model {spec.name} {spec.version} ({engine.variant}) on {engine.provider.upper()}:"
        f" {engine.why}",
    )
    yield logging.INFO, _decision(run.classifier.policy, spec)
    yield logging.INFO, _prior(run.classifier.policy)
    if spec.demonstration:
        yield (
            logging.WARNING,
            "Demonstration model, trained on simulated images: its calls say nothing about"
            " patients' cells. Research software, not a diagnostic.",
        )
    given = run.settings.images.um_per_px
    if spec.input.um_per_px is None:
        ignored = "" if given is None else f"; the given um/px, {given:g}, is ignored"
        yield logging.WARNING, f"The {UM_PER_PX_UNKNOWN}{ignored}"
    elif given is None:
        yield (
            logging.INFO,
            f"um/px not given: the model's own, {spec.input.um_per_px:g}, is assumed;"
            " set it with --um-per-px",
        )


def _decision(policy: Policy, spec: ModelSpec) -> str:
    """Which operating point is in force, and what was measured of it."""
    low, high = policy.review
    band = f"review from {low:g}" if low < high else "no review band"
    if policy.operating_point is None:
        least = max(policy.threshold, high)
        return f"Decision: the model's own: CTC from {least:g}, {band}"
    return (
        f"Operating point {policy.operating_point}: CTC from {policy.threshold:g}, {band};"
        f" {_measured(policy.operating_point, spec)}"
    )


def _prior(policy: Policy) -> str:
    """What share of CTCs the probabilities assume, and what that does to one."""
    from ctcedge.classification.decision import rebased

    if policy.prior == policy.own_prior:
        return (
            f"Probabilities assume {_share(policy.prior)}, as the model learnt them; --prevalence"
            " tells them as they are among your cells: 0.9 learnt at one to one is 0.0018 at one in"
            " 5,000"
        )
    told = rebased(0.9, policy.own_prior, policy.prior)
    return (
        f"Probabilities assume {_share(policy.prior)}, as given: 0.9 as the model learnt it, at"
        f" {policy.own_prior:g}, is {told:.2g} here; calls are the same"
    )


def _share(prior: float) -> str:
    return f"a share of CTCs of {prior:g}" + (f", one in {1 / prior:,.0f}" if prior < 0.5 else "")


def doubts(listing: CropListing) -> None:
    """Warn of cells whose images do not come as one bright-field image a cell."""
    if repeated := len(listing.duplicates()):
        messages.print(
            f"[yellow]{repeated} cells have several bright-field images:[/] each image is called"
            " by itself; 'ctcedge inspect' lists them"
        )
    if lacking := len(listing.without_bright_field()):
        messages.print(
            f"[yellow]{lacking} cells have no bright-field image[/] and are not classified;"
            " 'ctcedge inspect' lists them"
        )


def summary(run: Run, result: Summary, *, finished: bool) -> None:
    """Print the summary table."""
    from ctcedge.results.controls import describe

    done = result.done
    table = Table(title=None if finished else "Interrupted: the rest is done by the next run")
    table.add_column("Crops")
    table.add_column("count", justify="right")
    table.add_row("CTC", str(result.tally.calls["CTC"]), style="bold")
    table.add_row("review", str(result.tally.calls["review"]))
    table.add_row("leukocyte (not a CTC)", str(result.tally.calls["leukocyte"]))
    table.add_row("unclassified", str(len(result.unclassified)), end_section=True)
    _clusters(table, result.tally.clusters)
    if done["vanished"]:
        table.add_row("vanished meanwhile", str(done["vanished"]))
    table.add_row("newly written sidecars", str(done["written"]))
    if result.decided_anew:
        table.add_row("  of these from stored scores", str(result.decided_anew))
    table.add_row("already current", str(done["current"]))
    output.print(table)
    if finished and done["current"] == done.total():
        output.print("Nothing to do: every crop that was found has a current sidecar.")
    _review_reasons(result.tally.review_reasons)
    _likeness(result.domain_shift(), result.likeness_together())
    output.print(printable(describe(result.false_positives(run))))
    output.print(f"Sidecars: {printable(str(run.sidecars.root))}")


def report(path: Path) -> None:
    """Say where the report is."""
    output.print(f"Report: {printable(str(path))}")


def _likeness(found: dict[str, DomainShift], together: DomainShift | None) -> None:
    """Say whether the samples are like the training data, and warn of those that are not."""
    states = Counter(each.state for each in found.values())
    if not found:
        output.print("Like the training data: unknown, the model does not tell")
        return
    output.print(
        f"Samples like the training data: {states['like']}, unlike: {states['unlike']},"
        f" too few crops to tell: {states['insufficient']}"
    )
    unlike = {sample: each for sample, each in found.items() if each.state == "unlike"}
    if len(unlike) == 1:
        ((sample, each),) = unlike.items()
        messages.print(_unlike(f"Sample {printable(sample)} is", f"distance {each.distance:g}"))
    elif unlike:
        messages.print(_unlike(f"{len(unlike)} samples are", "distances below"))
        few_lines((f"{sample}: {each.distance:g}" for sample, each in unlike.items()), messages)
    elif together is not None and together.state == "unlike":
        messages.print(_unlike("All crops together are", f"distance {together.distance:g}"))


def _unlike(what: str, distance: str) -> str:
    return (
        f"[yellow]{what} unlike the images that the model was trained on[/] ({distance}, at most 1"
        " is like): another instrument, magnification or stain? Its calls of these cells may be"
        " wrong."
    )


def _clusters(table: Table, clusters: Counter[str]) -> None:
    if clusters.total():
        calls = ", ".join(f"{clusters[call]} {call}" for call in CALLS)
        table.add_row(f"of these, clusters ({calls})", str(clusters.total()), end_section=True)


def _review_reasons(reasons: Counter[str]) -> None:
    if +reasons:
        output.print(f"Why review: {printable(_counts(+reasons))}")


def unclassified(result: Summary) -> None:
    """List the crops that stand unclassified."""
    listed("unclassified", pairs(result.unclassified.items()), messages)


def status(found: Status) -> None:
    """Print how things stand in a folder."""
    table = Table("Crops")
    table.add_column("count", justify="right")
    table.add_row("CTC", str(found.tally.calls["CTC"]), style="bold")
    table.add_row("review", str(found.tally.calls["review"]))
    table.add_row("leukocyte (not a CTC)", str(found.tally.calls["leukocyte"]), end_section=True)
    _clusters(table, found.tally.clusters)
    for name, count in sorted(found.unclassified.items()):
        table.add_row(printable(name), str(count))
    table.add_row("pending", str(found.pending.total()), end_section=True)
    table.add_row("all", str(found.crops), style="bold")
    output.print(table)
    _review_reasons(found.tally.review_reasons)
    for kind, reasons in (("Unclassified", found.reasons), ("Pending", found.pending)):
        for reason, count in reasons.most_common(_SHOWN):
            output.print(f"{kind}: {printable(reason)}: {count}")
    if found.tally.calls:
        _likeness(found.likeness.samples, found.likeness.overall)
    running = {True: "yes", False: "no", None: "cannot be told"}[found.running]
    output.print(f"ctcedge is writing here now: {running}")
    newest = "none" if found.newest is None else f"{found.newest.astimezone():%Y-%m-%d %H:%M:%S %z}"
    output.print(f"Newest call: {newest}")
    for seen, count in found.models.most_common(_SHOWN):
        name = f"{seen.name} {seen.version} (SHA-256 {seen.sha256[:12]})"
        output.print(f"Model: {printable(name)}: {count}")
    output.print(f"ctcedge: {printable(_counts(found.versions))}")
    output.print(f"Sidecars: {printable(str(found.out))}")
    for text in found.warnings():
        messages.print(f"[yellow]{printable(text[:1].upper() + text[1:])}.[/]")
    left_out(found.closed)


def left_out(closed: Closed) -> None:
    """Warn of sub-folders that cannot be read, whose cells are in nothing that is told."""
    if closed:
        several = len(closed) > 1
        what = (
            f"{len(closed)} folders cannot be read; their"
            if several
            else "A folder cannot be read; its"
        )
        messages.print(f"[yellow]{what} cells are left out:[/]")
        few_lines(pairs(closed.items()), messages, then="")


def inspection(found: Inspection) -> None:
    """Print what a folder holds and how it would be read."""
    channels = sorted({c for count in found.channels.values() for c in count}, key=_bright_first)
    table = Table(title=f"{printable(str(found.folder))}: {len(found.channels)} samples")
    table.add_column("sample")
    table.add_column("cells", justify="right")
    for channel in channels:
        table.add_column(printable(channel), justify="right")
    for sample, count in list(found.channels.items())[:_SHOWN]:
        counts = (str(count[channel]) for channel in channels)
        table.add_row(printable(sample), str(found.cells[sample]), *counts)
    if len(found.channels) > _SHOWN:
        table.add_section()
        table.add_row(f"and {len(found.channels) - _SHOWN} more", "...", *("..." for _ in channels))
    totals = sum(found.channels.values(), Counter())
    table.add_section()
    every = (str(totals[channel]) for channel in channels)
    table.add_row("all", str(found.cells.total()), *every, style="bold")
    output.print(table)
    output.print(f"Bright field: {_counts(found.sizes)} px; {_counts(found.bit_depths)} bits;")
    output.print(f"  {_counts(found.formats)}")
    known = "not set" if found.um_per_px is None else f"{found.um_per_px:g}"
    output.print(f"um/px: {known}")
    listed("cannot be classified", pairs(found.bad))
    listed("cells without bright field", map(" / ".join, found.without_bright_field))
    listed("cells with several bright-field images", map(" / ".join, found.repeated))
    listed("matched nothing", _reasons(found.skipped, "unmatched"))
    listed("folders cannot be read", _reasons(found.skipped, "unreadable"))
    listed("ignored, never opened", _reasons(found.skipped, "ignored"))


def check(found: Check) -> None:
    """Print one of doctor's findings."""
    marks = {"ok": "[green]ok    [/]", "note": "[yellow]note  [/]", "failed": "[bold red]FAILED[/]"}
    output.print(f"{marks[found.state]} {printable(found.name)}: {printable(found.found)}")
    if found.fix and found.state != "ok":
        output.print(f"       -> {printable(found.fix)}")


def models(found: Iterable[Model]) -> None:
    """Print the shipped models."""
    table = Table("name", "version", "graphs", "trained on", "SHA-256 of the spec")
    for each in found:
        spec = each.spec
        table.add_row(
            spec.name, spec.version, ", ".join(spec.graphs), spec.training, each.sha256[:12]
        )
    output.print(table)


def model(shown: Model) -> None:
    """Print a model's facts and its card."""
    from ctcedge.model.spec import OPERATING_POINTS

    for name, value in model_facts(shown).items():
        if name not in ("parity", "operating_points"):
            output.print(f"{name}: {printable('unknown' if value is None else str(value))}")
    if shown.spec.input.um_per_px is None:
        output.print(f"The {UM_PER_PX_UNKNOWN}.")
    for variant, parity in shown.spec.parity.items():
        output.print(f"{variant} against the trained network: {_parity(parity)}")
    for name in OPERATING_POINTS:
        output.print(f"operating point {name}: {_operating_point(name, shown.spec)}")
    output.print()
    for line in shown.read(shown.spec.card).decode("utf-8", "replace").splitlines():
        output.print(printable(line))


def model_facts(shown: Model) -> dict[str, object]:
    """What identifies a model and how it decides."""
    spec = shown.spec
    return {
        "name": spec.name,
        "version": spec.version,
        "folder": str(shown.folder),
        "sha256": shown.sha256,
        "graphs": list(spec.graphs),
        "training": spec.training,
        "demonstration": spec.demonstration,
        "input_px": spec.input.size,
        "um_per_px": spec.input.um_per_px,
        "prior": spec.prior,
        "threshold": spec.decision.threshold,
        "review": list(spec.decision.review),
        "parity": {name: asdict(parity) for name, parity in spec.parity.items()},
        "operating_points": {
            name: point and asdict(point) for name, point in spec.operating_points.items()
        },
    }


def _parity(parity: Parity) -> str:
    return (
        f"AUC {parity.auc:.4f} ({-parity.auc_loss:+z.4f}), {parity.changed_calls:.2%} of calls"
        f" changed, {parity.flips:.2%} between CTC and leukocyte, on {parity.cells:,} cells"
    )


def _operating_point(name: str, spec: ModelSpec) -> str:
    point = spec.operating_points.get(name)
    if point is None:
        tried = name in spec.operating_points
        return "unknown: " + ("the cells at hand could not support it" if tried else "not measured")
    return f"threshold {point.threshold:g} ({point.aim}); {_measured(name, spec)}"


def _measured(name: str, spec: ModelSpec) -> str:
    point = spec.operating_points[name]
    assert point is not None  # it was chosen, or is shown, because it is there
    simulated = "simulated " if spec.demonstration else ""
    found, false = point.sensitivity, point.false_calls_per_10000
    return (
        f"sensitivity {found.value:.1%}"
        f" ({found.low:.1%} to {found.high:.1%}), false CTC calls per 10,000 others"
        f" {false.value:.0f} ({false.low:.0f} to {false.high:.0f}), measured on {point.ctcs:,}"
        f" {simulated}CTCs and {point.others:,} others of {point.samples:,} samples"
    )


def verified(shown: Model, difference: float) -> None:
    """Say that a model is whole."""
    output.print(
        f"[green]ok[/] {printable(shown.spec.name)} {printable(shown.spec.version)}: hashes right,"
        f" golden outputs within {difference:.6f} (at most {shown.spec.golden.tolerance:g})"
    )


def failure(text: str) -> None:
    """Print an error message."""
    lines = map(printable, text.split("\n"))
    messages.print("[bold red]Error:[/] " + "\n".join(lines))


def _bright_first(channel: str) -> tuple[bool, str]:
    return channel != BRIGHT_FIELD, channel


def _counts(counter: Counter[str] | Counter[int]) -> str:
    shown = [f"{value} ({count})" for value, count in counter.most_common(6)]
    more = len(counter) - len(shown)
    return ", ".join(shown or ["none"]) + (f" and {more} more" if more else "")


def _reasons(skipped: list[Skipped], kind: str) -> Iterator[str]:
    return (f"{each.path}: {each.reason}" for each in skipped if each.kind == kind)


def listed(
    title: str, lines: Iterable[str], where: Console = output, *, then: str = _REST_IN_JSON
) -> None:
    """Print what needs attention, with its number as the heading; nothing where there is none."""
    found = list(lines)
    if found:
        where.print(f"[yellow]{len(found)} {title}:[/]")
        few_lines(found, where, then=then)


def few_lines(lines: Iterable[str], where: Console, *, then: str = _REST_IN_JSON) -> None:
    """Print the first of many lines, and how many more there are."""
    found = list(lines)
    for line in found[:_SHOWN]:
        where.print(f"  {printable(line)}")
    if len(found) > _SHOWN:
        where.print(f"  and {len(found) - _SHOWN} more{then}")


def pairs(found: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Lines of paths, or names, and what is to be said of them."""
    return (f"{path}: {what}" for path, what in found)
