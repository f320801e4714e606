"""Class-activation maps of the gallery's first cells: which parts of a crop support its call."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctcedge.dependencies import damaged_package
from ctcedge.errors import BadImage, ModelError
from ctcedge.images.preprocess import InputSpec, network_input
from ctcedge.iteration import batched
from ctcedge.log import event
from ctcedge.model.cam import activation_maps
from ctcedge.model.folder import Model
from ctcedge.report.cells import Cell
from ctcedge.report.images import classified_image

if TYPE_CHECKING:
    from ctcedge.model.session import Engine

log = logging.getLogger("ctcedge.report.cam")

MAX_MAPS = 300
"""Number of cells with a map; the network runs several times for each."""
FULL_SCALE = 100
"""Value at the full-scale percentile of all maps' magnitudes."""

_BATCH = 64
_FULL_SCALE_PERCENTILE = 98


def activations(
    folder: Path, cells: Sequence[Cell], models: Mapping[str, Model]
) -> dict[int, dict[str, Any]]:
    """Return class-activation maps of the first cells, by index in the gallery.

    Cells of other models, and of models without maps, have none.

    Args:
        folder: the searched folder.
        cells: in the order of the gallery.
        models: the available models, by hash.

    Returns:
        For each cell, `side` of the square map, `window`, the side of the square about the crop's
        centre that it covers, in the crop's pixels, and `values`, row by row, on one scale for all
        maps of a model: FULL_SCALE strongly supports a CTC, -FULL_SCALE strongly opposes it.
    """
    by_model: dict[str, list[int]] = defaultdict(list)
    for index, cell in enumerate(cells[:MAX_MAPS]):
        if cell.model.sha256 in models:
            by_model[cell.model.sha256].append(index)
    result: dict[int, dict[str, Any]] = {}
    try:
        for sha256, indices in by_model.items():
            result |= _maps_of_model(folder, cells, indices, models[sha256])
    except Exception as error:
        if (problem := damaged_package(error)) is None:
            raise
        log.warning("the page has no activation maps: %s", problem, extra=event("no-maps"))
    return result


def _maps_of_model(
    folder: Path, cells: Sequence[Cell], indices: Sequence[int], model: Model
) -> dict[int, dict[str, Any]]:
    from ctcedge.model.session import open_engine  # a page can be written without ONNX Runtime

    spec = model.spec.input
    engine = open_engine(model, "cpu")
    maps: dict[int, NDArray[np.float32]] = {}
    for batch in batched(indices, _BATCH):
        inputs = {}
        for index in batch:
            pixels = _network_input(folder, cells[index], spec)
            if pixels is not None:
                inputs[index] = pixels
        try:
            maps |= _maps(engine, inputs)
        except ModelError:
            return {}
    if not maps:
        return {}
    magnitudes = np.abs(np.stack(list(maps.values())))
    full_scale = float(np.percentile(magnitudes, _FULL_SCALE_PERCENTILE)) or 1.0
    return {
        index: {
            "side": values.shape[0],
            "window": round(spec.size / spec.zoom(cells[index].um_per_px), 2),
            "values": _scaled(values / full_scale),
        }
        for index, values in maps.items()
    }


def _network_input(folder: Path, cell: Cell, spec: InputSpec) -> NDArray[np.uint8] | None:
    _, pixels = classified_image(folder, cell)
    if pixels is None:
        return None
    try:
        return network_input(pixels, cell.um_per_px, spec)
    except BadImage:
        return None


def _maps(
    engine: Engine, inputs: Mapping[int, NDArray[np.uint8]]
) -> dict[int, NDArray[np.float32]]:
    if not inputs:
        return {}
    return dict(zip(inputs, activation_maps(engine, np.stack(list(inputs.values()))), strict=True))


def _scaled(values: NDArray[np.float32]) -> list[int]:
    scaled: list[int] = (
        np.clip(np.rint(FULL_SCALE * values), -FULL_SCALE, FULL_SCALE).astype(int).ravel().tolist()
    )
    return scaled
