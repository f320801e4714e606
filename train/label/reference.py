"""Reference labels of cells: a table of the export, and reviews in sidecars."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.cut_crops import image_root
from ctcedge.fs.files import NotRegularFileError, read_limited
from ctcedge.fs.text import same_form
from ctcedge.results.table import unescape_formula
from ctcedge.sidecars.parse import MAX_BYTES, NewerSchemaError, parse
from ctcedge.sidecars.schema import Sidecar
from ctcedge.sidecars.store import SidecarStore
from ctcedge.sources.tables import NameIndex, TableError, TableRow, read_table

from ..data.manifest import NEGATIVE, POSITIVE, Label, Source, abbreviate
from .cells import CellId, Export, LabelError, Warnings, name, repeated_keys

LABELS: Final = "labels.csv"

_POSITIVE = ("ctc", "tumour", "tumor")
_UNDECIDED = ("unsure", "review")  # of a person and of ctcedge: unknown
_LIKE_POSITIVE = ("ctc", "tumo")  # a label with these that is not one of `_POSITIVE`
_OTHER_NAMES = ("labels.csv.txt", "Labels.csv", "LABELS.CSV", "labels.CSV", "labels.tsv",
                "labels.txt", "labels.xlsx", "labels.xls", "labels.ods")  # fmt: skip
_REVIEWED: dict[object, Label] = {"CTC": POSITIVE, "leukocyte": NEGATIVE, "unsure": ""}


@dataclass(frozen=True)
class ReferenceLabel:
    """Reference label of a cell.

    Attributes:
        label: whether it is a CTC; empty where unknown.
        stratum: finer than the label.
        source: origin of the label.
    """

    label: Label
    stratum: str
    source: Source


def read_labels(export: Export) -> dict[CellId, ReferenceLabel]:
    """Read `labels.csv` of the export: sample, cell, label; other columns are ignored.

    `CTC` and `tumour`, in any case, are CTCs; `unsure` and `review` leave a cell undecided; any
    other label means not a CTC. The label itself is the stratum. Without the file, the result is
    empty. Names are compared in one Unicode form and without outer spaces.

    Raises:
        LabelError: it cannot be read, or has two labels for one cell.
    """
    path = export.folder / LABELS
    if not os.path.lexists(path):
        _refuse_other_names(export.folder)
        return {}
    index = NameIndex(export.cells.keys())
    table = _read(path, ("sample", "cell", "label"), may_lack="label")
    rows = [(*_cell_id(path, row, index), same_form(row.values["label"])) for row in table]
    conflicting = repeated_keys((sample, cell) for sample, cell, _ in set(rows))
    if conflicting:
        raise LabelError(
            f"{path} has two labels for {abbreviate([name(key) for key in conflicting])}"
        )
    for key in repeated_keys((sample, cell) for sample, cell, _ in rows):
        export.warnings.add(f"cells with the same label twice in {LABELS}", name(key))
    labels = {}
    for sample, cell, label in rows:
        key = (sample, cell)
        if key not in export.cells:
            zeros = index.with_zeros(key)
            lost = f" ({zeros[-1]} without its zeros? keep cells as text)" if zeros else ""
            export.warnings.add(f"rows of {LABELS} without a cell, left out", f"{name(key)}{lost}")
        elif not label:
            export.warnings.add(f"rows of {LABELS} without a label", name(key))
        elif label.casefold() in _UNDECIDED:
            words = " or ".join(_UNDECIDED)
            export.warnings.add(f"rows of {LABELS} with {words}, left undecided", name(key))
            labels[key] = ReferenceLabel("", label, LABELS)
        else:
            known = POSITIVE if label.casefold() in _POSITIVE else NEGATIVE
            if known == NEGATIVE and any(word in label.casefold() for word in _LIKE_POSITIVE):
                export.warnings.add(
                    f"labels of {LABELS} that are neither CTC nor tumour, and count as not a CTC",
                    f"'{label}' of {name(key)}",
                )
            labels[key] = ReferenceLabel(known, label, LABELS)
    if all(truth.label == NEGATIVE for truth in labels.values()):
        for label in sorted({truth.stratum for truth in labels.values()}):
            export.warnings.add(
                f"labels of {LABELS}, none of which is CTC or tumour, so that no cell is a CTC",
                label,
            )
    if not labels:
        raise LabelError(
            f"no row of {path} names a cell of the export, such as"
            f" {name(next(iter(export.cells)))}; correct its sample and cell, or give --pattern"
        )
    return labels


def read_reviews(export: Export, sidecars: Path | None) -> dict[CellId, ReferenceLabel]:
    """Read the reviews in sidecars.

    The latest review of a cell is used: `CTC`, `leukocyte` or `unsure`. The stratum is that word.
    Reviews of images that have changed since are ignored.

    Args:
        export: the cells.
        sidecars: root of the sidecars; None for sidecars beside the images.
    """
    store = SidecarStore(export.folder, sidecars)
    labels = {}
    for key, images in export.cells.items():
        crop = images[BRIGHT_FIELD]
        sidecar = _read_sidecar(store.path(crop), export.warnings)
        review = None if sidecar is None else sidecar.review
        if review is None:
            continue
        if _changed(Path(image_root(export.folder, crop)) / crop.path, review.image_sha256):
            export.warnings.add("reviews of an image that changed since, not used", name(key))
        else:
            labels[key] = ReferenceLabel(_REVIEWED[review.call], review.call, "reviewed")
    return labels


def read_patients(path: Path, samples: set[str]) -> dict[str, str]:
    """Read a table of samples and their patients.

    Raises:
        LabelError: it cannot be read, lacks a sample of the export, or gives one two patients.
    """
    index = NameIndex([(sample,) for sample in samples])
    pairs = set()
    for row in _read(path, ("sample", "patient")):
        sample = row.values["sample"]
        with _named(path, row):
            (sample,) = index.find((sample,)) or (same_form(sample),)
        pairs.add((sample, same_form(row.values["patient"])))
    conflicting = sorted(repeated_keys(sample for sample, _ in pairs))
    if conflicting:
        raise LabelError(f"{path} names two patients of sample {abbreviate(conflicting)}")
    patients = dict(pairs)
    missing = sorted(sample for sample in samples if not patients.get(sample))
    if missing:
        raise LabelError(f"{path} names no patient of sample {abbreviate(missing)}")
    return patients


def _read(path: Path, columns: tuple[str, ...], *, may_lack: str = "") -> list[TableRow]:
    """Read a table whose rows are all complete."""
    try:
        table = read_table(path, columns, may_lack=may_lack)
    except TableError as error:
        raise LabelError(f"{error}; it needs the columns {', '.join(columns)}; and rows") from None
    if not table:
        raise LabelError(f"{path} has no rows; it needs the columns {', '.join(columns)}; and rows")
    if bad := [f"line {row.line}: {row.problem}" for row in table if row.problem is not None]:
        raise LabelError(f"{path} has bad rows; correct or remove: {abbreviate(bad)}")
    return table


def _cell_id(path: Path, row: TableRow, index: NameIndex) -> CellId:
    """Return the cell that a row names, as the export has it, or else as the row has it."""
    sample, cell = row.values["sample"], row.values["cell"]
    with _named(path, row):
        # A table of `ctcedge export` has an apostrophe before what a spreadsheet would compute.
        found = index.find((sample, cell)) or index.find(
            (unescape_formula(sample), unescape_formula(cell))
        )
        if found is None and len(f"{sample}{cell}{row.values['label']}".splitlines()) > 1:
            raise TableError("a value holds a line break; is a quotation mark not closed?")
    sample, cell = found or (same_form(sample), same_form(cell))
    return sample, cell


@contextmanager
def _named(path: Path, row: TableRow) -> Iterator[None]:
    try:
        yield
    except TableError as error:
        raise LabelError(f"{path}, line {row.line}: {error}") from None


def _refuse_other_names(folder: Path) -> None:
    """Refuse a file that is meant as the table, and would be passed over."""
    for other in _OTHER_NAMES:
        if os.path.lexists(folder / other):
            raise LabelError(
                f"{folder / other} is not read: save it as {LABELS} (commas, semicolons or tabs),"
                " or give --gate to label by the stains"
            )


def _read_sidecar(path: Path, warnings: Warnings) -> Sidecar | None:
    parsed = None
    try:
        parsed = parse(read_limited(path, MAX_BYTES))
    except (FileNotFoundError, NotRegularFileError):
        return None
    except (OSError, NewerSchemaError):
        pass
    if parsed is None:
        warnings.add("sidecars that cannot be read, not used", path.name)
        return None
    return parsed.sidecar


def _changed(image: Path, digest: object) -> bool:
    try:
        return digest is not None and digest != hashlib.sha256(image.read_bytes()).hexdigest()
    except OSError:
        return False
