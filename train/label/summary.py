"""Print a summary after labelling."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ctcedge.log import escape_control_chars

from ..data.manifest import NEGATIVE, POSITIVE
from ..util.next_step import name_for, newest_model, print_next
from .cells import Export
from .gates import STRATA
from .label import Labelled

_OUTPUT = Console(highlight=False, soft_wrap=True, emoji=False)
_MESSAGES = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
_MAX_SAMPLES = 20
_MAX_STRATA = 12


def print_summary(export: Export, labelled: Labelled, manifest: Path, picture: Path | None) -> None:
    """Print strata by sample, sources, warnings and the next command."""
    rows = labelled.rows
    by_sample: dict[str, Counter[str]] = {}
    for row in rows:
        by_sample.setdefault(row.sample, Counter())[row.stratum] += 1
    total = sum(by_sample.values(), Counter())
    ranked = [stratum for stratum, _ in total.most_common(_MAX_STRATA)]
    strata = sorted(ranked, key=lambda name: STRATA.index(name) if name in STRATA else len(STRATA))
    heads = (_printable(name).replace("-", "-\n") for name in strata)
    table = Table("sample", *heads, "cells", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for sample, count in list(by_sample.items())[:_MAX_SAMPLES]:
        table.add_row(
            _printable(sample), *(f"{count[name]:,}" for name in strata), f"{count.total():,}"
        )
    if len(by_sample) > _MAX_SAMPLES:
        more = len(by_sample) - _MAX_SAMPLES
        table.add_row(f"and {more:,} more", *("..." for _ in strata), "...")
    table.add_section()
    table.add_row("all", *(f"{total[name]:,}" for name in strata), f"{total.total():,}")
    _OUTPUT.print(table)
    labels = Counter(row.label for row in rows)
    _OUTPUT.print(
        f"Labels: {labels[POSITIVE]:,} CTC, {labels[NEGATIVE]:,} other, {labels['']:,} undecided"
    )
    sources = Counter(row.source for row in rows)
    texts = (f"{count:,} {source}" for source, count in sources.most_common())
    _OUTPUT.print(f"Sources: {', '.join(texts)}")
    for line in export.warnings.lines():
        _MESSAGES.print(f"[yellow]{_printable(line)}[/]")
    if export.um_per_px is None:
        _MESSAGES.print(
            "[yellow]um/px unknown: sizes are in pixels; give --um-per-px if it is known[/]"
        )
    if picture is not None:
        _OUTPUT.print(f"Gates: {_printable(str(picture))}; check them before you use the labels")
        _OUTPUT.print(
            "Gated CTCs can be used for evaluation only after a person has confirmed them"
        )
    name = name_for(manifest)
    print_next("fit", manifest, "--out", f"runs/{name}", when="to train on these cells")
    if {row.source == "gated" for row in rows if row.label == POSITIVE} == {False}:
        words = ("evaluate", newest_model(), manifest, "--out", f"reports/{name}")
        print_next(*words, when="to test a model that was trained on others")


def _printable(text: str) -> str:
    return escape(escape_control_chars(text))
