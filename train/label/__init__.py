"""`train label`: labels from reviews, a table or the stains, in that order."""

from __future__ import annotations

from pathlib import Path

from ..data.manifest import write_manifest
from .cells import LabelError, read_export
from .label import label_export
from .reference import read_labels, read_patients, read_reviews
from .summary import print_summary

__all__ = ["LabelError", "label_folder"]


def label_folder(
    folder: Path,
    out: Path,
    *,
    sidecars: Path | None = None,
    gate: bool = False,
    patients: Path | None = None,
    run: str = "",
    config: Path | None = None,
    pattern: str | None = None,
    um_per_px: float | None = None,
) -> None:
    """Label an export: write its manifest and a picture of its gates, and print a summary.

    Args:
        folder: the export.
        out: the manifest; the picture has the same name with `.gates.png`.
        sidecars: root of the reviewed sidecars; None for sidecars beside the images.
        gate: ignore `labels.csv`.
        patients: table of samples and patients.
        run: of all rows.
        config: settings file instead of the folder's own.
        pattern: instead of the settings'.
        um_per_px: instead of the settings'.

    Raises:
        SetupError: the folder or the settings cannot be used.
        LabelError: the export cannot be labelled, or the manifest exists.
        OSError: a file cannot be written.
    """
    if out.exists():
        raise LabelError(f"{out} exists; move it away")
    if sidecars is not None and not sidecars.is_dir():
        raise LabelError(f"{sidecars} is not a folder; give the one that ctcedge wrote sidecars to")
    export = read_export(
        folder, config=config, pattern=pattern, um_per_px=um_per_px, sidecars=sidecars
    )
    samples = {sample for sample, _ in export.cells}
    labelled = label_export(
        export,
        {} if gate else read_labels(export),
        read_reviews(export, sidecars),
        patients=read_patients(patients, samples) if patients else {},
        run=run,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(out, labelled.rows)
    picture = None
    if labelled.gated:
        from .gate_plot import draw_gates  # Matplotlib is slow to load

        picture = out.with_suffix(".gates.png")
        draw_gates(picture, labelled.gated)
    print_summary(export, labelled, out, picture)
