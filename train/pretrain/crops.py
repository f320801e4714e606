"""Unlabelled crops of exports as network inputs, and which of them to keep out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.errors import BadImage
from ctcedge.fs.text import same_form
from ctcedge.images.decode import GreyImage, decode
from ctcedge.images.preprocess import BACKGROUND_LEVEL, InputSpec, network_input
from ctcedge.images.read import read_named_file
from ctcedge.report.texts import plural
from ctcedge.sources.tables import TableError, TableRow, read_table

from ..data.columns import Columns
from ..data.dataset import TrainingProvenance, image_digest, name_digests
from ..data.manifest import ManifestError, Row, abbreviate, read_manifests
from ..label.cells import read_export
from ..label.reference import read_patients


@dataclass(frozen=True, slots=True)
class Crops(Columns):
    """Unlabelled cells, one per row.

    Attributes:
        bright: (n, size, size) uint8, bright field by
            `ctcedge.images.preprocess.network_input`.
        stains: (n, k, size, size) uint8, each stain in the same way; background where there is
            none.
        has_stain: (n, k) bool, whether there is an image of it.
        group: (n,) text, the patient, or the sample where there is no patient.
        sample: (n,) text, with its run where one is given.
        cell: (n,) text.
        digest: (n,) text, as `train.data.dataset.Cells.digest`.
    """

    bright: NDArray[np.uint8]
    stains: NDArray[np.uint8]
    has_stain: NDArray[np.bool_]
    group: NDArray[np.str_]
    sample: NDArray[np.str_]
    cell: NDArray[np.str_]
    digest: NDArray[np.str_]

    def provenance(self) -> TrainingProvenance:
        """Return the provenance of the crops: images, and both patients and samples by name."""
        by_group = TrainingProvenance(self.digest, name_digests(self.group))
        named = self.select(self.sample != self.group)
        return by_group.concat(TrainingProvenance(named.digest, name_digests(named.sample)))


def find_crops(
    exports: Sequence[Path],
    *,
    config: Path | None = None,
    pattern: str | None = None,
    um_per_px: float | None = None,
    patients: Path | None = None,
    on_warning: Callable[[str], object] = lambda text: None,
) -> list[Row]:
    """Find the cells of exports as the runtime does; no labels are read.

    Samples of different exports are different samples: where there are several exports, the name of
    an export's folder is the run.

    Args:
        exports: folders of crops, searched recursively.
        config: settings file instead of each folder's own.
        pattern: instead of the settings'.
        um_per_px: instead of the settings'.
        patients: CSV file with the columns sample and patient.
        on_warning: callback for user-facing warnings.

    Raises:
        SetupError: a folder or its settings cannot be used.
        ValueError: a folder's names are ambiguous, or the table cannot be read.
    """
    names = [export.resolve().name for export in exports]
    rows: list[Row] = []
    for number, (folder, name) in enumerate(zip(exports, names, strict=True), 1):
        export = read_export(folder, config=config, pattern=pattern, um_per_px=um_per_px)
        for warning in export.warnings.lines():
            on_warning(f"{folder}: {warning}")
        known = {sample for sample, _ in export.cells}
        patient_of = read_patients(patients, known) if patients else {}
        run = "" if len(exports) == 1 else name if names.count(name) == 1 else f"{name}-{number}"
        rows += [
            Row(
                sample=same_form(sample),
                cell=same_form(cell),
                label="",
                stratum="",
                source="labels.csv",
                um_per_px=export.um_per_px,
                images={channel: folder / crop.path for channel, crop in images.items()},
                patient=patient_of.get(sample, ""),
                run=run,
            )
            for (sample, cell), images in export.cells.items()
        ]
    return rows


def stain_names(rows: Sequence[Row]) -> list[str]:
    """Return the channels of the rows besides bright field, in alphabetical order."""
    return sorted({channel for row in rows for channel in row.images} - {BRIGHT_FIELD})


def read_crops(
    rows: Sequence[Row],
    spec: InputSpec,
    stains: Sequence[str],
    on_crop: Callable[[], object] = lambda: None,
    on_warning: Callable[[str], object] = lambda text: None,
) -> Crops:
    """Read the images of rows with the runtime's decoding and preprocessing.

    A cell whose bright field cannot be read is left out, and one of equal pixels: it has nothing to
    learn from.

    Args:
        rows: of `find_crops`, or of a manifest.
        spec: of the network input.
        stains: channels to read.
        on_crop: called after each cell.
        on_warning: callback for user-facing warnings.

    Raises:
        ManifestError: no crop can be read.
    """
    absent = np.full((spec.size, spec.size), BACKGROUND_LEVEL, np.uint8)
    read, kept, unreadable = [], [], []
    for row in rows:
        images: dict[str, GreyImage] = {}
        for channel in (BRIGHT_FIELD, *stains):
            if channel in row.images:
                try:
                    images[channel] = decode(read_named_file(row.images[channel])).pixels
                except (OSError, BadImage) as error:
                    unreadable.append(f"{row.images[channel]} ({error})")
        pixels = images.get(BRIGHT_FIELD)
        if pixels is not None and pixels.min() < pixels.max():
            inputs = [
                network_input(images[channel], row.um_per_px, spec) if channel in images else absent
                for channel in (BRIGHT_FIELD, *stains)
            ]
            read.append((np.stack(inputs), image_digest(pixels)))
            kept.append((row, [channel in images for channel in stains]))
        on_crop()
    if unreadable:
        on_warning(f"{plural(len(unreadable), 'image')} not read: {abbreviate(unreadable)}")
    if not read:
        raise ManifestError("no bright-field crop can be read")
    stacked = np.stack([inputs for inputs, _ in read])
    return Crops(
        bright=stacked[:, 0],
        stains=stacked[:, 1:],
        has_stain=np.array([has for _, has in kept], bool).reshape(len(kept), len(stains)),
        group=np.array([row.group for row, _ in kept]),
        sample=np.array([row.sample_id for row, _ in kept]),
        cell=np.array([row.cell for row, _ in kept]),
        digest=np.array([digest for _, digest in read]),
    )


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Patients and samples to keep out of a pretraining.

    Attributes:
        names: of patients and of samples, with and without their run.
        digests: of images.
    """

    names: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()

    @classmethod
    def of(cls, tables: Sequence[Path]) -> Self:
        """Read manifests, or other tables with a column `patient` or `sample`.

        Images of a manifest are read, too: they are known by their pixels, whatever their name.

        Raises:
            ManifestError: a table or an image of it cannot be read.
        """
        names: set[str] = set()
        digests: set[str] = set()
        for path in tables:
            records = _read_names(path)
            if any(record.values.get(BRIGHT_FIELD) for record in records):
                for row in read_manifests([path]):
                    names |= {row.patient, row.sample, row.sample_id}
                    digests.add(_digest_of(row.images[BRIGHT_FIELD]))
                continue
            for record in records:
                own = {same_form(record.values.get(name, "")) for name in ("patient", "sample")}
                if record.problem or own == {""}:
                    reason = record.problem or "neither patient nor sample is given"
                    raise ManifestError(f"{path} line {record.line}: {reason}")
                names |= own
        return cls(frozenset(names - {""}), frozenset(digests))

    def __bool__(self) -> bool:
        return bool(self.names or self.digests)

    def select(self, rows: Sequence[Row]) -> NDArray[np.bool_]:
        """Return which rows have an excluded patient or sample, (n,)."""
        return np.array(
            [not self.names.isdisjoint({row.patient, row.sample, row.sample_id}) for row in rows],
            bool,
        )

    def groups(self, crops: Crops) -> list[str]:
        """Return the groups and samples of which an image is excluded."""
        seen = np.isin(crops.digest, sorted(self.digests))
        return sorted({*crops.group[seen].tolist(), *crops.sample[seen].tolist()})

    def apply(self, crops: Crops) -> Crops:
        """Return the crops without those groups and samples."""
        names = self.groups(crops)
        return crops.select(~(np.isin(crops.group, names) | np.isin(crops.sample, names)))


def _read_names(path: Path) -> list[TableRow]:
    """Read a table that has a column `sample`, or at least one `patient`."""
    known = ("sample", "patient", BRIGHT_FIELD)
    try:
        return read_table(path, ("sample",), known)
    except TableError as error:
        try:
            return read_table(path, ("patient",), known)
        except TableError:
            raise ManifestError(str(error)) from None


def _digest_of(path: Path) -> str:
    try:
        return image_digest(decode(read_named_file(path)).pixels)
    except (OSError, BadImage) as error:
        raise ManifestError(f"{path} cannot be read: {error}") from None


def text_columns(crops: Crops) -> dict[str, NDArray[np.str_]]:
    """Return the names and digests of crops, without images."""
    return {name: getattr(crops, name) for name in ("group", "sample", "cell", "digest")}
