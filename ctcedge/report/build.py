"""Builds the report of a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ctcedge.discovery.naming import Naming, folder_name
from ctcedge.errors import NoCropsError, OutputError
from ctcedge.model.folder import Model, available_models
from ctcedge.report.cam import activations
from ctcedge.report.cells import Cell, FolderContents, read_contents
from ctcedge.report.columns import cell_data
from ctcedge.report.facts import facts
from ctcedge.report.figures import figures
from ctcedge.report.images import ImageState
from ctcedge.report.jpeg import ACROSS, TILE
from ctcedge.report.montage import Montage, add_pictures, other_channels
from ctcedge.report.page import PageWriter
from ctcedge.report.pseudonyms import Names, Pseudonyms, load_key
from ctcedge.report.review_list import ReviewList, review_list
from ctcedge.report.samples import sample_data
from ctcedge.report.texts import draw_text
from ctcedge.report.warnings import warnings
from ctcedge.results.agreement import Assessment
from ctcedge.results.output_files import followed, replacing
from ctcedge.results.sample_table import SampleTable, load_sample_table
from ctcedge.sidecars.scan import require_sidecars

if TYPE_CHECKING:
    from ctcedge.pipeline.run import Run

REPORT_NAME = "ctcedge-report.html"
PSEUDONYMISED_NAME = "ctcedge-pseudonymised-report.html"
FIRST_IN_FULL_SIZE = 1000
"""Number of the gallery's first cells with pictures in full size."""

_SUFFIXES = (".html", ".htm")


class WrittenReport(NamedTuple):
    """A report that was written.

    Attributes:
        path: the file.
        unreadable_dirs: sub-folders that cannot be read, and why.
        unreadable_sidecars: why a sidecar cannot be read, by the path of its crop.
    """

    path: Path
    unreadable_dirs: dict[str, str]
    unreadable_sidecars: dict[str, str]


def write_report(
    folder: Path,
    sidecars: Path | None,
    out: Path | None,
    naming: Naming,
    *,
    pseudonymise: bool = False,
    sample: str | None = None,
    table: SampleTable | None = None,
    model: Model | None = None,
    follow: bool = False,
) -> WrittenReport:
    """Write the report of a folder, completely or not at all.

    Args:
        folder: the searched folder.
        sidecars: root of the sidecars; None if they are beside the images.
        out: the file; None for REPORT_NAME, or PSEUDONYMISED_NAME, in `folder`.
        naming: rules for reading file names.
        pseudonymise: replace names by pseudonyms, see `ctcedge.report.pseudonyms`.
        sample: the only sample of the report; None for all samples.
        table: the table of samples; None where there is none.
        model: the model of the calls, unless it is a shipped one; provides its description,
            domain shift and, if it can, activation maps.
        follow: keep a symbolic link at `out` and replace the file to which it leads; otherwise the
            link is replaced.

    Raises:
        NoCropsError: the folder contains no bright-field crop, or none of the sample.
        SetupError: no crop has a sidecar, or the folder cannot be read.
        OutputError: the report cannot be written.
    """
    scan = require_sidecars(folder, sidecars, naming)
    records = (record for record in scan if sample in (None, record.crop.sample))
    contents, assessment = read_contents(records)
    if not contents.crops:
        raise NoCropsError(f"{folder} holds no bright-field crop of sample '{sample}'")
    names = Pseudonyms(folder, load_key(sidecars or folder)) if pseudonymise else Names(folder)
    file = out or folder / (PSEUDONYMISED_NAME if pseudonymise else REPORT_NAME)
    _check_file(file, follow=follow)
    cells = contents.cells
    draw = review_list(cells)
    full_size = frozenset((*draw.order, *range(min(FIRST_IN_FULL_SIZE, len(cells)))))
    channels = other_channels(folder, naming, (cells[index] for index in full_size))
    models = available_models(model)
    maps = activations(folder, cells, models)
    name = names.folder(folder_name(folder))
    title = name if sample is None else f"{name} / {names.sample(sample)}"
    with replacing(file, follow=follow) as output:
        page = PageWriter(output, f"ctcedge: {title}")
        montage = add_pictures(page, folder, cells, full_size, channels, maps)
        page.finish(
            {
                "schema": "ctcedge/report/1",
                "run_id": names.run_id(),
                "report_id": _report_id(cells, names),
                "folder_name": name,
                "pseudonymised": pseudonymise,
                **_summary(contents, models, assessment, names, draw, montage, folder),
                **sample_data(contents, models, table or SampleTable(), names),
                **cell_data(contents, names, montage),
                **_review_list(draw, montage),
                "pictures": {
                    "tile": TILE,
                    "across": ACROSS,
                    "why_small": "Only the cells of the review list and the first"
                    f" {FIRST_IN_FULL_SIZE:,} cells have pictures in full size and of the other"
                    " channels.",
                },
            }
        )
    return WrittenReport(file, scan.unreadable_dirs, scan.unreadable_sidecars)


def write_run_report(run: Run) -> Path:
    """Write the report of a run's folder beside its sidecars; return the file.

    Raises:
        SetupError: no crop has a sidecar, or the report cannot be written.
    """
    root = run.sidecars.root
    out = None if run.settings.out is None else root / REPORT_NAME
    path = run.settings.samples
    table = load_sample_table(run.folder, None if path is None else Path(path))
    return write_report(
        run.folder, root, out, run.naming, table=table, model=run.classifier.model
    ).path


def _check_file(file: Path, *, follow: bool) -> None:
    """Refuse to replace a file that is not a page, such as an image or a sidecar."""
    if file.is_dir() and (follow or not file.is_symlink()):
        raise OutputError(f"{file} is a folder; give --out a file, such as {file / REPORT_NAME}")
    for name in (file, followed(file) if follow else file):
        if name.suffix.lower() not in _SUFFIXES:
            raise OutputError(f"--out must end in .html: {name}")


def _summary(
    contents: FolderContents,
    models: dict[str, Model],
    assessment: Assessment,
    names: Names,
    draw: ReviewList,
    montage: Montage,
    folder: Path,
) -> dict[str, Any]:
    """The texts of the summary."""
    shift = contents.features.domain_shift(models)
    return {
        "warnings": warnings(
            contents,
            models,
            shift,
            names,
            changed=montage.states.count(ImageState.CHANGED),
            unreadable=montage.states.count(ImageState.UNREADABLE),
            left_out=draw.left_out,
        ),
        "figures": figures(contents, models, assessment, shift),
        "facts": facts(contents, models, assessment, names, folder_name(folder)),
        "decisions": [{"review": rule.review, "ctc": rule.ctc} for rule in contents.decisions],
    }


def _review_list(draw: ReviewList, montage: Montage) -> dict[str, Any]:
    """The cells to review, without those whose image cannot be shown."""
    return {
        "list": [index for index in draw.order if montage.states[index] == ImageState.SHOWN],
        "draw": {
            "cells": draw.drawn,
            "drawn": len(draw.drawn),
            "leukocytes": draw.leukocytes,
            "text": draw_text(draw),
        },
    }


def _report_id(cells: Sequence[Cell], names: Names) -> str:
    """An id that is the same for the same cells, images and calls."""
    rows = sorted(
        (names.path(cell.crop.path, cell.crop.sample), cell.sha256, cell.model.sha256, cell.call)
        for cell in cells
    )
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
