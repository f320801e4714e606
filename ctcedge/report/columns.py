"""The data of a report's cells: a column per property, in the order of the gallery."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from ctcedge.report.cells import Cell, FolderContents
from ctcedge.report.images import IMAGE_PROBLEMS
from ctcedge.report.montage import Montage
from ctcedge.report.pseudonyms import Names
from ctcedge.report.texts import PAGE_CALLS, one_in
from ctcedge.sidecars.schema import ReviewEntry

_Value = TypeVar("_Value", bound=Hashable)


def cell_data(contents: FolderContents, names: Names, montage: Montage) -> dict[str, Any]:
    """Return the columns, and the lists of values to which some of them refer by index."""
    cells = contents.cells
    samples = sorted({cell.crop.sample for cell in cells}, key=names.sample)
    reasons = sorted({reason for cell in cells for reason in cell.reasons})
    priors = sorted({cell.prior for cell in cells})
    models = list(contents.models)
    reason_index = _index(reasons)
    return {
        "samples": [names.sample(sample) for sample in samples],
        "reasons": reasons,
        "models": [model._asdict() for model in models],
        "priors": [{"value": prior, "text": one_in(prior)} for prior in priors],
        "images": list(IMAGE_PROBLEMS.values()),
        "reviews": {
            str(index): [_review(review, names) for review in cell.reviews]
            for index, cell in enumerate(cells)
            if cell.reviews
        },
        "strips": montage.strips,
        "cells": {
            **_plain_columns(cells, names),
            "sample": _column(cells, _index(samples), lambda cell: cell.crop.sample),
            "call": _column(cells, _index(PAGE_CALLS), lambda cell: cell.call),
            "prior": _column(cells, _index(priors), lambda cell: cell.prior),
            "model": _column(cells, _index(models), lambda cell: cell.model),
            "reasons": [[reason_index[reason] for reason in cell.reasons] for cell in cells],
            "image": montage.states,
            "strip": montage.strip_of_cell,
            "tile_zoom": [round(zoom, 5) for zoom in montage.zooms],
        },
    }


def _plain_columns(cells: Sequence[Cell], names: Names) -> dict[str, list[Any]]:
    return {
        "path": [names.path(cell.crop.path, cell.crop.sample) for cell in cells],
        "cell": [names.cell(cell.crop.path, cell.crop.cell) for cell in cells],
        "sha256": [cell.sha256 for cell in cells],
        "probability": [cell.probability for cell in cells],
        "cluster": [int(cell.cluster) for cell in cells],
        "um_per_px": [cell.um_per_px for cell in cells],
        "um_assumed": [int(cell.um_per_px_assumed) for cell in cells],
        "width": [cell.width for cell in cells],
        "height": [cell.height for cell in cells],
        "ood_p_value": [cell.ood_p_value for cell in cells],
    }


def _index(values: Sequence[_Value]) -> dict[_Value, int]:
    return {value: index for index, value in enumerate(values)}


def _column(
    cells: Sequence[Cell], index: dict[_Value, int], value: Callable[[Cell], _Value]
) -> list[int]:
    return [index[value(cell)] for cell in cells]


def _review(review: ReviewEntry, names: Names) -> dict[str, Any]:
    return {
        "call": review.call,
        "reviewer": names.reviewer(review.reviewer),
        "time": review.time,
        "note": names.note(review.note),
    }
