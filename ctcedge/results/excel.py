"""Write a table as an Excel workbook (.xlsx): one sheet, the columns' names in row 1.

Text is stored as text, in cells of the format Text: neither a program that opens the file nor a
person who edits a cell makes a formula, a number or a date of it. Numbers are numbers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from ctcedge.errors import OutputError
from ctcedge.results.columns import Kind, Row, Value

MAX_ROWS = 1_048_576
"""Rows of a sheet, the header included."""
MAX_COLUMNS = 16_384
MAX_TEXT = 32_767
"""Length of a cell's text, UTF-16 code units."""
_WIDTHS = {"path": 28, "sample": 14, "reasons": 24, "review_note": 24}
_OTHER_WIDTH = 12
_CURE = "; write .csv, or leave the column out with --columns"


def write_xlsx(table: Iterable[Row], kinds: Mapping[str, Kind], file: BinaryIO) -> None:
    """Write rows as a workbook.

    Raises:
        OutputError: there are more rows or columns than a sheet holds, or a text is longer than a
            cell holds.
    """
    import xlsxwriter

    if len(kinds) > MAX_COLUMNS:
        raise OutputError(f"a sheet of Excel holds {MAX_COLUMNS:,} columns, not {len(kinds):,}")
    with tempfile.TemporaryDirectory(prefix="ctcedge-") as place:
        options = {"constant_memory": True, "tmpdir": place, "strings_to_formulas": False}
        book = xlsxwriter.Workbook(file, options)
        book.use_zip64()
        sheet = book.add_worksheet("cells")
        try:
            _fill(book, sheet, table, kinds)
            book.close()
        except xlsxwriter.exceptions.FileCreateError as error:
            raise error.args[0] from None  # the OSError
        finally:
            sheet._opt_close()  # its temporary file


def _fill(book: Any, sheet: Any, table: Iterable[Row], kinds: Mapping[str, Kind]) -> None:
    text, bold = book.add_format({"num_format": "@"}), book.add_format({"bold": True})
    for index, name in enumerate(kinds):
        sheet.set_column(index, index, _WIDTHS.get(name, _OTHER_WIDTH))
    sheet.freeze_panes(1, 0)
    for index, name in enumerate(kinds):
        sheet.write_string(0, index, _stored(name), bold)
    number = 0
    for number, row in enumerate(table, start=1):
        if number >= MAX_ROWS:
            raise OutputError(
                f"a sheet of Excel holds {MAX_ROWS - 1:,} rows below its header, and there are"
                " more; write .csv or .parquet"
            )
        for index, name in enumerate(kinds):
            value = row.get(name)
            if isinstance(value, str):
                sheet.write_string(number, index, _checked(value, name, row), text)
            elif isinstance(value, bool):
                sheet.write_boolean(number, index, value)
            elif isinstance(value, int | float):
                sheet.write_number(number, index, value)
    sheet.autofilter(0, 0, number, len(kinds) - 1)


def _checked(text: str, name: str, row: Row) -> str:
    text = _stored(text)
    # Most texts are short.
    if len(text) > MAX_TEXT // 2 and len(text.encode("utf-16-le")) // 2 > MAX_TEXT:
        place: Value = row.get("path") or next(iter(row.values()))
        raise OutputError(
            f"{place}: {name} is longer than the {MAX_TEXT:,} characters that a cell of Excel"
            f" holds{_CURE}"
        )
    return text


def _stored(text: str) -> str:
    """Return text without what is not UTF-8, which is written as escapes, as in a sidecar."""
    return text.encode("utf-8", "backslashreplace").decode()
