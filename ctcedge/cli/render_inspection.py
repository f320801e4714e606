"""Console output of inspect."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from rich.table import Table

from ctcedge.cli.console import (
    MAX_LINES,
    format_counts,
    output,
    pairs,
    plural,
    print_list,
    print_warning,
    printable,
)
from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.naming import Crop, Skipped
from ctcedge.results.image_warnings import assumed_um_per_px, contradiction, contradicts

if TYPE_CHECKING:
    from ctcedge.discovery.proposal import Proposal
    from ctcedge.results.inspect import Inspection


def print_inspection(inspection: Inspection) -> None:
    """Print how the names and images of a folder are read."""
    samples = inspection.channels
    channels = sorted({c for count in samples.values() for c in count}, key=_bright_field_first)
    title = f"{printable(str(inspection.folder))}: {plural(len(samples), 'sample')}"
    table = Table("sample", title=title)
    for name in ("cells", *channels):
        table.add_column(printable(name), justify="right")
    for sample, count in list(samples.items())[:MAX_LINES]:
        counts = (f"{count[channel]:,}" for channel in channels)
        table.add_row(printable(sample), f"{inspection.cells[sample]:,}", *counts)
    if len(samples) > MAX_LINES:
        table.add_section()
        table.add_row(f"and {len(samples) - MAX_LINES:,} more", "...", *("..." for _ in channels))
    totals = sum(samples.values(), Counter())
    table.add_section()
    counts = (f"{totals[channel]:,}" for channel in channels)
    table.add_row("all", f"{inspection.cells.total():,}", *counts, style="bold")
    output.print(table)
    output.print(f"Bright-field images, pixels: {format_counts(inspection.sizes)}")
    output.print(f"Bits per pixel: {format_counts(inspection.bit_depths)}")
    output.print(f"File formats: {format_counts(inspection.formats)}")
    um_per_px = "not set" if inspection.um_per_px is None else f"{inspection.um_per_px:g}"
    origin = inspection.origins.get("images.um_per_px")
    output.print(f"um/px: {um_per_px}" + (f" ({printable(origin)})" if origin else ""))
    for key, origin in inspection.origins.items():
        if key != "images.um_per_px":
            output.print(f"{key.removeprefix('images.')}: from {printable(origin)}")
    stated = Counter(
        {
            "none" if value is None else f"{value:g}": count
            for value, count in inspection.stated_um_per_px.items()
        }
    )
    output.print(f"um/px that the images state: {format_counts(stated)}")
    _warn_of_um_per_px(inspection)
    image, cell, file = ("image", "images"), ("cell", "cells"), ("file", "files")
    skipped = partial(_skipped, inspection.skipped)
    for (one, many), what, lines in (
        (file, "whose cells 'classify --out' cuts into crops", _pages(inspection.pages)),
        (image, "that cannot be classified", pairs(inspection.bad)),
        (cell, "without a bright-field image", map(" / ".join, inspection.without_bright_field)),
        (cell, "with several bright-field images", map(" / ".join, inspection.repeated)),
        (file, "that cannot be read as crops", skipped("unmatched")),
        (("folder", "folders"), "that cannot be read", skipped("unreadable")),
        (file, "ignored, never opened", skipped("ignored")),
    ):
        print_list(f"{one} {what}", f"{many} {what}", lines)
    if inspection.proposal is not None:
        _print_proposal(inspection.proposal, inspection.examples)


def _print_proposal(proposal: Proposal, examples: list[Crop]) -> None:
    output.print(
        f"\nA pattern that reads {proposal.understood:,} of {plural(proposal.images, 'image')}:"
    )
    output.print(f"  --pattern {shlex.quote(printable(proposal.template))}")
    for crop in examples:
        read = f"sample {crop.sample}, cell {crop.cell}, channel {crop.channel}"
        output.print(f"  {printable(crop.path)}: {printable(read)}")
    if proposal.unknown_channels:
        words = ", ".join(proposal.unknown_channels)
        example = json.dumps(proposal.unknown_channels[-1], ensure_ascii=False)
        output.print(
            f"Unknown words in the place of the channel: {printable(words)}. Name the one that is"
            f" bright field under [images] in ctcedge.toml: channels.BF = [{printable(example)}]"
        )
    output.print("'ctcedge inspect FOLDER --write' writes the pattern into FOLDER/ctcedge.toml.")


def _bright_field_first(channel: str) -> tuple[bool, str]:
    return channel != BRIGHT_FIELD, channel


def _pages(pages: dict[str, list[str]]) -> Iterator[str]:
    return (f"{path}: {', '.join(names)}" for path, names in pages.items())


def _skipped(skipped: list[Skipped], kind: str) -> Iterator[str]:
    return (f"{entry.path}: {entry.reason}" for entry in skipped if entry.kind == kind)


def _warn_of_um_per_px(inspection: Inspection) -> None:
    given, stated = inspection.um_per_px, inspection.stated_um_per_px
    against = [value for value in stated if contradicts(given, value)]
    if given is not None and against:
        count = sum(stated[value] for value in against)
        print_warning(contradiction(given, against[0] or given, count))
    elif given is None and stated[None]:
        print_warning(assumed_um_per_px(stated[None]))
