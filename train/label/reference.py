"""What others say of cells: a table that came with the images, and persons who reviewed them."""

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
_UNDECIDED = ("unsure", "review")  # a person's word and ctcedge's own: nobody knows
_REVIEWED: dict[object, Label] = {"CTC": POSITIVE, "leukocyte": NEGATIVE, "unsure": ""}


@dataclass(frozen=True)
class ReferenceLabel:
    """What is known of a cell.

    Attributes:
        label: whether it is a CTC; empty where nobody knows.
        stratum: finer than the label.
        source: who says so.
    """

    label: Label
    stratum: str
    source: Source


def read_table(export: Export) -> dict[CellId, ReferenceLabel]:
    """Read `labels.csv` of the export: sample, cell, label; other columns are not looked at.

    `CTC` and `tumour`, in any case, are CTCs; `unsure` and `review` leave a cell undecided; all
    else is no CTC. The label's own text is the stratum. Without the file, nothing is known.

    Raises:
        LabelError: it cannot be read, or says two things of one cell.
    """
    path = export.folder / LABELS
    if not path.is_file():
        return {}
    table = read_csv(path, LabelError)
    missing = {"sample", "cell", "label"} - set(table[0] if table else ())
    if missing:
        raise LabelError(f"{path} needs the columns sample, cell, label; and rows")
    told = [(row["sample"] or "", row["cell"] or "", (row["label"] or "").strip()) for row in table]
    contrary = repeated_keys((sample, cell) for sample, cell, _ in set(told))
    if contrary:
        raise LabelError(f"{path} says two things of {abbreviate([name(key) for key in contrary])}")
    for key in repeated_keys((sample, cell) for sample, cell, _ in told):
        export.doubts.add(f"cells that {LABELS} names twice, alike", name(key))
    truths = {}
    for sample, cell, label in told:
        key = (sample, cell)
        if key not in export.cells:
            export.doubts.add(f"rows of {LABELS} without a cell, left out", name(key))
        elif not label:
            export.doubts.add(f"rows of {LABELS} without a label", name(key))
        elif label.casefold() in _UNDECIDED:
            words = " or ".join(_UNDECIDED)
            export.doubts.add(f"rows of {LABELS} that say {words}, left undecided", name(key))
            truths[key] = ReferenceLabel("", label, LABELS)
        else:
            known = POSITIVE if label.casefold() in _POSITIVE else NEGATIVE
            truths[key] = ReferenceLabel(known, label, LABELS)
    if all(truth.label == NEGATIVE for truth in truths.values()):
        for label in sorted({truth.stratum for truth in truths.values()}):
            export.doubts.add(
                f"labels of {LABELS}, none of them CTC or tumour, so that no cell is a CTC", label
            )
    if not truths:
        raise LabelError(
            f"no row of {path} names a cell of the export, such as"
            f" {name(next(iter(export.cells)))}; mend its sample and cell, or give --pattern"
        )
    return truths


def read_reviews(export: Export, sidecars: Path | None) -> dict[CellId, ReferenceLabel]:
    """Read the persons' reviews that sidecars hold.

    The latest review of a cell counts: `CTC`, `leukocyte` or `unsure` (it cannot be told). The
    stratum is that word. A review of an image that changed since does not count.

    Args:
        export: the cells.
        sidecars: root of the sidecars; None for beside the images.
    """
    place = SidecarStore(export.folder, sidecars)
    truths = {}
    for key, images in export.cells.items():
        crop = images[BRIGHT_FIELD]
        sidecar = _read_sidecar(place.path(crop), export.doubts)
        review = None if sidecar is None else sidecar.review
        if review is None:
            continue
        if _changed(export.folder / crop.path, review.image_sha256):
            export.doubts.add("reviews of an image that changed since, not used", name(key))
        else:
            truths[key] = ReferenceLabel(_REVIEWED[review.call], review.call, "reviewed")
    return truths


def read_patients(path: Path, samples: set[str]) -> dict[str, str]:
    """Read a table of samples and their patients.

    Raises:
        LabelError: it cannot be read, lacks a sample of the export, or gives one two patients.
    """
    try:
        told = {
            (row["sample"], (row["patient"] or "").strip()) for row in read_csv(path, LabelError)
        }
    except KeyError:
        raise LabelError(f"{path} needs the columns sample, patient") from None
    contrary = sorted(repeated_keys(sample for sample, _ in told))
    if contrary:
        raise LabelError(f"{path} names two patients of sample {abbreviate(contrary)}")
    patients = dict(told)
    lacking = sorted(sample for sample in samples if not patients.get(sample))
    if lacking:
        raise LabelError(f"{path} names no patient of sample {abbreviate(lacking)}")
    return patients


def _read_sidecar(path: Path, doubts: Warnings) -> Sidecar | None:
    parsed = None
    try:
        parsed = parse(read_limited(path, MAX_BYTES))
    except (FileNotFoundError, NotRegularFileError):
        return None
    except (OSError, NewerSchemaError):
        pass
    if parsed is None:
        doubts.add("sidecars that cannot be read, not used", path.name)
        return None
    return parsed.sidecar


def _changed(image: Path, digest: object) -> bool:
    try:
        return digest is not None and digest != hashlib.sha256(image.read_bytes()).hexdigest()
    except OSError:
        return False
