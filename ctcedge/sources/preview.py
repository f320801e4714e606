"""What would be cut, without cutting it: for `ctcedge inspect`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.naming import Crop, Found, Naming, Skipped, folder_name
from ctcedge.errors import BadImage
from ctcedge.fs.tree import Tree
from ctcedge.images.types import MAX_FRAME_BYTES
from ctcedge.sources.cutter import inside
from ctcedge.sources.frame import Frame
from ctcedge.sources.index_table import ANY_CHANNEL, IndexRow, read_index


@dataclass(slots=True)
class Preview:
    """Cells that are no image files of their own.

    Attributes:
        cells: (sample, cell) and the channels of each.
        files: files of many pages, or that a table names, and the names of their channels.
        problems: why a cell, row or file cannot be used, by its name.
    """

    cells: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def preview_table(folder: Path, naming: Naming, index: Path) -> Preview:
    """Read an index table, and the headers of the files that it names.

    Raises:
        SetupError: the table cannot be read.
    """
    table = read_index(index, naming, folder_name(folder))
    found = Preview(problems=dict(table.problems))
    users: dict[str, list[tuple[IndexRow, str]]] = defaultdict(list)
    for row in table.rows:
        found.cells[row.sample, row.cell] = [channel or BRIGHT_FIELD for channel in row.files]
        for channel, file in row.files.items():
            users[file].append((row, channel or BRIGHT_FIELD))
    with Tree(folder) as tree:
        for file, cells in sorted(users.items()):
            frame = _frame(tree, file, naming)
            if isinstance(frame, Frame):
                found.files[file] = frame.names
            for row, channel in cells:
                if (problem := _problem(frame, row, channel, file)) is not None:
                    found.problems[f"{row.sample} / {row.cell}"] = problem
    for row in table.rows:
        names = found.files.get(row.files.get(ANY_CHANNEL, ""))
        if names:
            found.cells[row.sample, row.cell] = names
    return found


def preview_files(folder: Path, naming: Naming, entries: Iterable[Found]) -> Preview:
    """Look for files of many pages among the entries of a folder."""
    found, name = Preview(), folder_name(folder)
    with Tree(folder) as tree:
        for entry in entries:
            if isinstance(entry, Skipped) and entry.kind not in ("unmatched", "cut"):
                continue
            if isinstance(entry, Crop) and (entry.root or entry.channel != BRIGHT_FIELD):
                continue
            cell = naming.file_of_pages(entry.path, name)
            frame = None if cell is None else _frame(tree, entry.path, naming)
            if cell is None or not isinstance(frame, Frame) or not frame.has_pages:
                continue
            try:
                names = list(frame.channels())
            except BadImage as error:
                found.problems[entry.path] = str(error)
            else:
                found.files[entry.path] = names
                found.cells[cell.sample, cell.cell] = names
    return found


def _problem(frame: Frame | str, row: IndexRow, channel: str, file: str) -> str | None:
    """Why a channel of a cell cannot be cut from its file, or None."""
    if isinstance(frame, str):
        return f"{file}: {frame}"
    try:
        number = frame.page_of(channel, row.page if channel == BRIGHT_FIELD else None)
        if row.box is not None:
            inside(row.box, *frame.size(number))
    except BadImage as error:
        return str(error)
    return None


def _frame(tree: Tree, file: str, naming: Naming) -> Frame | str:
    """A file, or why it cannot be used."""
    try:
        return Frame(tree.read(file, MAX_FRAME_BYTES), naming)
    except BadImage as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
