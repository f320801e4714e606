"""Console output of classify, watch, status, inspect and doctor."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from ctcedge.cli.console import (
    MAX_LINES,
    format_counts,
    messages,
    output,
    pairs,
    plural,
    print_lines,
    print_list,
    print_unreadable_folders,
    print_warning,
    printable,
)
from ctcedge.cli.render_models import UM_PER_PX_UNKNOWN, measured_rates
from ctcedge.cli.render_samples import print_samples
from ctcedge.discovery.naming import Skipped
from ctcedge.discovery.not_understood import NOT_READ
from ctcedge.results.tally import Tally
from ctcedge.sidecars.schema import CALLS

if TYPE_CHECKING:  # these would make light commands slow
    from ctcedge.classification.decision import DecisionRule
    from ctcedge.discovery.scan import CropListing
    from ctcedge.doctor import Check
    from ctcedge.model.spec import ModelSpec
    from ctcedge.pipeline.run import Run
    from ctcedge.results.domain_shift import FolderDomainShift
    from ctcedge.results.status import Status
    from ctcedge.results.summary import Summary

_LABELS = {"CTC": "CTC", "review": "review", "leukocyte": "leukocyte (not a CTC)"}
_MAX_PARAMETERS = 400  # characters of a file of parameters that are shown


def print_notices(run: Run, stated: float | None) -> None:
    """Print which model runs where, and what is assumed; arguments as of `notices`."""
    for level, text in notices(run, stated):
        messages.print(printable(text), style="yellow" if level == logging.WARNING else None)


def notices(run: Run, stated: float | None) -> Iterator[tuple[int, str]]:
    """Return logging levels and texts on a run before it starts: model, provider, assumptions.

    Args:
        run: the run.
        stated: um/px that the first image states; None where it states none.
    """
    from ctcedge.results.image_warnings import contradicts

    spec, engine = run.classifier.model.spec, run.classifier.engine
    yield (
        logging.INFO,
        f"Model {spec.name} {spec.version} ({engine.variant}) on {engine.provider.upper()}:"
        f" {engine.reason}",
    )
    yield logging.INFO, _decision(run.classifier.rule, spec)
    yield logging.INFO, _prior(run.classifier.rule)
    if spec.demonstration:
        yield (
            logging.WARNING,
            "Demonstration model, trained on simulated images: its calls mean nothing for"
            " patients' cells. Research software, not a diagnostic.",
        )
    given = run.settings.images.um_per_px
    if spec.input.um_per_px is None:
        ignored = "" if given is None else f"; the given um/px, {given:g}, is ignored"
        yield logging.WARNING, f"The {UM_PER_PX_UNKNOWN}{ignored}"
        return
    if given is None and stated is None:
        yield (
            logging.WARNING,
            f"um/px not given, and no image found that states it: {spec.input.um_per_px:g}, the"
            " model's own, is assumed. Size is a feature: if it differs, calls are wrong. Set it"
            " with --um-per-px.",
        )
    elif given is None:
        yield logging.INFO, f"um/px {stated:g}, as the images state it; --um-per-px overrides it"
    elif contradicts(given, stated):
        yield (
            logging.WARNING,
            f"um/px contradiction: {given:g} was given and is used, but the first image states"
            f" {stated:g}. Size is a feature: if the given one is wrong, calls are wrong.",
        )


def _decision(policy: DecisionRule, spec: ModelSpec) -> str:
    low, high = policy.review_band
    band = f"review from {low:g}" if low < high else "no review band"
    if policy.operating_point is None:
        lowest = max(policy.threshold, high)
        return f"Decision: the model's own: CTC from {lowest:g}, {band}"
    return (
        f"Operating point {policy.operating_point}: CTC from {policy.threshold:g}, {band};"
        f" {measured_rates(policy.operating_point, spec)}"
    )


def _prior(policy: DecisionRule) -> str:
    from ctcedge.classification.decision import adjust_for_prevalence

    if policy.prior == policy.training_prior:
        return (
            f"Probabilities assume {_fraction(policy.prior)}, as in training; --prevalence adapts"
            " them to your cells: 0.9 at one in 2 is 0.0018 at one in 5,000"
        )
    adjusted = adjust_for_prevalence(0.9, policy.training_prior, policy.prior)
    return (
        f"Probabilities assume {_fraction(policy.prior)}, as given: 0.9 at the training fraction"
        f" of {policy.training_prior:g} is {adjusted:.2g} here; calls do not change"
    )


def _fraction(prior: float) -> str:
    one_in = f" (one in {1 / prior:,.0f})" if prior < 0.5 else ""
    return f"a CTC fraction of {prior:g}{one_in}"


def print_parameters(parameters: Mapping[str, Mapping[str, str]]) -> None:
    """Print what files `Parameters.txt` say, on standard error."""
    for path, values in list(parameters.items())[:MAX_LINES]:
        shown = ", ".join(f"{name} {value}" for name, value in values.items())
        messages.print(printable(f"{path}: {shown[:_MAX_PARAMETERS]}"))


def print_listing_warnings(listing: CropListing) -> None:
    """Warn of entries passed over by name, and of cells without exactly one bright-field image."""
    print_list(
        "entry passed over by name",
        "entries passed over by name",
        (f"{entry.path}: {entry.reason}" for entry in listing.passed_over()),
        messages,
        more="; 'ctcedge inspect --json' lists all",
    )
    if count := len(listing.duplicates()):
        cells = plural(count, "cell has", "cells have")
        messages.print(
            f"[yellow]{cells} several bright-field images:[/] each image is classified by itself;"
            " 'ctcedge inspect' lists them"
        )
    if count := len(listing.without_bright_field()):
        cells = plural(count, "cell has", "cells have")
        messages.print(
            f"[yellow]{cells} no bright-field image[/] and cannot be classified; 'ctcedge inspect'"
            " lists them"
        )


def print_summary(run: Run, summary: Summary, *, finished: bool) -> None:
    """Print the counts of a run."""
    from ctcedge.results.false_positives import describe

    done, tally = summary.done, summary.tally
    title = None if finished else "Interrupted; run the command again to continue"
    table = _calls_table(tally, title)
    table.add_row("unclassified", f"{len(summary.unclassified):,}", end_section=True)
    if summary.not_understood:
        table.add_row("images not understood", f"{len(summary.not_understood):,}", end_section=True)
    _add_clusters(table, tally)
    if done["vanished"]:
        table.add_row("deleted during the run", f"{done['vanished']:,}")
    table.add_row("newly written sidecars", f"{done['written']:,}")
    if summary.rescored:
        table.add_row("  rescored from stored outputs", f"{summary.rescored:,}")
    if done["upgraded"]:
        table.add_row("sidecars upgraded to the present schema", f"{done['upgraded']:,}")
    table.add_row("sidecars already up to date", f"{done['current']:,}")
    output.print(table)
    if finished and done["current"] == done.total():
        output.print("Nothing to do: every crop has an up-to-date sidecar.")
    _print_review_reasons(tally)
    if tally.calls.total():
        _print_domain_shift(summary.domain_shift(), "the model has no feature statistics")
    print_samples(summary.sample_results(run))
    output.print(printable(describe(summary.false_positives(run))))
    output.print(f"Sidecars: {printable(str(run.sidecars.root))}")


def print_report_path(path: Path) -> None:
    """Print where the report is."""
    output.print(f"Report: {printable(str(path))}")


def print_unclassified(summary: Summary) -> None:
    """Print the unclassified crops and why."""
    print_list("unclassified", "unclassified", pairs(summary.unclassified.items()), messages)


def print_not_understood(images: list[Skipped]) -> None:
    """Warn of files that look like images, whose names fit no rule."""
    if images:
        print_list(
            "image that was not classified, as its name was not understood",
            "images that were not classified, as their names were not understood",
            (f"{entry.path}: {entry.reason}" for entry in images),
            messages,
        )
        if any(entry.reason != NOT_READ for entry in images):
            messages.print(
                "Describe the names by --pattern, or list what to leave out in the setting"
                " 'ignore'; 'ctcedge inspect' shows how each name is parsed."
            )


def print_damaged_sidecars(summary: Summary) -> None:
    """Print the damaged sidecars that were replaced, and the names under which they were kept."""
    print_list(
        "damaged sidecar kept", "damaged sidecars kept", pairs(summary.kept_aside.items()), messages
    )


def _calls_table(tally: Tally, title: str | None = None) -> Table:
    table = Table("Crops", title=title)
    table.add_column("count", justify="right")
    for call, label in _LABELS.items():
        table.add_row(label, f"{tally.calls[call]:,}", style="bold" if call == "CTC" else None)
    return table


def _add_clusters(table: Table, tally: Tally) -> None:
    if tally.clusters.total():
        calls = ", ".join(f"{tally.clusters[call]:,} {call}" for call in CALLS)
        table.add_row(f"clusters ({calls})", f"{tally.clusters.total():,}", end_section=True)


def _print_review_reasons(tally: Tally) -> None:
    if reasons := +tally.review_reasons:
        output.print(f"Review reasons: {printable(format_counts(reasons))}")


def _print_domain_shift(domain_shift: FolderDomainShift, unknown: str) -> None:
    """Print whether samples differ from the training data; warn of those that do.

    Args:
        domain_shift: the comparison.
        unknown: reason why there may be none.
    """
    samples, overall = domain_shift.samples, domain_shift.overall
    states = Counter(shift.state for shift in samples.values())
    if not samples:
        output.print(f"Domain shift: unknown, as {unknown}")
        return
    output.print(
        f"Samples like the training data: {states['in-distribution']:,}, with domain shift:"
        f" {states['shifted']:,}, with too few crops: {states['insufficient']:,}"
    )
    shifted = {sample: shift for sample, shift in samples.items() if shift.state == "shifted"}
    if len(shifted) == 1:
        ((sample, shift),) = shifted.items()
        _warn_of_shift(f"Sample {sample} differs", f"distance {shift.distance:g}")
    elif shifted:
        _warn_of_shift(f"{len(shifted):,} samples differ", "distances below")
        print_lines(
            (f"{sample}: {shift.distance:g}" for sample, shift in shifted.items()), messages
        )
    elif overall is not None and overall.state == "shifted":
        _warn_of_shift("All crops together differ", f"distance {overall.distance:g}")


def _warn_of_shift(subject: str, distance: str) -> None:
    messages.print(
        f"[yellow]{printable(subject)} from the model's training images[/] (domain shift,"
        f" {distance}; at most 1 is usual): another instrument, magnification or stain? Calls of"
        " these cells may be wrong."
    )


def print_status(status: Status) -> None:
    """Print the status of a folder."""
    table = _calls_table(status.tally)
    table.add_section()
    _add_clusters(table, status.tally)
    for name, count in sorted(status.unclassified.items()):
        table.add_row(printable(name), f"{count:,}")
    table.add_row("pending", f"{status.pending.total():,}", end_section=True)
    if status.not_understood:
        table.add_row("images not understood", f"{len(status.not_understood):,}", end_section=True)
    table.add_row("all", f"{status.crops:,}", style="bold")
    output.print(table)
    _print_review_reasons(status.tally)
    for kind, reasons in (("Unclassified", status.reasons), ("Pending", status.pending)):
        for reason, count in reasons.most_common(MAX_LINES):
            output.print(f"{kind}: {printable(reason)}: {count:,}")
    print_list(
        "crop without a call", "crops without a call", pairs(status.examples.items()), more=""
    )
    print_list(
        "sidecar cannot be used",
        "sidecars cannot be used",
        pairs(status.sidecar_problems.items()),
        more="",
    )
    if status.tally.calls:
        _print_domain_shift(
            status.domain_shift,
            "the model of these calls is not available here (give it by --model), or has no feature"
            " statistics",
        )
    print_samples(status.sample_results)
    output.print(f"Writer active: {_YES_NO[status.running]}")
    newest = status.newest and f"{status.newest.astimezone():%Y-%m-%d %H:%M:%S %z}"
    output.print(f"Newest call: {newest or 'none'}")
    for model, count in status.models.most_common(MAX_LINES):
        name = f"{model.name} {model.version} (SHA-256 {model.sha256[:12]})"
        output.print(f"Model: {printable(name)}: {count:,}")
    output.print(f"ctcedge: {printable(format_counts(status.versions))}")
    output.print(f"Sidecars: {printable(str(status.out))}")
    for text in status.warnings():
        print_warning(f"{text[:1].upper()}{text[1:]}.")
    print_unreadable_folders(status.unreadable_dirs)


_YES_NO = {True: "yes", False: "no", None: "unknown"}


def print_check(check: Check) -> None:
    """Print a check of doctor."""
    marks = {"ok": "[green]ok    [/]", "note": "[yellow]note  [/]", "failed": "[bold red]FAILED[/]"}
    output.print(f"{marks[check.state]} {printable(check.name)}: {printable(check.found)}")
    if check.fix and check.state != "ok":
        output.print(f"       -> {printable(check.fix)}")
