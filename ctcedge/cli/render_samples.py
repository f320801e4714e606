"""Console output of the results per sample and per patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ctcedge.cli.console import (
    MAX_LINES,
    messages,
    output,
    plural,
    print_list,
    printable,
)

if TYPE_CHECKING:
    from ctcedge.results.samples import Counted, SampleResult, SampleResults

_SHIFT = {"in-distribution": "no", "shifted": "yes", "insufficient": "few cells"}


class _Column(NamedTuple):
    """A column of numbers; where all values of the folder are `hidden`, it is left out."""

    title: str
    text: Callable[[Counted], str]
    hidden: str | None = None


_COLUMNS = (
    _Column("cells", lambda r: f"{r.cells:,}"),
    _Column("CTC", lambda r: f"{r.ctc:,}"),
    _Column("review", lambda r: f"{r.review:,}"),
    _Column("leuko-\ncyte", lambda r: f"{r.leukocyte:,}"),
    _Column("unclas-\nsified", lambda r: f"{r.unclassified:,}", "0"),
    _Column("pend-\ning", lambda r: f"{r.pending:,}", "0"),
    _Column("clus-\nters", lambda r: f"{r.clusters:,}", "0"),
    _Column("confir-\nmed", lambda r: f"{r.confirmed:,}"),
    _Column("to look\nat", lambda r: f"{r.to_review:,}"),
    _Column("exp.\nFP", lambda r: _expected(r), ""),
    _Column("CTC\nper mL", lambda r: _per_ml(r.ctc_per_ml), ""),
    _Column("conf.\nper mL", lambda r: _per_ml(r.confirmed_per_ml), ""),
)


def print_samples(results: SampleResults) -> None:
    """Print the samples and patients that matter most, and what a person must look at."""
    if not results.samples:
        return
    ranked = sorted(results.samples, key=lambda sample: sample.rank)
    _print_table("Sample", ranked, [sample.sample for sample in ranked], _shift(ranked))
    _print_rest(ranked, "sample")
    _print_to_review(results.samples)
    if results.patients:
        patients = sorted(results.patients, key=lambda p: (-p.to_review, -p.ctc, p.patient))
        _print_table("Patient", patients, [patient.patient for patient in patients])
        _print_rest(patients, "patient")
        output.print()
    print_list(
        "sample of the table of samples is not in the folder",
        "samples of the table of samples are not in the folder",
        results.missing,
        messages,
    )


def _print_table(
    title: str,
    results: Sequence[Counted],
    names: Sequence[str],
    shifts: Sequence[str] | None = None,
) -> None:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(title, overflow="fold")
    shown = [
        column
        for column in _COLUMNS
        if any(column.text(result) != column.hidden for result in results)
    ]
    for column in shown:
        table.add_column(column.title, justify="right", no_wrap=False)
    if shifts is not None:
        table.add_column("domain\nshift")
    rows = zip(results[:MAX_LINES], names, shifts or [""] * len(names), strict=False)
    for result, name, shift in rows:
        values = [printable(name), *(column.text(result) for column in shown)]
        table.add_row(*values, *([] if shifts is None else [shift]))
    output.print()
    output.print(table)


def _print_rest(results: Sequence[Counted], noun: str) -> None:
    if rest := results[MAX_LINES:]:
        ctc, review = sum(r.ctc for r in rest), sum(r.review for r in rest)
        to_review = sum(r.to_review for r in rest)
        output.print(
            f"and {plural(len(rest), f'more {noun}')} with {ctc:,} CTC, {review:,} review and"
            f" {to_review:,} to look at; --json and 'ctcedge export --per-{noun}' list all"
        )


def _print_to_review(samples: Sequence[SampleResult]) -> None:
    cells = sum(sample.to_review for sample in samples)
    if cells:
        where = sum(sample.to_review > 0 for sample in samples)
        places = f", in {where:,} of {plural(len(samples), 'sample')}" if len(samples) > 1 else ""
        output.print(
            f"Cells a person must look at: {cells:,} (called CTC or review, and not reviewed"
            f" yet{places})"
        )
    else:
        output.print("Cells a person must look at: 0")


def _shift(samples: Sequence[SampleResult]) -> list[str] | None:
    """Return the domain shift of each sample; None where it is known of none."""
    shifts = [sample.domain_shift for sample in samples]
    if not any(shifts):
        return None
    texts = []
    for shift in shifts:
        distance = f" {shift.distance:.1f}" if shift and shift.state == "shifted" else ""
        texts.append(
            f"[yellow]yes{distance}[/]" if distance else _SHIFT[shift.state] if shift else ""
        )
    return texts


def _expected(result: Counted) -> str:
    expected = result.expected_false_positives
    return "" if expected is None else expected.number


def _per_ml(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}" if value < 10 else f"{value:,.0f}"
