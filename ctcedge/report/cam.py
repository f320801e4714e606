"""Where in a crop a call comes from, for the first cells of the gallery."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctcedge.errors import BadImage, ModelError
from ctcedge.images.preprocess import network_input
from ctcedge.model.cam import activation_maps
from ctcedge.model.folder import Model
from ctcedge.model.session import Engine, open_engine
from ctcedge.report.cells import Cell
from ctcedge.report.images import called_image

MAPPED = 300
"""Cells with a map: the network runs several times for each."""
STRONG = 100
"""Value of the map that is stronger than nearly all."""

_BATCH = 64
_NEARLY_ALL = 98  # percentile


def activations(
    folder: Path, cells: Sequence[Cell], models: Mapping[str, Model]
) -> dict[int, dict[str, Any]]:
    """Class-activation maps of the first cells, by their place in the gallery.

    Args:
        folder: the searched folder.
        cells: in the order of the gallery.
        models: those that lie here, by their hash; others, and those that give no maps, leave
            their cells without one.

    Returns:
        `side` of the square map, `window`, the side of the part of the crop that it covers, about
        the crop's centre, in the crop's pixels, and `values`, row by row, on one scale for all:
        STRONG speaks strongly for a CTC, -STRONG against.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, cell in enumerate(cells[:MAPPED]):
        if cell.model.sha256 in models:
            places[cell.model.sha256].append(place)
    found: dict[int, dict[str, Any]] = {}
    for sha256, of_model in places.items():
        found |= _of_model(folder, cells, of_model, models[sha256])
    return found


def _of_model(
    folder: Path, cells: Sequence[Cell], places: Sequence[int], model: Model
) -> dict[int, dict[str, Any]]:
    spec = model.spec.input
    engine = open_engine(model, "cpu")
    maps: dict[int, NDArray[np.float32]] = {}
    waiting = iter(places)
    while batch := list(islice(waiting, _BATCH)):
        inputs = {}
        for place in batch:
            _, pixels = called_image(folder, cells[place])
            if pixels is None:
                continue
            try:
                inputs[place] = network_input(pixels, cells[place].um_per_px, spec)
            except BadImage:
                continue
        try:
            maps |= _maps(engine, inputs)
        except ModelError:
            return {}
    if not maps:
        return {}
    strong = float(np.percentile(np.abs(np.stack(list(maps.values()))), _NEARLY_ALL)) or 1.0
    return {
        place: {
            "side": each.shape[0],
            "window": round(spec.size / spec.zoom(cells[place].um_per_px), 2),
            "values": np.clip(np.rint(each * (STRONG / strong)), -STRONG, STRONG)
            .astype(int)
            .ravel()
            .tolist(),
        }
        for place, each in maps.items()
    }


def _maps(
    engine: Engine, inputs: Mapping[int, NDArray[np.uint8]]
) -> dict[int, NDArray[np.float32]]:
    if not inputs:
        return {}
    return dict(zip(inputs, activation_maps(engine, np.stack(list(inputs.values()))), strict=True))
