"""Reference labels of cells: a table of the export, and reviews in sidecars."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ctcedge.discovery.naming import BRIGHT_FIELD
from ctcedge.fs.files import NotRegularFileError, read_limited
from ctcedge.sidecars.parse import MAX_BYTES, NewerSchemaError, parse
from ctcedge.sidecars.schema import Sidecar
from ctcedge.sidecars.store import SidecarStore

from ..data.manifest import NEGATIVE, POSITIVE, Label, Source, abbreviate, read_csv
from .cells import CellId, Export, LabelError, Warnings, name, repeated_keys

LABELS: Final = "labels.csv"

_POSITIVE = ("ctc", "tumour", "tumor")
_UNDECIDED = ("unsure", "review")  # of a person and of ctcedge: unknown
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


def read_table(export: Export) -> dict[CellId, ReferenceLabel]:
    """Read `labels.csv` of the export: sample, cell, label; other columns are ignored.

    `CTC` and `tumour`, in any case, are CTCs; `unsure` and `review` leave a cell undecided; any
    other label means not a CTC. The label itself is the stratum. Without the file, the result is
    empty.

    Raises:
        LabelError: it cannot be read, or has two labels for one cell.
    """
    path = export.folder / LABELS
    if not path.is_file():
        return {}
    table = read_csv(path, LabelError)
    missing = {"sample", "cell", "label"} - set(table[0] if table else ())
    if missing:
        raise LabelError(f"{path} needs the columns sample, cell, label; and rows")
    rows = [(row["sample"] or "", row["cell"] or "", (row["label"] or "").strip()) for row in table]
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
            export.warnings.add(f"rows of {LABELS} without a cell, left out", name(key))
        elif not label:
            export.warnings.add(f"rows of {LABELS} without a label", name(key))
        elif label.casefold() in _UNDECIDED:
            words = " or ".join(_UNDECIDED)
            export.warnings.add(f"rows of {LABELS} with {words}, left undecided", name(key))
            labels[key] = ReferenceLabel("", label, LABELS)
        else:
            known = POSITIVE if label.casefold() in _POSITIVE else NEGATIVE
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
        if _changed(export.folder / crop.path, review.image_sha256):
            export.warnings.add("reviews of an image that changed since, not used", name(key))
        else:
            labels[key] = ReferenceLabel(_REVIEWED[review.call], review.call, "reviewed")
    return labels


def read_patients(path: Path, samples: set[str]) -> dict[str, str]:
    """Read a table of samples and their patients.

    Raises:
        LabelError: it cannot be read, lacks a sample of the export, or gives one two patients.
    """
    try:
        pairs = {
            (row["sample"], (row["patient"] or "").strip()) for row in read_csv(path, LabelError)
        }
    except KeyError:
        raise LabelError(f"{path} needs the columns sample, patient") from None
    conflicting = sorted(repeated_keys(sample for sample, _ in pairs))
    if conflicting:
        raise LabelError(f"{path} names two patients of sample {abbreviate(conflicting)}")
    patients = dict(pairs)
    missing = sorted(sample for sample in samples if not patients.get(sample))
    if missing:
        raise LabelError(f"{path} names no patient of sample {abbreviate(missing)}")
    return patients


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
