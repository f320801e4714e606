"""Putting a report together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctcedge.discovery.naming import Naming, folder_name
from ctcedge.errors import NoCropsError, OutputError
from ctcedge.model.folder import Model, models_at_hand
from ctcedge.report import texts as facts
from ctcedge.report.cam import activations
from ctcedge.report.cells import Cell, Gathered, gather
from ctcedge.report.images import CHANGED, SHOWN, UNREADABLE
from ctcedge.report.jpeg import ACROSS, TILE
from ctcedge.report.montage import STATES, Illustrated, illustrate, other_channels
from ctcedge.report.page import PageWriter
from ctcedge.report.pseudonyms import Names, Pseudonyms, key_of
from ctcedge.report.review_list import ReviewList, review_list
from ctcedge.results.agreement import Assessment
from ctcedge.results.table import replacing
from ctcedge.sidecars.scan import Closed, ModelRef, require_sidecars
from ctcedge.sidecars.schema import ReviewEntry

REPORT_NAME = "ctcedge-report.html"
PSEUDONYMISED_NAME = "ctcedge-pseudonymised-report.html"
_SUFFIXES = (".html", ".htm")
FIRST_IN_FULL = 1000
"""Cells of the gallery in full size, beside those of the review list."""


def write_report(
    folder: Path,
    sidecars: Path | None,
    out: Path | None,
    naming: Naming,
    *,
    pseudonymise: bool = False,
    sample: str | None = None,
    model: Model | None = None,
    closed: Closed | None = None,
) -> Path:
    """Write the report of a folder, whole or not at all.

    Args:
        folder: the searched folder.
        sidecars: root of the sidecars; None for beside the images.
        out: the file; None for REPORT_NAME, or PSEUDONYMISED_NAME, in `folder`.
        naming: how file names are read.
        pseudonymise: put pseudonyms in the place of names, see `ctcedge.report.pseudonyms`.
        sample: report on this one alone.
        model: that made the calls, where it is no shipped one; tells of itself and, where it can,
            where in a crop a call comes from.
        closed: gets the sub-folders that cannot be read.

    Returns:
        The file.

    Raises:
        NoCropsError: the folder holds no bright-field crop, or none of the sample.
        SetupError: no crop has a sidecar, or the folder cannot be read.
        OutputError: the report cannot be written.
    """
    found = require_sidecars(folder, sidecars, naming, closed)
    if sample is not None:
        found = (each for each in found if each.crop.sample == sample)
    gathered, assessment = gather(found)
    if not gathered.crops:
        raise NoCropsError(f"{folder} holds no bright-field crop of sample '{sample}'")
    names = Pseudonyms(folder, key_of(sidecars or folder)) if pseudonymise else Names(folder)
    place = out or folder / (PSEUDONYMISED_NAME if pseudonymise else REPORT_NAME)
    _check_place(place)
    cells = gathered.cells
    draw = review_list(cells)
    full = frozenset((*draw.order, *range(min(FIRST_IN_FULL, len(cells)))))
    channels = other_channels(folder, naming, (cells[index] for index in full))
    models = models_at_hand(model)
    maps = activations(folder, cells, models)
    name = names.folder(folder_name(folder))
    title = name if sample is None else f"{name} / {names.sample(sample)}"
    with replacing(place) as file:
        page = PageWriter(file, f"ctcedge: {title}")
        drawn = illustrate(folder, cells, full, channels, maps, page)
        page.finish(
            {
                "schema": "ctcedge/report/1",
                "run_id": names.run_id(),
                "report_id": _report_id(cells, names),
                "folder_name": name,
                "pseudonymised": pseudonymise,
                **_words(gathered, models, assessment, names, draw, drawn, folder_name(folder)),
                **_cells(cells, names, drawn, list(gathered.models)),
                "list": [index for index in draw.order if drawn.states[index] == SHOWN],
                "draw": {
                    "cells": draw.drawn,
                    "drawn": len(draw.drawn),
                    "leukocytes": draw.leukocytes,
                    "text": facts.draw_in_words(draw),
                },
                "strips": drawn.shown,
                "pictures": {
                    "tile": TILE,
                    "across": ACROSS,
                    "why_small": f"Only the review list and the first {FIRST_IN_FULL:,} cells are"
                    " here in full size and with their other channels.",
                },
            }
        )
    return place


def _check_place(place: Path) -> None:
    """See that the page replaces nothing that is no page, such as an image or a sidecar."""
    if place.is_dir():
        raise OutputError(f"{place} is a folder; give --out a file, such as {place / REPORT_NAME}")
    if place.suffix.lower() not in _SUFFIXES:
        raise OutputError(f"{place} is no name of a page; give --out one that ends in .html")


def _words(
    gathered: Gathered,
    models: dict[str, Model],
    assessment: Assessment,
    names: Names,
    draw: ReviewList,
    drawn: Illustrated,
    folder: str,
) -> dict[str, Any]:
    likeness = gathered.traits.domain_shift(models)
    return {
        "warnings": facts.warnings(
            gathered,
            models,
            likeness,
            names,
            drawn.states.count(CHANGED),
            drawn.states.count(UNREADABLE),
            draw.left_out,
        ),
        "figures": facts.figures(gathered, models, assessment, likeness),
        "facts": facts.facts(gathered, models, assessment, names, folder),
        "decisions": [{"review": each.review, "ctc": each.ctc} for each in gathered.decisions],
    }


def _cells(
    cells: Sequence[Cell], names: Names, drawn: Illustrated, models: list[ModelRef]
) -> dict[str, Any]:
    """Columns, with what repeats told once."""
    samples = sorted({cell.crop.sample for cell in cells}, key=names.sample)
    reasons = sorted({reason for cell in cells for reason in cell.reasons})
    priors = sorted({cell.prior for cell in cells})
    sample_at = {sample: place for place, sample in enumerate(samples)}
    model_at = {model: place for place, model in enumerate(models)}
    return {
        "samples": [names.sample(sample) for sample in samples],
        "reasons": reasons,
        "models": [model._asdict() for model in models],
        "priors": [{"value": prior, "text": facts.one_in(prior)} for prior in priors],
        "images": STATES,
        "reviews": {
            str(place): [_review(review, names) for review in cell.reviews]
            for place, cell in enumerate(cells)
            if cell.reviews
        },
        "cells": {
            "path": [names.path(cell.crop.path, cell.crop.sample) for cell in cells],
            "sample": [sample_at[cell.crop.sample] for cell in cells],
            "cell": [names.cell(cell.crop.path, cell.crop.cell) for cell in cells],
            "sha256": [cell.sha256 for cell in cells],
            "call": [facts.PAGE_CALLS.index(cell.call) for cell in cells],
            "probability": [cell.probability for cell in cells],
            "prior": [priors.index(cell.prior) for cell in cells],
            "reasons": [[reasons.index(reason) for reason in cell.reasons] for cell in cells],
            "cluster": [int(cell.cluster) for cell in cells],
            "model": [model_at[cell.model] for cell in cells],
            "um_per_px": [cell.um_per_px for cell in cells],
            "um_assumed": [int(cell.um_per_px_assumed) for cell in cells],
            "width": [cell.width for cell in cells],
            "height": [cell.height for cell in cells],
            "ood_p_value": [cell.unlike for cell in cells],
            "image": drawn.states,
            "strip": drawn.strips,
            "tile_zoom": [round(zoom, 5) for zoom in drawn.zooms],
        },
    }


def _review(review: ReviewEntry, names: Names) -> dict[str, Any]:
    return {
        "call": review.call,
        "reviewer": names.reviewer(review.reviewer),
        "time": review.time,
        "note": names.note(review.note),
    }


def _report_id(cells: Sequence[Cell], names: Names) -> str:
    """The same for the same cells, images and calls."""
    told = sorted(
        (names.path(cell.crop.path, cell.crop.sample), cell.sha256, cell.model.sha256, cell.call)
        for cell in cells
    )
    text = json.dumps(told)
    return hashlib.sha256(text.encode()).hexdigest()
