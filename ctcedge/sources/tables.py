"""Tables that people and spreadsheets write: one reader for all of them.

Read are Excel workbooks (the first sheet); and text with commas, semicolons or tabs between the
columns, also named by Excel's line `sep=;`; UTF-8 and UTF-16; any line ends; headings of any case;
empty rows and columns. What could be read in two ways is refused with the line.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from ctcedge.fs.files import read_limited
from ctcedge.fs.text import TextError, decode_text, same_form
from ctcedge.log import escape_control_chars
from ctcedge.sources.workbook import WORKBOOK, TableError, iter_workbook

__all__ = ["NameIndex", "TableError", "TableRow", "heading_of", "parse_number", "read_table"]

_MAX_BYTES: Final = 1 << 30
_DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_SEPARATOR_LINE = re.compile(r'"?sep=(?P<delimiter>.)"?[,;\t|]*', re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_MAX_SHOWN = 100


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a table.

    Attributes:
        line: number of its first line in the file.
        values: by column, verbatim; columns that the caller did not name have the name of their
            heading.
        problem: why the row cannot be used, or None.
    """

    line: int
    values: dict[str, str]
    problem: str | None = None


def read_table(
    path: Path,
    needed: Sequence[str],
    known: Collection[str] = (),
    *,
    may_lack: str = "",
    other_columns: bool = False,
) -> list[TableRow]:
    """Read a table with a heading; rows without any value are left out.

    Args:
        path: the file.
        needed: columns that it must have.
        known: further columns that are found whatever the case of their heading.
        may_lack: a needed column whose value may be missing at the end of a row, as spreadsheets
            leave out what is empty there.
        other_columns: whether the caller uses columns that it does not name.

    Raises:
        TableError: the file cannot be read, its heading lacks a column, or has one twice.
    """
    data = _read(path)
    try:
        if path.suffix.lower() == WORKBOOK:
            records = iter_workbook(data)
            heading = _workbook_heading(records, needed, known)
        else:
            heading, records = _split(_text(path, data), needed, known)
        used = Counter(name for name in heading if name)
        twice = [name for name in (used if other_columns else (*needed, *known)) if used[name] > 1]
        if twice:
            raise TableError(f"has the column {twice[0]} twice; remove one")
        return list(_rows(heading, records, {*needed} - {may_lack}))
    except TableError as error:
        raise TableError(f"{path} {error}") from None


def heading_of(path: Path) -> list[str]:
    """Return the heading of a table, verbatim, by the delimiter that gives most columns.

    Raises:
        TableError: the file cannot be read.
    """
    data = _read(path)
    try:
        if path.suffix.lower() == WORKBOOK:
            return next((row for _, row in iter_workbook(data) if any(map(str.strip, row))), [])
        text = _text(path, data)
        start, delimiters = _start(text)
        headings = []
        for delimiter in delimiters:
            rows = _records(text, start, delimiter, '"')
            headings.append(next((row for _, row in rows if any(map(str.strip, row))), []))
    except TableError as error:
        raise TableError(f"{path} {error}") from None
    return max(headings, key=len)


def _read(path: Path) -> bytes:
    try:
        return read_limited(path, _MAX_BYTES, follow=True)
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror}") from None


def _text(path: Path, data: bytes) -> str:
    try:
        return decode_text(data)
    except TextError as error:
        cure = " (in Excel: 'CSV UTF-8')" if "as UTF-8" in str(error) else ""
        raise TableError(f"{path} cannot be read: {error}{cure}") from None


def _workbook_heading(
    records: Iterator[tuple[int, list[str]]], needed: Sequence[str], known: Collection[str]
) -> list[str]:
    heading = next((row for _, row in records if any(map(str.strip, row))), [])
    names = _names(heading, (*needed, *known))
    if not {*needed} <= {*names}:
        raise TableError(_lacking(names, needed))
    return names


def parse_number(text: str) -> float | None:
    """Return the number of a text, with a point or a decimal comma; None where it is none.

    A text with both, or with several, could be read in two ways and is none.
    """
    return float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else None


class NameIndex:
    """Finds names of an export by the names that a person or another program wrote.

    Equal names are found first, then names that differ only in their Unicode form (`ü` as one
    character or two) or in outer spaces, if only one is meant.

    Args:
        names: of the export.
    """

    def __init__(self, names: Collection[tuple[str, ...]]) -> None:
        self._names = set(names)
        self._by_form: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
        for name in self._names:
            self._by_form.setdefault(_form(name), []).append(name)

    def find(self, name: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the name as the export has it; None where it is not there.

        Raises:
            TableError: several names of the export look like this one.
        """
        if name in self._names:
            return name
        names = self._by_form.get(_form(name), [])
        if len(names) > 1:
            raise TableError(f"the export has {len(names)} names that look like {' / '.join(name)}")
        return names[0] if names else None

    def with_zeros(self, name: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return a name that has more leading zeros in its last part; None where there is none."""
        return self._names_with_zeros.get(_without_zeros(name))

    @cached_property
    def _names_with_zeros(self) -> dict[tuple[str, ...], tuple[str, ...]]:
        return {_without_zeros(name): name for name in self._names if name[-1].startswith("0")}


def _without_zeros(name: tuple[str, ...]) -> tuple[str, ...]:
    *start, last = _form(name)
    return (*start, last.lstrip("0"))


def _form(name: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(same_form, name))


def _split(
    text: str, needed: Sequence[str], known: Collection[str]
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the heading, and the rows below with their line numbers.

    The delimiter is the one by which the heading has the needed columns.
    """
    start, delimiters = _start(text)
    headings: list[list[str]] = []
    problem: TableError | None = None
    for quote, delimiter in itertools.product("\"'", delimiters):
        records = _records(text, start, delimiter, quote)
        try:
            heading = next((record for _, record in records if any(map(str.strip, record))), [])
        except TableError as error:
            problem = problem or error
            continue
        headings.append(_names(heading, (*needed, *known)))
        if {*needed} <= {*headings[-1]}:
            return headings[-1], records
    if problem is not None:
        raise problem
    if not text[start:].strip(" \r\n" + "".join(_DELIMITERS)):
        raise TableError("is empty")
    # The one with most of the needed columns, or else with most columns.
    raise TableError(
        _lacking(max(headings, key=lambda names: (len({*needed} & {*names}), len(names))), needed)
    )


def _start(text: str) -> tuple[int, list[str]]:
    """Return where the table begins, and the delimiters that are possible."""
    line = re.match(r"\s*([^\r\n]*)(\r\n|\r|\n|$)", text)
    match = line and _SEPARATOR_LINE.fullmatch(line[1].strip(" "))
    if not line or not match:
        return 0, list(_DELIMITERS)
    delimiter = match["delimiter"]
    if delimiter not in _DELIMITERS:
        raise TableError(
            f"has in line 1 '{escape_control_chars(delimiter)}' between the columns; save it with"
            f" {_delimiter_names()}"
        )
    return line.end(), [delimiter]


def _records(text: str, start: int, delimiter: str, quote: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its first line."""
    lines_before = len(re.findall(r"\r\n|\r|\n", text[:start]))
    # After "a, b" the values below have a space before their quotation marks, too.
    spaced = re.match(rf"[^\r\n]*{re.escape(delimiter)} ", text[start:].lstrip()[:10_000])
    reader = csv.reader(
        io.StringIO(text[start:], newline=""),
        delimiter=delimiter,
        quotechar=quote,
        skipinitialspace=spaced is not None and delimiter != "\t",
        strict=True,
    )
    number = lines_before + 1
    try:
        for record in reader:
            yield number, record
            number = lines_before + reader.line_num + 1
    except csv.Error as error:
        reason = str(error)
        if "unexpected end" in reason or "field larger" in reason:
            reason = "a quotation mark is opened and not closed"
        raise TableError(f"cannot be read: line {number}: {reason}") from None


def _rows(
    heading: Sequence[str], records: Iterator[tuple[int, list[str]]], required: set[str]
) -> Iterator[TableRow]:
    for line, record in records:
        if not any(map(same_form, record)):
            continue
        values = itertools.zip_longest(heading, record)
        by_name = {name: value or "" for name, value in values if name}
        missing = {*heading[len(record) :]}
        unnamed = [*heading, *itertools.repeat("", len(record) - len(heading))]
        extra = any(
            not name and same_form(value) for name, value in zip(unnamed, record, strict=False)
        )
        problem = None
        if extra or required & missing:
            problem = (
                f"the number of values differs from the number of columns ({len(record)} and"
                f" {len(heading)}); a value with a comma or semicolon needs quotation marks"
            )
        yield TableRow(line, by_name, problem)


def _names(heading: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the names of the columns: known ones as the caller writes them."""
    written = {same_form(name).casefold(): name for name in known}
    names = map(same_form, heading)
    return [written.get(name.casefold(), name) for name in names]


def _lacking(heading: Sequence[str], needed: Sequence[str]) -> str:
    missing = [name for name in needed if name not in heading]
    shown = escape_control_chars(", ".join(f"'{name}'" for name in heading))
    if len(shown) > _MAX_SHOWN:
        shown = f"{shown[:_MAX_SHOWN]}..."
    count = "1 column" if len(heading) == 1 else f"{len(heading)} columns"
    return (
        f"has no column {' and '.join(missing)} (its heading has {count}: {shown}; columns are"
        f" divided by {_delimiter_names()})"
    )


def _delimiter_names() -> str:
    *names, last = _DELIMITERS.values()
    return f"{', '.join(names)} or {last}"
