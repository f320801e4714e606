"""Label the cells of an export as rows of a manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.cut_crops import image_root
from ctcedge.discovery.naming import Crop
from ctcedge.errors import BadImage
from ctcedge.fs.tree import Tree
from ctcedge.images.decode import GreyImage, decode
from ctcedge.images.read import read_file

from ..data.manifest import Row
from ..util.progress import progress
from .cells import CellId, Export, LabelError, by_sample, name
from .gates import GatedSample, GateError, gate
from .reference import ReferenceLabel
from .stains import STAINS, Stains, measure_stains, nucleus_diameter

_SHOWS = dict(zip(STAINS, ("nucleus", "cytokeratin", "CD45"), strict=True))
_DIAMETER_CELLS = 300  # number of cells for the typical nucleus of a sample
_WEAK_CD45 = 0.2  # of the samples' median CD45; below it, a sample's staining failed

_UNGATED = ReferenceLabel("", "ungated", "gated")


@dataclass(frozen=True)
class Labelled:
    """A labelled export.

    Attributes:
        rows: one per cell.
        gated: gates by sample, of samples that needed them.
    """

    rows: list[Row]
    gated: dict[str, GatedSample]


def label_export(
    export: Export,
    table: dict[CellId, ReferenceLabel],
    reviews: dict[CellId, ReferenceLabel],
    *,
    patients: dict[str, str],
    run: str,
) -> Labelled:
    """Label every cell by its review, the table or its sample's gates, in that order.

    Only samples with cells that are in neither review nor table are gated. A reviewed cell keeps
    the stratum of table or gates.

    Args:
        export: the cells; warnings are added to its own.
        table: from `reference.read_labels`.
        reviews: from `reference.read_reviews`.
        patients: by sample; samples may be missing.
        run: of all rows.

    Raises:
        LabelError: nothing can be labelled.
    """
    cells = {}
    with progress("Read", len(export.cells)) as advance:
        for key, crops in export.cells.items():
            if readable := _readable(export, key, crops):
                cells[key] = readable
            advance()
    truths: dict[CellId, ReferenceLabel] = {}
    gated: dict[str, GatedSample] = {}
    failed: dict[str, str] = {}
    undecided = {key[0] for key in cells if key not in table and key not in reviews}
    samples = {sample: keys for sample, keys in by_sample(cells).items() if sample in undecided}
    with progress("Gate", sum(map(len, samples.values()))) as advance:
        for sample, keys in samples.items():
            try:
                measured = _measure_sample(export, {key: cells[key] for key in keys}, advance)
                gated[sample] = gate(list(measured.values()))
            except GateError as error:
                failed[sample] = str(error)
            else:
                truths |= _truths(list(measured), gated[sample])
    for sample in _weakly_stained(gated):
        failed[sample] = "its CD45 is far weaker than in the export's other samples"
        truths = {key: truth for key, truth in truths.items() if key[0] != sample}
    if failed and not (truths or table or reviews):
        sample, why = next(iter(failed.items()))
        raise LabelError(
            f"no sample can be gated; sample {sample}: {why}. Or put a labels.csv"
            " (sample,cell,label) into the export"
        )
    for sample, why in failed.items():
        export.warnings.add("samples without gates", f"{sample}: {why}")
    truths |= table
    rows = []
    for key, crops in cells.items():
        truth = truths.get(key, _UNGATED)
        if reviewed := reviews.get(key):
            truth = replace(reviewed, stratum=truth.stratum) if key in truths else reviewed
        rows.append(
            Row(
                sample=key[0],
                cell=key[1],
                label=truth.label,
                stratum=truth.stratum,
                source=truth.source,
                um_per_px=export.um_per_px,
                images={
                    channel: Path(image_root(export.folder, crop)) / crop.path
                    for channel, crop in crops.items()
                },
                patient=patients.get(key[0], ""),
                run=run,
            )
        )
    if not rows:
        raise LabelError(f"no bright-field image below {export.folder} can be read")
    return Labelled(rows, gated)


def _readable(export: Export, key: CellId, crops: dict[str, Crop]) -> dict[str, Crop]:
    """Return the cell's readable crops; none where bright field is unreadable."""
    readable = {}
    for channel, crop in crops.items():
        try:
            _pixels(export, crop)
            readable[channel] = crop
        except (OSError, BadImage) as error:
            what = "cells, left out" if channel == BRIGHT_FIELD else "stain images, not used"
            export.warnings.add(f"unreadable {what}", f"{crop.path} ({error})")
    return readable if BRIGHT_FIELD in readable else {}


def _pixels(export: Export, crop: Crop) -> GreyImage:
    with Tree(image_root(export.folder, crop)) as tree:
        return decode(read_file(tree, crop.path)).pixels


def _measure_sample(
    export: Export, cells: dict[CellId, dict[str, Crop]], advance: Callable[[], object]
) -> dict[CellId, Stains]:
    """Measure the stains of the cells that have all of them.

    Raises:
        GateError: the sample lacks a stain, or nuclei.
    """
    for stain in STAINS:
        if not any(stain in crops for crops in cells.values()):
            raise GateError(
                f"it has no {stain} images ({_SHOWS[stain]}); if they have another name, set it in"
                f' ctcedge.toml: [images] channels.{stain} = ["..."]'
            )
    stained = [crops for crops in cells.values() if crops.keys() >= set(STAINS)]
    chosen = stained[:: max(1, len(stained) // _DIAMETER_CELLS)]
    diameters = [nucleus_diameter(_pixels(export, crops[STAINS[0]])) for crops in chosen]
    if np.isnan(diameters).all():
        raise GateError("no nucleus is above the background in DAPI")
    typical = float(np.nanmedian(diameters))
    measured = {}
    for key, crops in cells.items():
        advance()
        images = {stain: _pixels(export, crops[stain]) for stain in STAINS if stain in crops}
        if len(images) < len(STAINS):
            export.warnings.add("cells that lack a stain, ungated", name(key))
        elif len({image.shape for image in images.values()}) > 1:
            export.warnings.add("cells whose stains differ in size, ungated", name(key))
        else:
            measured[key] = measure_stains(images, typical)
            if measured[key].saturated:
                export.warnings.add("cells with saturated stains; expose less next time", name(key))
    return measured


def _truths(keys: list[CellId], gated: GatedSample) -> dict[CellId, ReferenceLabel]:
    pairs = zip(gated.label.tolist(), gated.stratum.tolist(), strict=True)
    return {
        key: ReferenceLabel(label, stratum, "gated")
        for key, (label, stratum) in zip(keys, pairs, strict=True)
    }


def _weakly_stained(gated: dict[str, GatedSample]) -> list[str]:
    """Return the samples whose leukocytes have far less CD45 than those of other samples."""
    level = {
        sample: float(np.sinh(sample_gates.gates.cd45.middle) * sample_gates.gates.scale[2])
        for sample, sample_gates in gated.items()
    }
    typical = np.median(list(level.values())) if level else 0.0
    return [sample for sample, value in level.items() if value < _WEAK_CD45 * typical]
