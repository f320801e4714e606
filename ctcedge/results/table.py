"""The rows of tables: one per crop, from the sidecars of a folder, or one per picked cell.

`ctcedge.results.table_files` writes them. Text is written unchanged, with one exception. In CSV and
TSV, a spreadsheet would run text that begins with `=`, `+`, `-` or `@` as a formula, also after a
character that another spreadsheet takes for the end of a cell. `escape_formula` puts an apostrophe
before such text, and `unescape_formula` removes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ctcedge.results.columns import COLUMNS, FEATURES, Row
from ctcedge.results.measurements import StainIntensity
from ctcedge.sidecars.scan import CropRecord, read_current_image

_CELL_START = r"(^|[,;|\t\r\n])"
_TO_ESCAPE = re.compile(_CELL_START + r"(?=[=+\-@\t\r\n'\"\uFF1D\uFF0B\uFF0D\uFF20])")
_ESCAPED = re.compile(_CELL_START + r"'")


@dataclass(slots=True)
class PickList:
    """Cells to recover on the instrument.

    Attributes:
        cells: (sample, cell) that a reviewer confirmed as CTC, each once.
        changed: paths reviewed as CTC that are left out, as their image has changed since.
        unread: paths reviewed as CTC that are left out, as their image cannot be read now, and why.
        disputed: (sample, cell) of `cells` with another image that was reviewed as something else.
    """

    cells: list[tuple[str, str]]
    changed: list[str]
    unread: dict[str, str]
    disputed: list[tuple[str, str]]

    def rows(self) -> Iterator[Row]:
        """Return the rows of the table."""
        return ({"sample": sample, "cell": cell} for sample, cell in self.cells)


def rows(entries: Iterable[CropRecord]) -> Iterator[Row]:
    """Yield one row per bright-field crop."""
    return (row_of(entry) for entry in entries)


def row_of(entry: CropRecord, stains: Mapping[str, StainIntensity] | None = None) -> Row:
    """Return the row of a bright-field crop.

    Args:
        entry: the crop and its sidecar.
        stains: measurements of its stains, by channel; columns of others are missing.
    """
    record = entry.record
    row: Row = {
        "path": entry.crop.path,
        "sample": entry.crop.sample,
        "cell": entry.crop.cell,
        "status": "pending" if record is None else record.status,
    }
    for column in (*COLUMNS, FEATURES):
        row[column.name] = None if record is None else column.value(record)
    for channel, intensity in (stains or {}).items():
        for name, value in intensity._asdict().items():
            row[f"{channel}_{name}"] = value
    return row


def picklist(folder: Path, entries: Iterable[CropRecord]) -> PickList:
    """Collect the cells whose latest review is CTC, of the image that was classified.

    That image must still be there.

    Args:
        folder: the searched folder.
        entries: its bright-field crops with their sidecars.
    """
    changed: list[str] = []
    unread: dict[str, str] = {}
    confirmed: dict[tuple[str, str], None] = {}
    otherwise = set()
    for entry in entries:
        review = None if entry.record is None else entry.record.review
        if entry.record is None or review is None:
            continue
        key = entry.crop.sample, entry.crop.cell
        if review.call != "CTC":
            otherwise.add(key)
            continue
        image = read_current_image(folder, entry.crop)
        if image.problem is not None:
            unread[entry.crop.path] = image.problem
        elif review.image_sha256 == entry.record.image.sha256 == image.sha256:
            confirmed[key] = None
        else:
            changed.append(entry.crop.path)
    disputed = [key for key in confirmed if key in otherwise]
    return PickList(list(confirmed), changed, unread, disputed)


def escape_formula(text: str) -> str:
    """Return text that no spreadsheet takes for a formula.

    An apostrophe is inserted where the text, or what follows a comma, semicolon, bar, tab or line
    break in it, begins with one of `= + - @ ' "`, a full-width `= + - @`, a tab or a line break.
    """
    return _TO_ESCAPE.sub(r"\1'", text)


def unescape_formula(text: str) -> str:
    """Undo `escape_formula`: remove the apostrophes that it inserted."""
    return _ESCAPED.sub(r"\1", text)
