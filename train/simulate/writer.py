"""Write simulated cells as an instrument would export them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path

import cv2

from .camera import Pixels
from .simulator import Cell

COLUMNS = ("sample", "cell", "label", "kind", "diameter_um", "um_per_px")


def write_export(
    out: Path, cells: Iterable[Cell], *, progress: Callable[[Cell], None] | None = None
) -> int:
    """Write cells as one export folder per hospital.

    `<out>/<hospital>/` gets `ctcedge.toml` with the settings a user would write, `labels.csv`,
    and `<sample>/<cell>_<channel>.png` or `.tif`.

    Args:
        out: parent of the hospitals' folders; made if missing.
        cells: hospital by hospital, as `simulate_cells` yields them.
        progress: called with each written cell.

    Returns:
        Number of cells written.

    Raises:
        FileExistsError: if a hospital's folder exists already.
        OSError: if an image cannot be written.
    """
    written = 0
    for hospital, group in groupby(cells, key=lambda cell: cell.hospital):
        folder = out / hospital
        folder.mkdir(parents=True)
        with (folder / "labels.csv").open("x", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(COLUMNS)
            for cell in group:
                if not (folder / "ctcedge.toml").exists():
                    _write_settings(folder, cell)
                _write_images(folder / cell.sample, cell)
                rows.writerow(_row(cell))
                written += 1
                if progress is not None:
                    progress(cell)
    return written


def _row(cell: Cell) -> Sequence[str]:
    return (
        cell.sample,
        cell.cell,
        cell.label,
        cell.kind,
        f"{cell.diameter_um:.2f}",
        f"{cell.um_per_px:.4f}",
    )


def _write_settings(folder: Path, cell: Cell) -> None:
    text = f"[images]\num_per_px = {cell.um_per_px:.4f}\n"
    with (folder / "ctcedge.toml").open("x", encoding="utf-8") as file:
        file.write(text)


def _write_images(folder: Path, cell: Cell) -> None:
    folder.mkdir(exist_ok=True)
    for channel, image in cell.images.items():
        _write_image(folder / f"{cell.cell}_{channel}{cell.suffix}", image)


def _write_image(path: Path, image: Pixels) -> None:
    encoded, data = cv2.imencode(path.suffix, image)
    if not encoded:
        raise OSError(f"cannot write {path}")
    with path.open("xb") as file:
        file.write(data.tobytes())
