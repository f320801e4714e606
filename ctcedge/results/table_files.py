"""Write tables as CSV, TSV, JSON Lines, Parquet, Excel, FCS or AnnData.

A table is its columns (name and type, in order) and its rows; `write_table` is the one way to a
file. A file gets its name only when it is whole.
"""

from __future__ import annotations

import csv
import importlib
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TypeAlias

from ctcedge.discovery.naming import IMAGE_SUFFIXES, SIDECAR_SUFFIX
from ctcedge.errors import OutputError, SettingsError
from ctcedge.iteration import batched
from ctcedge.results.anndata_file import write_h5ad
from ctcedge.results.columns import Kind, Row, Value
from ctcedge.results.excel import write_xlsx
from ctcedge.results.fcs import events_table, write_fcs
from ctcedge.results.output_files import followed, replacing, standard_output
from ctcedge.results.table import escape_formula

Format: TypeAlias = Literal["csv", "tsv", "jsonl", "parquet", "xlsx", "fcs", "h5ad"]
Kinds: TypeAlias = Mapping[str, Kind]

FORMATS: tuple[Format, ...] = ("csv", "tsv", "jsonl", "parquet", "xlsx", "fcs", "h5ad")
_BOM = "\ufeff".encode()
_ROWS_PER_GROUP = 10_000  # of a Parquet file


class _Extra(NamedTuple):
    """What a format needs that is not always installed.

    Attributes:
        name: of the format in messages.
        module: that is imported.
        extra: that installs it.
    """

    name: str
    module: str
    extra: str


_EXTRAS: Mapping[Format, _Extra] = {
    "parquet": _Extra("Parquet", "pyarrow.parquet", "parquet"),
    "xlsx": _Extra("Excel (.xlsx)", "xlsxwriter", "xlsx"),
    "fcs": _Extra("FCS", "flowio", "fcs"),
    "h5ad": _Extra("AnnData (.h5ad)", "anndata", "anndata"),
}
_FILES_ONLY: tuple[Format, ...] = ("xlsx", "fcs", "h5ad")
_DELIMITED: tuple[Format, ...] = ("csv", "tsv")


def format_of(chosen: str | None, out: Path | None) -> Format:
    """Return the chosen format, or else that of the file's suffix, or CSV if it has none.

    Raises:
        SettingsError: the suffix is another one.
    """
    name = chosen or ("" if out is None else out.suffix.lower().removeprefix(".")) or "csv"
    for known in FORMATS:
        if known == name:
            return known
    *first, last = (f".{known}" for known in FORMATS)
    raise SettingsError(
        f"{out}: '.{name}' is no table format; give a name that ends in {', '.join(first)} or"
        f" {last}, or --format"
    )


def check_place(out: Path | None, chosen: Format, *, decimal_comma: bool = False) -> None:
    """Check that the table may be written to the file, and that the format's library is installed.

    Raises:
        OutputError: the file would replace an image or a sidecar, or is a folder.
        SettingsError: the format needs a library that is not installed, or a file, or has no
            decimal comma.
    """
    if out is not None:
        for name in (out, followed(out)):
            if name.name.lower().endswith((*IMAGE_SUFFIXES, SIDECAR_SUFFIX)):
                raise OutputError(
                    f"{name} has the name of an image or a sidecar; give another --out"
                )
        if out.is_dir():
            raise OutputError(f"{out} is a folder; give --out the name of a file")
    elif chosen in _FILES_ONLY:
        raise SettingsError(f"--format {chosen} needs a file; give --out FILE.{chosen}")
    if decimal_comma and chosen not in _DELIMITED:
        raise SettingsError(
            f"--decimal comma is for csv and tsv, which are text; a file of {chosen} holds numbers,"
            " which each program shows in its own way"
        )
    if needed := _EXTRAS.get(chosen):
        try:
            importlib.import_module(needed.module)
        except ImportError:
            raise SettingsError(
                f"{needed.name} needs a library that is not installed; run: pip install"
                f" 'ctcedge[{needed.extra}]'"
            ) from None


def write_table(
    out: Path | None, rows: Iterable[Row], kinds: Kinds, chosen: Format, *, decimal_comma: bool
) -> int:
    """Write a table to a file that the user named, or to standard output.

    Beside an FCS file, the table of its events is written, see `fcs.events_table`.

    Args:
        out: the file, which is replaced; a symbolic link is kept. None for standard output.
        rows: with all columns; a column that a row lacks is empty.
        kinds: types of the columns, in their order.
        chosen: format, which `check_place` has accepted.
        decimal_comma: write numbers of CSV and TSV with a comma; CSV then has semicolons.

    Returns:
        The number of rows.

    Raises:
        OutputError: it cannot be written, or the format cannot hold it.
    """
    if out is None:
        with standard_output() as file:
            return write(rows, kinds, chosen, file, bom=False, decimal_comma=decimal_comma)
    with replacing(out, follow=True) as file:
        if chosen != "fcs":
            return write(rows, kinds, chosen, file, bom=True, decimal_comma=decimal_comma)
        # The table of events first: an FCS file is never there without it.
        with replacing(events_table(out)) as beside:
            return write_fcs(rows, kinds, file, beside, events_table(out).name, _write_csv)


def write(
    table: Iterable[Row],
    kinds: Kinds,
    chosen: Format,
    file: BinaryIO,
    *,
    bom: bool,
    decimal_comma: bool = False,
) -> int:
    """Write rows in a format of one file.

    Args:
        table: rows with all columns.
        kinds: types of the columns, in their order.
        chosen: format.
        file: open for writing.
        bom: start CSV and TSV with a byte-order mark, from which a spreadsheet recognizes UTF-8.
        decimal_comma: see `write_table`.

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

    if chosen in _DELIMITED:
        if bom:
            file.write(_BOM)
        delimiter = "\t" if chosen == "tsv" else ";" if decimal_comma else ","
        _write_csv(counted(), kinds, file, delimiter, decimal_comma=decimal_comma)
    else:
        _WRITERS[chosen](counted(), kinds, file)
    return count


def _write_csv(
    table: Iterable[Row],
    kinds: Kinds,
    file: BinaryIO,
    delimiter: str = ",",
    *,
    decimal_comma: bool = False,
) -> None:
    # Bytes of a file name that are not UTF-8 are written as escapes, as in a sidecar.
    text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="")
    try:
        # Lines end in CR LF, as RFC 4180 says.
        writer = csv.writer(text, delimiter=delimiter)
        writer.writerow(map(escape_formula, kinds))
        for row in table:
            writer.writerow([_csv_value(row.get(name), decimal_comma) for name in kinds])
    finally:
        text.detach()


def _csv_value(value: Value, decimal_comma: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return escape_formula(value)
    number = repr(value)
    return number.replace(".", ",") if decimal_comma else number


def _write_jsonl(table: Iterable[Row], kinds: Kinds, file: BinaryIO) -> None:
    for row in table:
        line = json.dumps({name: row.get(name) for name in kinds}, ensure_ascii=False)
        file.write(line.encode("utf-8", "backslashreplace") + b"\n")


def _write_parquet(table: Iterable[Row], kinds: Kinds, file: BinaryIO) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"text": pa.string(), "number": pa.float64(), "whole": pa.int64(), "flag": pa.bool_()}
    schema = pa.schema([(_as_utf8(name), types[kind]) for name, kind in kinds.items()])
    with pq.ParquetWriter(file, schema) as writer:
        for group in batched(table, _ROWS_PER_GROUP):
            columns = {_as_utf8(name): [_as_utf8(row.get(name)) for row in group] for name in kinds}
            writer.write_table(pa.table(columns, schema))


def _as_utf8(value: Value) -> Value:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value


_WRITERS: Mapping[Format, Callable[[Iterable[Row], Kinds, BinaryIO], None]] = {
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
    "xlsx": write_xlsx,
    "h5ad": write_h5ad,
}
