"""Export one row per crop: the sidecars of a folder as CSV, JSON Lines or Parquet.

Text is written unchanged, with one exception. In CSV, a spreadsheet would run text that begins with
`=`, `+`, `-` or `@` as a formula, also after a character that another spreadsheet takes for the end
of a cell. `escape_formula` puts an apostrophe before such text, and `unescape_formula` removes it.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

from ctcedge.discovery.naming import IMAGE_SUFFIXES, SIDECAR_SUFFIX
from ctcedge.errors import OutputError, SettingsError
from ctcedge.fs.files import atomic_writer
from ctcedge.sidecars.scan import CropRecord, read_current_image
from ctcedge.sidecars.schema import Sidecar

Format: TypeAlias = Literal["csv", "jsonl", "parquet"]
Kind: TypeAlias = Literal["text", "number", "whole", "flag"]
Value: TypeAlias = str | float | int | bool | None
Row: TypeAlias = dict[str, Value]

FORMATS: tuple[Format, ...] = ("csv", "jsonl", "parquet")
_BOM = "\ufeff".encode()
_ROWS = 10_000  # of a group of a Parquet file
_CELL_START = r"(^|[,;|\t\r\n])"
_TO_GUARD = re.compile(_CELL_START + r"(?=[=+\-@\t\r\n'\"\uFF1D\uFF0B\uFF0D\uFF20])")
_GUARDED = re.compile(_CELL_START + r"'")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table; its place and name do not change between versions of ctcedge.

    Attributes:
        name: of the column.
        kind: of its values; each may also be missing.
        meaning: one line.
        take: the value, from a sidecar.
    """

    name: str
    kind: Kind
    meaning: str
    take: Callable[[Sidecar], Value]


def _at(*keys: str) -> Callable[[Sidecar], Value]:
    """The value at these keys; None where a key before the last has the value None."""

    def take(record: Sidecar) -> Value:
        value: Any = record
        for key in keys:
            value = None if value is None else getattr(value, key)
        taken: Value = value
        return taken

    return take


def _still_the_image(record: Sidecar) -> Value:
    review = record.review
    return None if review is None else review.image_sha256 == record.image.sha256


# What every row has, also of a crop without a sidecar.
_OWN = (
    ("path", "of the bright-field image, relative to the folder"),
    ("sample", "from the path, verbatim"),
    ("cell", "from the path, verbatim: the instrument's number of the cell"),
    ("status", "`classified`, `unreadable`, `unsupported`, or `pending`: there is no sidecar"),
)
COLUMNS: tuple[Column, ...] = (
    Column("call", "text", "the model's: `CTC`, `leukocyte` or `review`", _at("call")),
    Column("probability", "number", "of CTC, at `prior`", _at("probability")),
    Column("prior", "number", "share of CTCs that `probability` assumes", _at("prior")),
    Column("threshold", "number", "least probability of the call CTC", _at("threshold")),
    Column("review_low", "number", "of the review band", lambda r: r.review_band[0]),
    Column("review_high", "number", "of the review band", lambda r: r.review_band[1]),
    Column("operating_point", "text", "empty: the model's own decision", _at("operating_point")),
    Column("score", "number", "the network's logit", _at("score")),
    Column(
        "reasons", "text", "of the call `review`, parted by spaces", lambda r: " ".join(r.reasons)
    ),
    Column("cluster", "flag", "whether cells touch", _at("cluster")),
    Column(
        "quality",
        "text",
        "what the quality gate found, in words",
        lambda r: None if r.quality is None else " ".join(r.quality.reasons),
    ),
    Column("ood_distance", "number", "from the training data", _at("ood", "distance")),
    Column("ood_p_value", "number", "fraction of known cells that far away", _at("ood", "p_value")),
    Column("error", "text", "why it is not classified", _at("error")),
    Column("review", "text", "a person's: `CTC`, `leukocyte`, `unsure`", _at("review", "call")),
    Column("review_from", "text", "the model's call then", _at("review", "model_call")),
    Column("reviewer", "text", "who", _at("review", "reviewer")),
    Column("review_time", "text", "when, UTC", _at("review", "time")),
    Column("review_note", "text", "the person's", _at("review", "note")),
    Column("review_blinded", "flag", "the model's call was hidden", _at("review", "blinded")),
    Column("review_weight", "number", "cells it stands for, if drawn", _at("review", "weight")),
    Column("review_of_this_image", "flag", "false: the image changed since", _still_the_image),
    Column(
        "reviews",
        "whole",
        "how many there were",
        lambda r: len(r.reviews),
    ),
    Column("earlier_calls", "whole", "of the model, in `history`", lambda r: len(r.history)),
    Column("image_sha256", "text", "of the image that was called", _at("image", "sha256")),
    Column("width", "whole", "pixels", _at("image", "width")),
    Column("height", "whole", "pixels", _at("image", "height")),
    Column("bit_depth", "whole", "bits a pixel", _at("image", "bit_depth")),
    Column("um_per_px", "number", "edge of a pixel, um", _at("image", "um_per_px")),
    Column("um_per_px_assumed", "flag", "um/px was not given", _at("image", "um_per_px_assumed")),
    Column("model", "text", "its name", _at("model", "name")),
    Column("model_version", "text", "its version", _at("model", "version")),
    Column("model_sha256", "text", "its identity", _at("model", "sha256")),
    Column("model_variant", "text", "graph that ran", _at("model", "variant")),
    Column("settings_sha256", "text", "of all that decides a call", _at("settings_sha256")),
    Column("ctcedge", "text", "version", _at("software", "ctcedge")),
    Column("onnxruntime", "text", "version", _at("software", "onnxruntime")),
    Column("provider", "text", "where the network ran", _at("software", "provider")),
    Column("created", "text", "when the call was made, UTC", _at("created")),
)
KINDS: Mapping[str, Kind] = {
    **{name: "text" for name, _ in _OWN},
    **{column.name: column.kind for column in COLUMNS},
}
MEANINGS: Mapping[str, str] = {**dict(_OWN), **{c.name: c.meaning for c in COLUMNS}}
PICKLIST_KINDS: Mapping[str, Kind] = {"sample": "text", "cell": "text"}


@dataclass(slots=True)
class PickList:
    """Cells to recover.

    Attributes:
        cells: (sample, cell) that a person confirmed as CTC, each once.
        changed: paths reviewed as CTC whose image changed since, which are left out.
        disputed: (sample, cell) with a second image that a person called something else; they are
            in the list all the same.
    """

    cells: list[tuple[str, str]]
    changed: list[str]
    disputed: list[tuple[str, str]]

    def rows(self) -> Iterator[Row]:
        """As rows of a table."""
        return ({"sample": sample, "cell": cell} for sample, cell in self.cells)


def rows(stored: Iterable[CropRecord]) -> Iterator[Row]:
    """One row a bright-field crop."""
    for each in stored:
        record = each.record
        row: Row = {
            "path": each.crop.path,
            "sample": each.crop.sample,
            "cell": each.crop.cell,
            "status": "pending" if record is None else record.status,
        }
        for column in COLUMNS:
            row[column.name] = None if record is None else column.take(record)
        yield row


def picklist(folder: Path, stored: Iterable[CropRecord]) -> PickList:
    """Cells whose last review says CTC, of the image that was classified and lies there now.

    Args:
        folder: the searched folder.
        stored: its bright-field crops, with their sidecars.
    """
    found = PickList([], [], [])
    confirmed: dict[tuple[str, str], None] = {}
    otherwise = set()
    for each in stored:
        review = None if each.record is None else each.record.review
        if each.record is None or review is None:
            continue
        key = each.crop.sample, each.crop.cell
        if review.call != "CTC":
            otherwise.add(key)
        elif (
            review.image_sha256
            == each.record.image.sha256
            == read_current_image(folder, each.crop).sha256
        ):
            confirmed[key] = None
        else:
            found.changed.append(each.crop.path)
    found.cells.extend(confirmed)
    found.disputed.extend(key for key in confirmed if key in otherwise)
    return found


def format_of(chosen: str | None, out: Path | None) -> Format:
    """The format that was chosen, or that the file's name ends in, or CSV where it has no ending.

    Raises:
        SettingsError: the name ends in something else.
    """
    wanted = chosen or ("" if out is None else out.suffix.lower().removeprefix(".")) or "csv"
    for each in FORMATS:
        if each == wanted:
            return each
    raise SettingsError(
        f"{out}: '.{wanted}' is no format of a table; give a name that ends in .csv, .jsonl or"
        " .parquet, or --format"
    )


def check_place(out: Path | None, chosen: Format) -> None:
    """See that the table may be written there, and that the format's library is there.

    Raises:
        OutputError: it would replace what ctcedge reads or wrote, or is no file.
        SettingsError: Parquet cannot be written here.
    """
    if out is not None:
        if out.name.lower().endswith((*IMAGE_SUFFIXES, SIDECAR_SUFFIX)):
            raise OutputError(f"{out} has the name of an image or a sidecar; give another --out")
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
        table: rows, each with all columns.
        kinds: of the columns, in their order.
        chosen: format.
        file: where to.
        bom: begin CSV with a byte-order mark, by which a spreadsheet knows UTF-8.

    Returns:
        The number of rows.
    """
    rows = iter(table)
    first = list(itertools.islice(rows, 1))  # what is wrong with the folder shows before a header
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


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when all went well, and is gone otherwise.

    Raises:
        OutputError: it cannot be written, or is no file, such as a device.
    """
    place = Path(os.path.realpath(path))  # a link stays, and its file is replaced
    if place.exists() and not place.is_file():
        raise OutputError(f"{path} is no file that could be replaced; give the name of a file")
    try:
        with atomic_writer(place, temporary=f".{place.name}.{os.getpid()}.tmp") as file:
            yield file
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}; give another --out"
        ) from None


@contextlib.contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Standard output, for bytes.

    Raises:
        OutputError: it cannot be written. That a reader went away is no error of this kind.
    """
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror}") from None


def escape_formula(text: str) -> str:
    """A text that no spreadsheet takes for a formula.

    An apostrophe is put where the text, or what follows a comma, semicolon, bar, tab or line break
    in it, begins with one of `= + - @ ' "`, their full-width forms, a tab or a line break.
    """
    return _TO_GUARD.sub(r"\1'", text)


def unescape_formula(text: str) -> str:
    """The text that `escape_formula` was given: each apostrophe in such a place is taken away."""
    return _GUARDED.sub(r"\1", text)


def _write_csv(table: Iterable[Row], kinds: Mapping[str, Kind], file: BinaryIO) -> None:
    # Bytes of a name that are not UTF-8 become escapes, as in a sidecar.
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
            columns = {name: [_valid(row[name]) for row in group] for name in kinds}
            writer.write_table(pa.table(columns, schema))


def _groups(table: Iterable[Row]) -> Iterator[Sequence[Row]]:
    group: list[Row] = []
    for row in table:
        group.append(row)
        if len(group) == _ROWS:
            yield group
            group = []
    if group:
        yield group


def _valid(value: Value) -> Value:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value
