"""The first sheet of an Excel workbook (.xlsx), as rows of text.

openpyxl is an extra, `ctcedge[xlsx]`: most labs need no workbooks, and it brings two packages.
"""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

WORKBOOK = ".xlsx"
MISSING = (
    "is an Excel workbook, and openpyxl, which reads it, is not installed; install it"
    " (pip install 'ctcedge[xlsx]'), or save the table as CSV"
)
_MAX_BYTES = 1 << 30  # of the unpacked workbook
_MAX_COLUMNS = 1000
_ZEROS = re.compile(r"0+")


class TableError(ValueError):
    """A table cannot be read; the text has the reason, the line and the cure."""


def iter_workbook(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield each row of the first sheet with its number; numbers as a person sees them.

    Raises:
        TableError: openpyxl is not installed, or the file is no workbook.
    """
    try:
        import openpyxl
    except ImportError:
        raise TableError(MISSING) from None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_BYTES:
                raise TableError(f"is larger than {_MAX_BYTES:,} bytes unpacked")
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        try:
            rows = book.worksheets[0].iter_rows(max_col=_MAX_COLUMNS)
            for number, row in enumerate(rows, start=1):
                values = [_shown(cell.value, cell.number_format) for cell in row]
                while values and not values[-1]:
                    values.pop()
                yield number, values
        finally:
            book.close()
    except TableError:
        raise
    except Exception as error:  # of a file from outside, by any part of its many parsers
        raise TableError(f"cannot be read as an Excel workbook: {error}") from None


def _shown(value: Any, number_format: str | None) -> str:
    """A value as text: whole numbers without a point, `00042` with its zeros."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, int):
        zeros = _ZEROS.fullmatch(number_format or "")
        return str(value).zfill(len(zeros[0])) if zeros else str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)
