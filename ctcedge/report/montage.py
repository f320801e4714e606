"""The pictures of a report: a tile of every cell, and in full size those that matter.

In full size, with their other channels, are the cells of the review list and the first of the
gallery. Pictures are for looking, not for measuring: they are JPEGs of 8-bit greys.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctcedge.discovery.naming import BRIGHT_FIELD, Crop, Naming
from ctcedge.discovery.scan import walk
from ctcedge.report.cells import Cell
from ctcedge.report.images import called_image, read_image
from ctcedge.report.jpeg import (
    CROPS_A_SHEET,
    Picture,
    Scale,
    bright_field,
    common_scale,
    sheet,
    strip,
    tile,
    tile_zooms,
)
from ctcedge.report.page import PageWriter

STATES = (
    "",
    "The image changed since the call, and is not shown. Run 'ctcedge classify' again.",
    "The image cannot be read.",
)
_SCALED_BY = 200  # crops of a sample and channel

Channels = Mapping[tuple[str, str], Mapping[str, Crop]]
Activations = Mapping[int, dict[str, Any]]


@dataclass(slots=True)
class Illustrated:
    """What became of the pictures.

    Attributes:
        zooms: of each cell's tile, see `pictures.tile_zooms`.
        states: of each cell, an index into STATES.
        strips: place of each cell's strip among the strips, or None.
        shown: of each strip width, height and pitch of its pictures, channels, and activation
            where it is known.
    """

    zooms: list[float]
    states: list[int] = field(default_factory=list)
    strips: list[int | None] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)


def other_channels(
    folder: Path, naming: Naming, cells: Iterable[Cell]
) -> dict[tuple[str, str], dict[str, Crop]]:
    """Crops of other channels of the given cells, by (sample, cell) and channel."""
    wanted = {(cell.crop.sample, cell.crop.cell) for cell in cells}
    found: dict[tuple[str, str], dict[str, Crop]] = defaultdict(dict)
    for each in walk(folder, naming):
        if isinstance(each, Crop) and each.channel != BRIGHT_FIELD:
            if (each.sample, each.cell) in wanted:
                found[each.sample, each.cell].setdefault(each.channel, each)
    return dict(found)


def illustrate(
    folder: Path,
    cells: Sequence[Cell],
    full: frozenset[int],
    channels: Channels,
    activations: Activations,
    page: PageWriter,
) -> Illustrated:
    """Read every cell's image and put it into the page.

    Args:
        folder: the searched folder.
        cells: in the order of the gallery.
        full: which are shown in full size.
        channels: other channels of those.
        activations: see `why.activations`.
        page: takes the pictures.
    """
    longest = [max(cell.width, cell.height) for cell in cells]
    result = Illustrated(tile_zooms(longest, [cell.um_per_px for cell in cells]))
    scales = _scales(folder, channels)
    tiles: list[Picture | None] = []
    for index, cell in enumerate(cells):
        state, pixels = called_image(folder, cell)
        result.states.append(state)
        result.strips.append(None)
        if pixels is None:
            tiles.append(None)
        else:
            picture = bright_field(pixels)
            tiles.append(tile(picture, result.zooms[index]))
            if index in full:
                others = channels.get((cell.crop.sample, cell.crop.cell), {})
                shown = _other_pictures(folder, others, scales)
                line, width, height, pitch = strip([picture, *shown.values()])
                page.picture("strips", line)
                result.strips[-1] = len(result.shown)
                told: dict[str, Any] = {
                    "width": width,
                    "height": height,
                    "pitch": pitch,
                    "channels": [BRIGHT_FIELD, *shown],
                }
                if index in activations:
                    told["activation"] = activations[index]
                result.shown.append(told)
        if len(tiles) == CROPS_A_SHEET:
            page.picture("sheets", sheet(tiles))
            tiles = []
    if tiles:
        page.picture("sheets", sheet(tiles))
    return result


def _scales(folder: Path, channels: Channels) -> dict[tuple[str, str], Scale]:
    """The scale of each sample's channels."""
    crops: dict[tuple[str, str], list[Crop]] = defaultdict(list)
    for (sample, _), of_cell in channels.items():
        for channel, crop in of_cell.items():
            crops[sample, channel].append(crop)
    scales = {}
    for key, found in crops.items():
        some = found[:: -(-len(found) // _SCALED_BY)]
        images = [image for crop in some if (image := read_image(folder, crop)) is not None]
        if images:
            scales[key] = common_scale(images)
    return scales


def _other_pictures(
    folder: Path, crops: Mapping[str, Crop], scales: Mapping[tuple[str, str], Scale]
) -> dict[str, Picture]:
    found = {}
    for channel, crop in sorted(crops.items()):
        pixels = read_image(folder, crop)
        if pixels is not None and (scale := scales.get((crop.sample, channel))) is not None:
            found[channel] = scale.apply(pixels)
    return found
