"""Export one row per crop: the sidecars of a folder as CSV, JSON Lines or Parquet.

Text is written unchanged, with one exception. In CSV, a spreadsheet would run text that begins with
`=`, `+`, `-` or `@` as a formula, also after a character that another spreadsheet takes for the end
of a cell. `escape_formula` puts an apostrophe before such text, and `unescape_formula` removes it.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

from ctcedge.discovery.naming import IMAGE_SUFFIXES, SIDECAR_SUFFIX
from ctcedge.errors import OutputError, SettingsError
from ctcedge.results.columns import COLUMNS, Kind, Value
from ctcedge.results.output_files import followed
from ctcedge.sidecars.scan import CropRecord, read_current_image

Format: TypeAlias = Literal["csv", "jsonl", "parquet"]
Row: TypeAlias = dict[str, Value]

FORMATS: tuple[Format, ...] = ("csv", "jsonl", "parquet")
_BOM = "\ufeff".encode()
_ROWS_PER_GROUP = 10_000  # of a Parquet file
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
    for entry in entries:
        record = entry.record
        row: Row = {
            "path": entry.crop.path,
            "sample": entry.crop.sample,
            "cell": entry.crop.cell,
            "status": "pending" if record is None else record.status,
        }
        for column in COLUMNS:
            row[column.name] = None if record is None else column.value(record)
        yield row


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


def format_of(chosen: str | None, out: Path | None) -> Format:
    """Return the chosen format, or else that of the file's suffix, or CSV if it has none.

    Raises:
        SettingsError: the suffix is another one.
    """
    name = chosen or ("" if out is None else out.suffix.lower().removeprefix(".")) or "csv"
    for known in FORMATS:
        if known == name:
            return known
    raise SettingsError(
        f"{out}: '.{name}' is no table format; give a name that ends in .csv, .jsonl or .parquet,"
        " or --format"
    )


def check_place(out: Path | None, chosen: Format) -> None:
    """Check that the table may be written to the file, and that the format's library is installed.

    Raises:
        OutputError: the file would replace an image or a sidecar, or is a folder.
        SettingsError: the library for Parquet is not installed.
    """
    if out is not None:
        for name in (out, followed(out)):
            if name.name.lower().endswith((*IMAGE_SUFFIXES, SIDECAR_SUFFIX)):
                raise OutputError(
                    f"{name} has the name of an image or a sidecar; give another --out"
                )
        if out.is_dir():
            raise OutputError(f"{out} is a folder; give --out the name of a file")
    if chosen == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise SettingsError(
                "Parquet needs a library that is not installed; run: pip install 'ctcedge[parquet]'"
            ) from None


def write(
    table: Iterable[Row], kinds: Mapping[str, Kind], chosen: Format, file: BinaryIO, *, bom: bool
) -> int:
    """Write rows.

    Args:
        table: rows with all columns.
        kinds: types of the columns, in their order.
        chosen: format.
        file: open for writing.
        bom: start CSV with a byte-order mark, from which a spreadsheet recognizes UTF-8.

    Returns:
        The number of rows.
    """
    rows = iter(table)
    first = list(itertools.islice(rows, 1))  # an error in the folder is raised before the header
    count = 0

    def counted() -> Iterator[Row]:
        nonlocal count
        for row in itertools.chain(first, rows):
            count += 1
            yield row

    writers = {"csv": _write_csv, "jsonl": _write_jsonl, "parquet": _write_parquet}
    if bom and chosen == "csv":
        file.write(_BOM)
    writers[chosen](counted(), kinds, file)
    return count


def escape_formula(text: str) -> str:
    """Return text that no spreadsheet takes for a formula.

    An apostrophe is inserted where the text, or what follows a comma, semicolon, bar, tab or line
    break in it, begins with one of `= + - @ ' "`, a full-width `= + - @`, a tab or a line break.
    """
    return _TO_ESCAPE.sub(r"\1'", text)


def unescape_formula(text: str) -> str:
    """Undo `escape_formula`: remove the apostrophes that it inserted."""
    return _ESCAPED.sub(r"\1", text)


def _write_csv(table: Iterable[Row], kinds: Mapping[str, Kind], file: BinaryIO) -> None:
    # Bytes of a file name that are not UTF-8 are written as escapes, as in a sidecar.
    text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="")
    try:
        writer = csv.writer(text)  # lines end in CR LF, as RFC 4180 says
        writer.writerow(kinds)
        for row in table:
            writer.writerow([_csv_value(row[name]) for name in kinds])
    finally:
        text.detach()


def _csv_value(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape_formula(value) if isinstance(value, str) else repr(value)


def _write_jsonl(table: Iterable[Row], kinds: Mapping[str, Kind], file: BinaryIO) -> None:
    for row in table:
        line = json.dumps({name: row[name] for name in kinds}, ensure_ascii=False)
        file.write(line.encode("utf-8", "backslashreplace") + b"\n")


def _write_parquet(table: Iterable[Row], kinds: Mapping[str, Kind], file: BinaryIO) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"text": pa.string(), "number": pa.float64(), "whole": pa.int64(), "flag": pa.bool_()}
    schema = pa.schema([(name, types[kind]) for name, kind in kinds.items()])
    with pq.ParquetWriter(file, schema) as writer:
        for group in _groups(table):
            columns = {name: [_as_utf8(row[name]) for row in group] for name in kinds}
            writer.write_table(pa.table(columns, schema))


def _groups(table: Iterable[Row]) -> Iterator[Sequence[Row]]:
    group: list[Row] = []
    for row in table:
        group.append(row)
        if len(group) == _ROWS_PER_GROUP:
            yield group
            group = []
    if group:
        yield group


def _as_utf8(value: Value) -> Value:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value
