"""The manifest: a CSV file with one row per cell, written by `label` and read by other commands.

Columns: sample, cell, label, stratum, source, um_per_px, patient, run, then one per channel
with the path of the image, relative to the manifest's folder or absolute.
"""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from ctcedge.discovery.channels import BRIGHT_FIELD, DEFAULT_CHANNELS
from ctcedge.fs.files import atomic_write
from ctcedge.fs.text import same_form
from ctcedge.report.texts import plural
from ctcedge.sources.tables import TableError, TableRow, parse_number, read_table

from ..util.extra import COMMAND

Label: TypeAlias = Literal["CTC", "other", ""]
"""`other` is any cell that is not a CTC; empty where unknown."""

Source: TypeAlias = Literal["gated", "labels.csv", "reviewed"]
"""Origin of a label: stains, a table of the export, or review by a person."""

POSITIVE: Label = "CTC"
NEGATIVE: Label = "other"

_COLUMNS = ("sample", "cell", "label", "stratum", "source", "um_per_px", "patient", "run")
_NEEDED = ("sample", "cell", "label", BRIGHT_FIELD)
_KNOWN = (*_COLUMNS, *DEFAULT_CHANNELS)
_MAX_NAMES = 20


class ManifestError(ValueError):
    """A manifest cannot be used; the text names its bad rows."""


@dataclass(frozen=True, slots=True)
class Row:
    """One cell.

    Attributes:
        sample: as in the export, in Unicode's composed form.
        cell: as in the export, in the composed form.
        label: whether it is a CTC.
        stratum: finer than the label, such as `double-positive`.
        source: origin of the label.
        um_per_px: edge length of an image pixel, um; None where unknown.
        images: path of each channel's image; bright field is always there.
        patient: empty where unknown.
        run: distinguishes samples of the same name; may be empty.
    """

    sample: str
    cell: str
    label: Label
    stratum: str
    source: Source
    um_per_px: float | None
    images: dict[str, Path] = field(hash=False)
    patient: str = ""
    run: str = ""

    @property
    def sample_id(self) -> str:
        """The sample, with its run where one is given."""
        return f"{self.run}/{self.sample}" if self.run else self.sample

    @property
    def group(self) -> str:
        """Unit of splits: the patient, or the sample where there is no patient."""
        return self.patient or self.sample_id


def write_manifest(path: Path, rows: Iterable[Row]) -> None:
    """Write a manifest atomically; images below its folder get relative paths."""
    rows = list(rows)
    channels = sorted({name for row in rows for name in row.images} - {BRIGHT_FIELD})
    folder = path.parent.resolve()
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow((*_COLUMNS, BRIGHT_FIELD, *channels))
    for row in rows:
        um_per_px = "" if row.um_per_px is None else f"{row.um_per_px:.6g}"
        images = (
            _relative_to_manifest(row.images[channel], folder) if channel in row.images else ""
            for channel in (BRIGHT_FIELD, *channels)
        )
        table.writerow(
            (row.sample, row.cell, row.label, row.stratum, row.source, um_per_px, row.patient,
             row.run, *images)
        )  # fmt: skip
    atomic_write(path, text.getvalue().encode())


def read_manifests(paths: Sequence[Path]) -> list[Row]:
    """Read and join manifests.

    Raises:
        ManifestError: naming every row that cannot be used, or a cell that is in two.
    """
    rows: list[Row] = []
    seen: dict[tuple[str, str], Path] = {}
    for path in paths:
        for row in _read(path):
            key = (row.sample_id, row.cell)
            if key in seen:
                raise ManifestError(
                    f"cell {row.cell} of sample {row.sample_id} is in {seen[key]} and in"
                    f" {path}; samples of the same name need different values of 'run'"
                )
            seen[key] = path
            rows.append(row)
    _check_same_pixel_size(rows)
    return rows


def choose(
    rows: Iterable[Row], positive: Sequence[str] = (), negative: Sequence[str] = ()
) -> list[Row]:
    """Return the rows with a label, or the rows of strata to label.

    Args:
        rows: of manifests.
        positive: strata to label as CTC; with `negative`, replaces the rows' own labels.
        negative: strata to label as not CTC.

    Raises:
        ManifestError: only one of the two is given, a stratum is in both or in no row, or no row
            has a label.
    """
    rows = list(rows)
    if not positive and not negative:
        labelled = [row for row in rows if row.label]
        if not labelled:
            raise ManifestError("no cell has a label; choose strata to use as CTC and as negative")
        return labelled
    if not positive or not negative or set(positive) & set(negative):
        raise ManifestError(
            "give strata to use as CTC and other strata to use as negative, or neither"
        )
    known = {row.stratum for row in rows}
    for stratum in (*positive, *negative):
        if stratum not in known:
            raise ManifestError(
                f"no cell of stratum '{stratum}' (known: {', '.join(sorted(known))})"
            )
    label = dict.fromkeys(positive, POSITIVE) | dict.fromkeys(negative, NEGATIVE)
    return [replace(row, label=label[row.stratum]) for row in rows if row.stratum in label]


def abbreviate(names: Sequence[str], separator: str = "; ") -> str:
    """Join the first names of a list, with the number of further ones."""
    more = len(names) - _MAX_NAMES
    return separator.join([*names[:_MAX_NAMES], *([f"and {more:,} more"] if more > 0 else [])])


def _read(path: Path) -> Iterable[Row]:
    try:
        table = read_table(path, _NEEDED, _KNOWN, other_columns=True)
    except TableError as error:
        raise ManifestError(f"{error}; make it with '{COMMAND} label'") from None
    if not table:
        raise ManifestError(f"{path} has no cells")
    rows, bad = [], []
    for record in table:
        try:
            rows.append(_row(record, path.parent))
        except ValueError as error:
            bad.append(f"line {record.line}: {error}")
    if bad:
        raise ManifestError(
            f"{path} has {plural(len(bad), 'bad row')}; correct or remove:\n  "
            + abbreviate(bad, "\n  ")
        )
    return rows


def _row(record: TableRow, folder: Path) -> Row:
    if record.problem is not None:
        raise ValueError(record.problem)
    texts = {name: same_form(record.values.get(name, "")) for name in _COLUMNS}
    if not texts["sample"] or not texts["cell"]:
        raise ValueError("sample and cell must be given")
    if texts["label"] not in get_args(Label):
        raise ValueError(f"label is '{texts['label']}', not CTC, other or empty")
    source = texts["source"] or "labels.csv"
    if source not in get_args(Source):
        raise ValueError(f"source is '{source}', not one of {', '.join(get_args(Source))}")
    images = {
        channel: _image(folder, name)
        for channel, name in record.values.items()
        if channel not in _COLUMNS and same_form(name)
    }
    if BRIGHT_FIELD not in images:
        raise ValueError("no bright-field image")
    return Row(
        sample=texts["sample"],
        cell=texts["cell"],
        label=texts["label"],  # type: ignore[arg-type]
        stratum=texts["stratum"] or texts["label"],
        source=source,  # type: ignore[arg-type]
        um_per_px=_parse_pixel_size(texts["um_per_px"]),
        images=images,
        patient=texts["patient"],
        run=texts["run"],
    )


def _image(folder: Path, name: str) -> Path:
    """Return the path of an image, in the Unicode form that it has on the disk."""
    if os.path.isfile(folder / name):
        return folder / name
    path = folder
    for part in Path(name.strip()).parts:
        forms = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
        path /= next((form for form in forms if os.path.exists(path / form)), part)
    if not os.path.isfile(path):
        raise ValueError(f"{folder / name} does not exist")
    return path


def _parse_pixel_size(text: str) -> float | None:
    if not text:
        return None
    um_per_px = parse_number(text)
    if um_per_px is None or not 0.01 <= um_per_px <= 20:
        raise ValueError(f"um_per_px is '{text}', not a number between 0.01 and 20")
    return um_per_px


def _check_same_pixel_size(rows: Sequence[Row]) -> None:
    unknown = [row for row in rows if row.um_per_px is None]
    if unknown and len(unknown) < len(rows):
        raise ManifestError(
            f"um/px is unknown for {len(unknown):,} of {len(rows):,} cells, such as cell"
            f" {unknown[0].cell} of sample {unknown[0].sample_id}; give it for all or for none"
        )


def _relative_to_manifest(path: Path, folder: Path) -> str:
    path = Path(os.path.abspath(path))
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
