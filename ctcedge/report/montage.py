"""The pictures of a report: a tile of every cell, and strips of some cells in full size.

Strips, which include the other channels, show the cells of the review list and the first cells of
the gallery. Pictures are for viewing, not for measurement: they are JPEGs of 8-bit grey levels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.naming import Crop, Naming
from ctcedge.discovery.scan import walk
from ctcedge.report.cells import Cell
from ctcedge.report.images import ImageState, classified_image, read_image
from ctcedge.report.jpeg import (
    TILES_PER_SHEET,
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

_MAX_SCALE_CROPS = 200  # of a sample and channel, from which its scale is computed

Channels = Mapping[tuple[str, str], Mapping[str, Crop]]
"""Crops of other channels, by (sample, cell) and channel."""
Activations = Mapping[int, dict[str, Any]]


@dataclass(slots=True)
class Montage:
    """What the page knows of its pictures.

    Attributes:
        zooms: zoom of each cell's tile, see `jpeg.tile_zooms`.
        states: state of each cell's image.
        strip_of_cell: index of each cell's strip among the strips, or None.
        strips: for each strip, width, height and pitch of its pictures, its channels, and the
            activation map if there is one.
    """

    zooms: list[float]
    states: list[ImageState] = field(default_factory=list)
    strip_of_cell: list[int | None] = field(default_factory=list)
    strips: list[dict[str, Any]] = field(default_factory=list)


def other_channels(
    folder: Path, naming: Naming, cells: Iterable[Cell]
) -> dict[tuple[str, str], dict[str, Crop]]:
    """Return crops of other channels of the given cells, by (sample, cell) and channel."""
    wanted = {(cell.crop.sample, cell.crop.cell) for cell in cells}
    channels: dict[tuple[str, str], dict[str, Crop]] = defaultdict(dict)
    for crop in walk(folder, naming):
        if isinstance(crop, Crop) and crop.channel != BRIGHT_FIELD:
            if (crop.sample, crop.cell) in wanted:
                channels[crop.sample, crop.cell].setdefault(crop.channel, crop)
    return dict(channels)


def add_pictures(
    page: PageWriter,
    folder: Path,
    cells: Sequence[Cell],
    full_size: frozenset[int],
    channels: Channels,
    activations: Activations,
) -> Montage:
    """Read every cell's image and write its pictures into the page.

    Args:
        page: receives the pictures.
        folder: the searched folder.
        cells: in the order of the gallery.
        full_size: indices of the cells that get a strip.
        channels: other channels of those cells.
        activations: from `cam.activations`.
    """
    longest = [max(cell.width, cell.height) for cell in cells]
    montage = Montage(tile_zooms(longest, [cell.um_per_px for cell in cells]))
    scales = _scales(folder, channels)
    tiles: list[Picture | None] = []
    for index, cell in enumerate(cells):
        state, pixels = classified_image(folder, cell)
        picture = None if pixels is None else bright_field(pixels)
        montage.states.append(state)
        montage.strip_of_cell.append(None)
        tiles.append(None if picture is None else tile(picture, montage.zooms[index]))
        if picture is not None and index in full_size:
            crops = channels.get((cell.crop.sample, cell.crop.cell), {})
            pictures = {BRIGHT_FIELD: picture, **_other_pictures(folder, crops, scales)}
            montage.strip_of_cell[-1] = len(montage.strips)
            montage.strips.append(_add_strip(page, pictures, activations.get(index)))
        if len(tiles) == TILES_PER_SHEET:
            page.picture("sheets", sheet(tiles))
            tiles = []
    if tiles:
        page.picture("sheets", sheet(tiles))
    return montage


def _add_strip(
    page: PageWriter, pictures: Mapping[str, Picture], activation: dict[str, Any] | None
) -> dict[str, Any]:
    line, width, height, pitch = strip(list(pictures.values()))
    page.picture("strips", line)
    properties = {"width": width, "height": height, "pitch": pitch, "channels": list(pictures)}
    return properties if activation is None else {**properties, "activation": activation}


def _scales(folder: Path, channels: Channels) -> dict[tuple[str, str], Scale]:
    """The scale of each sample's channels, by (sample, channel)."""
    crops: dict[tuple[str, str], list[Crop]] = defaultdict(list)
    for (sample, _), by_channel in channels.items():
        for channel, crop in by_channel.items():
            crops[sample, channel].append(crop)
    scales = {}
    for key, of_channel in crops.items():
        step = -(-len(of_channel) // _MAX_SCALE_CROPS)
        images = [read_image(folder, crop) for crop in of_channel[::step]]
        readable = [image for image in images if image is not None]
        if readable:
            scales[key] = common_scale(readable)
    return scales


def _other_pictures(
    folder: Path, crops: Mapping[str, Crop], scales: Mapping[tuple[str, str], Scale]
) -> dict[str, Picture]:
    pictures = {}
    for channel, crop in sorted(crops.items()):
        pixels = read_image(folder, crop)
        if pixels is not None and (scale := scales.get((crop.sample, channel))) is not None:
            pictures[channel] = scale.apply(pixels)
    return pictures
