"""Index tables: one row a cell, with the files of its channels and, of frames, its position.

Columns, of any case: `cell`; `sample` (the searched folder's name where it is absent); a path per
channel, under a word for that channel (`BF`, `DAPI`, ...), or one `path` for a file that names its
channels; `um_per_px`; `page` (counted from 1); of frames the position in pixels, either `x` and `y`
(the centre) with `size` or with `width` and `height`, or `left`, `top`, `width` and `height`.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.naming import Naming
from ctcedge.errors import SetupError
from ctcedge.fs.text import same_form
from ctcedge.images.types import MIN_SIDE
from ctcedge.sources.origin import Box
from ctcedge.sources.tables import TableError, TableRow, heading_of, parse_number, read_table

ANY_CHANNEL = ""
"""Channel of the column `path`: the channels that the file itself names."""
DEFAULT_SIZE = 64
"""Width and height of a crop in pixels where a table gives a centre alone."""
MAX_ROWS = 2_000_000
_MAX_SIDE = 2048

_COLUMNS = {
    "cell": "cell cellid cellno cellnumber id object objectid objectnumber event eventid",
    "sample": "sample sampleid samplename run well",
    "path": "path file filename filepath image frame",
    "page": "page plane slice",
    "um_per_px": "umperpx um/px µm/px μm/px pixelsize pixelsizeum umperpixel",
    "x": "x xpx centerx centrex xcenter xcentre",
    "y": "y ypx centery centrey ycenter ycentre",
    "left": "left x0 xmin",
    "top": "top y0 ymin",
    "width": "width w",
    "height": "height h",
    "size": "size side cropsize",
}
_COLUMN_OF = {word: column for column, words in _COLUMNS.items() for word in words.split()}
_POSITION = ("x", "y", "left", "top", "width", "height", "size")


class IndexRow(NamedTuple):
    """One cell of an index table.

    Attributes:
        line: of the table.
        sample: empty where the table has none.
        cell: verbatim.
        files: path by channel, relative to the searched folder.
        page: counted from 1; None where the table gives none.
        box: part of the page; None for all of it.
        um_per_px: edge length of a pixel, um; None where the table gives none.
    """

    line: int
    sample: str
    cell: str
    files: dict[str, str]
    page: int | None
    box: Box | None
    um_per_px: float | None


class IndexTable(NamedTuple):
    """The rows that can be used, and by line why others cannot."""

    rows: list[IndexRow]
    problems: dict[str, str]


def read_index(path: Path, naming: Naming, folder_name: str) -> IndexTable:
    """Read an index table: CSV, TSV or XLSX.

    Args:
        path: of the table.
        naming: knows the words for channels.
        folder_name: the sample of rows without one.

    Raises:
        SetupError: the table cannot be read, or lacks a column.
    """
    try:
        columns = _columns(heading_of(path), naming)
        needed = [name for name, meaning in columns.items() if meaning == "cell"]
        table = read_table(path, needed, other_columns=True)
    except TableError as error:
        raise SetupError(f"--index {error}") from None
    names = set(columns.values())
    if "cell" not in names or not ({"path", f"={BRIGHT_FIELD}"} & names):
        lacking = "cell" if "cell" not in names else f"{BRIGHT_FIELD} (or path)"
        raise SetupError(
            f"--index {path} has no column {lacking}; it needs cell and a path per channel, such as"
            " cell,sample,BF,DAPI,um_per_px"
        )
    if len(table) > MAX_ROWS:
        raise SetupError(f"--index {path} has more than {MAX_ROWS:,} rows; divide it")
    rows, problems = [], {}
    for row in table:
        try:
            rows.append(_row(row, columns, folder_name))
        except ValueError as error:
            problems[f"{path.name} line {row.line}"] = str(error)
    return IndexTable(_without_repeated(rows, problems, path.name), problems)


def _columns(heading: list[str], naming: Naming) -> dict[str, str]:
    """The meaning of each column, by its heading; `=` and the channel for a path."""
    columns: dict[str, str] = {}
    for name in heading:
        word = re.sub(r"[ _.()\-\[\]]", "", same_form(name)).casefold()
        meaning = _COLUMN_OF.get(word)
        if meaning is None:
            channel = naming.channel_of(same_form(name)) or naming.channel_of(
                re.sub(r"[ _-]?(?:path|file)$", "", same_form(name), flags=re.IGNORECASE)
            )
            meaning = None if channel is None else f"={channel}"
        if meaning is None:
            continue
        if meaning in columns.values():
            raise TableError(f"has two columns for {meaning.removeprefix('=')}; remove one")
        columns[name] = meaning
    return columns


def _without_repeated(rows: list[IndexRow], problems: dict[str, str], name: str) -> list[IndexRow]:
    """Name the rows of cells that are there twice; which of them is meant, nobody can know."""
    lines: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in rows:
        lines[row.sample, row.cell].append(row.line)
    for (sample, cell), places in lines.items():
        if len(places) > 1:
            shown = ", ".join(map(str, places[:5]))
            problems[f"{sample} / {cell}"] = f"is in {name} more than once (lines {shown})"
    return [row for row in rows if len(lines[row.sample, row.cell]) == 1]


def _row(row: TableRow, columns: dict[str, str], folder_name: str) -> IndexRow:
    if row.problem is not None:
        raise ValueError(row.problem)
    values = {meaning: same_form(row.values.get(name, "")) for name, meaning in columns.items()}
    if not values["cell"]:
        raise ValueError("has no cell")
    files = {
        meaning[1:]: _path(text)
        for meaning, text in values.items()
        if meaning.startswith("=") and text
    }
    if text := values.get("path"):
        files[ANY_CHANNEL] = _path(text)
    if not {ANY_CHANNEL, BRIGHT_FIELD} & files.keys():
        raise ValueError("has no bright-field image")
    numbers = {key: _number(key, values.get(key, "")) for key in ("page", "um_per_px", *_POSITION)}
    page = numbers["page"]
    if page is not None and not (page >= 1 and page == int(page)):
        raise ValueError("its page is not a whole number from 1")
    um_per_px = numbers["um_per_px"]
    if um_per_px is not None and not 0.02 <= um_per_px <= 5:
        raise ValueError(f"its um/px is {um_per_px:g}; 0.02 to 5 are accepted")
    return IndexRow(
        row.line,
        values.get("sample") or folder_name,
        values["cell"],
        files,
        None if page is None else int(page),
        _box(numbers),
        um_per_px,
    )


def _path(text: str) -> str:
    """A path below the searched folder.

    Raises:
        ValueError: it leads elsewhere.
    """
    path = text.replace("\\", "/")
    parts = [part for part in path.split("/") if part != "."]
    if path.startswith("/") or re.match("[A-Za-z]:", path) or ".." in parts or "\0" in path:
        raise ValueError(f"its path '{text}' is not below the folder; write it relative to it")
    if not all(parts):
        raise ValueError(f"its path '{text}' is no path of a file")
    return "/".join(parts)


def _number(key: str, text: str) -> float | None:
    if not text:
        return None
    number = parse_number(text)
    if number is None or not math.isfinite(number) or abs(number) > 1e9:
        raise ValueError(f"its {key} '{text}' is not a number")
    return number


def _box(numbers: dict[str, float | None]) -> Box | None:
    """The box of a position; it may lie outside the frame, whose size is not known here."""
    x, y, left, top, width, height, size = (numbers[key] for key in _POSITION)
    if x is None and y is None and left is None and top is None:
        return None
    wide = width if width is not None else size
    high = height if height is not None else size
    if left is None or top is None:
        if x is None or y is None:
            raise ValueError("its position lacks one of its two numbers")
        wide = DEFAULT_SIZE if wide is None else wide
        high = wide if high is None else high
        left, top = math.floor(x - wide / 2 + 0.5), math.floor(y - high / 2 + 0.5)
    if wide is None or high is None:
        raise ValueError("its box lacks width and height")
    if not (MIN_SIDE <= wide <= _MAX_SIDE and MIN_SIDE <= high <= _MAX_SIDE):
        raise ValueError(
            f"its box is {wide:g} x {high:g} pixels; {MIN_SIDE} to {_MAX_SIDE} are cut"
        )
    return round(left), round(top), round(wide), round(high)
