"""The table of crops: the chosen columns, and rows that are read as they are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ctcedge.discovery.naming import Naming
from ctcedge.results.column_choice import choose_columns, measured_channels, needs_stains
from ctcedge.results.columns import Kind, Row
from ctcedge.results.measurements import StainImages, find_stains, measure_stains
from ctcedge.results.table import row_of, rows
from ctcedge.results.table_files import Format
from ctcedge.sidecars.scan import CropRecord


@dataclass(slots=True)
class CropTable:
    """A table of crops.

    Attributes:
        kinds: types of its columns, in their order.
        rows: one per crop.
        problems: why an image could not be measured, by its path, as far as `rows` was iterated.
    """

    kinds: Mapping[str, Kind]
    rows: Iterable[Row]
    problems: dict[str, str] = field(default_factory=dict)


def crop_table(
    folder: Path,
    naming: Naming,
    entries: Iterable[CropRecord],
    chosen: str | None,
    table_format: Format,
) -> CropTable:
    """Return the table of a folder's crops.

    Images are read only where columns of stains are chosen.

    Args:
        folder: the searched folder.
        naming: how file names are read.
        entries: its crops with their sidecars.
        chosen: see `choose_columns`.
        table_format: format of the table.

    Raises:
        SettingsError: a chosen column does not exist.
    """
    stains = StainImages({})
    if needs_stains(chosen, table_format):
        stains = find_stains(folder, naming)
    kinds = choose_columns(chosen, table_format, stains.channels)
    table = CropTable(kinds, rows(entries))
    if channels := measured_channels(kinds, stains.channels):
        table.rows = _measured(table, folder, entries, stains, channels)
    return table


def _measured(
    table: CropTable,
    folder: Path,
    entries: Iterable[CropRecord],
    stains: StainImages,
    channels: list[str],
) -> Iterator[Row]:
    for crop in measure_stains(folder, entries, stains, channels):
        table.problems |= crop.problems
        yield row_of(crop.entry, crop.stains)
