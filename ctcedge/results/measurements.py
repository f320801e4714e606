"""Measure the stains of cells: intensity within the outline that bright field shows.

The outline is that of the quality check's main object. It is found again in the image that was
classified; the stain must have the same size in pixels. What a stain shows outside all outlines is
its background.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ctcedge.cpus import cores
from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.naming import Crop, Naming
from ctcedge.discovery.scan import walk
from ctcedge.errors import BadImage
from ctcedge.images.decode import GreyImage, decode
from ctcedge.iteration import batched
from ctcedge.pipeline.ordered_pool import OrderedPool
from ctcedge.quality.background import downsampling_factor
from ctcedge.quality.exposure import unpadded_box
from ctcedge.quality.segmentation import segment
from ctcedge.sidecars.scan import CropRecord, read_current_image

MAX_WORKERS = 8
_CHUNK = 8  # crops a thread takes at a time; of the largest accepted images, 64 MiB
_MIN_BACKGROUND_PIXELS = 16


class StainIntensity(NamedTuple):
    """Intensity of a stain in one cell, in grey levels as the file stores them.

    Attributes:
        mean: within the outline, less the background.
        integrated: sum over the pixels of the outline, each less the background.
        background: median outside all outlines.
    """

    mean: float
    integrated: float
    background: float


@dataclass(frozen=True, slots=True)
class StainImages:
    """The images of stains in a folder.

    Attributes:
        paths: path of each channel's image, by (sample, cell); the first where there are several.
    """

    paths: Mapping[tuple[str, str], Mapping[str, str]]

    @property
    def channels(self) -> list[str]:
        """Channels of which there is an image, sorted."""
        return sorted({channel for images in self.paths.values() for channel in images})


class Outlines(NamedTuple):
    """Where the cell is in a crop; both (height, width).

    Attributes:
        cell: within the outline of the main object.
        background: outside all outlines and the padding.
    """

    cell: NDArray[np.bool_]
    background: NDArray[np.bool_]


@dataclass(slots=True)
class MeasuredCrop:
    """A crop with the intensities of its stains.

    Attributes:
        entry: the crop and its sidecar.
        stains: by channel; a stain is missing that has no image, or could not be measured.
        problems: why an image could not be measured, by its path.
    """

    entry: CropRecord
    stains: dict[str, StainIntensity] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def find_stains(folder: Path, naming: Naming) -> StainImages:
    """Find the images of stains in a folder.

    Raises:
        SetupError: the folder cannot be read.
    """
    paths: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for crop in walk(folder, naming):
        if isinstance(crop, Crop) and crop.channel != BRIGHT_FIELD:
            paths[crop.sample, crop.cell].setdefault(crop.channel, crop.path)
    return StainImages(dict(paths))


def measure_stains(
    folder: Path, entries: Iterable[CropRecord], stains: StainImages, channels: Sequence[str]
) -> Iterator[MeasuredCrop]:
    """Measure the stains of classified crops, in their order, in a few threads.

    Only what is measured at the time is in memory. No image that cannot be read stops it.

    Args:
        folder: the searched folder.
        entries: its crops with their sidecars; those without a call are not measured.
        stains: from `find_stains`.
        channels: which stains are measured.
    """
    workers = min(cores(), MAX_WORKERS)
    measure = partial(_measure_chunk, folder, stains, channels)
    with OrderedPool(workers) as pool:
        for chunk in pool.imap(measure, batched(entries, _CHUNK)):
            yield from chunk


def find_outlines(pixels: GreyImage) -> Outlines | None:
    """Find the cell in a bright-field crop; None where there is no object.

    The whole crop is searched, where the quality check looks at no more than twice the network's
    field of view.
    """
    if min(pixels.shape) < 8:
        return None
    box = unpadded_box(pixels)
    view = pixels[box]
    (segmentation,) = segment([view])
    if not segmentation.objects:
        return None
    factor = downsampling_factor(*view.shape)
    shape = segmentation.energy.shape
    outlines = [detected.outline for detected in segmentation.objects]
    cell = np.zeros(pixels.shape, bool)
    background = np.zeros(pixels.shape, bool)
    # Rows and columns that downsampling left out belong to neither.
    rows, columns = (slice(0, factor * length) for length in shape)
    cell[box][rows, columns] = _filled(outlines[:1], shape, factor)
    background[box][rows, columns] = ~_filled(outlines, shape, factor)
    return Outlines(cell, background)


def intensity(stain: GreyImage, outlines: Outlines) -> StainIntensity | None:
    """Measure a stain of the same shape; None where too little of the crop is background."""
    outside = stain[outlines.background]
    if outside.size < _MIN_BACKGROUND_PIXELS:
        return None
    inside = stain[outlines.cell]
    background = float(np.median(outside))
    total = float(inside.sum(dtype=np.float64)) - background * inside.size
    return StainIntensity(round(total / inside.size, 3), round(total, 1), background)


def _filled(
    outlines: Sequence[NDArray[np.int32]], shape: tuple[int, ...], factor: int
) -> NDArray[np.bool_]:
    """Return (factor * h, factor * w), true within outlines of downsampled pixels, (h, w)."""
    mask = np.zeros(shape, np.uint8)
    cv2.drawContours(mask, outlines, -1, 1, cv2.FILLED)
    return mask.astype(bool).repeat(factor, axis=0).repeat(factor, axis=1)


def _measure_chunk(
    folder: Path, stains: StainImages, channels: Sequence[str], chunk: Sequence[CropRecord]
) -> list[MeasuredCrop]:
    return [_measure(folder, stains, channels, entry) for entry in chunk]


def _measure(
    folder: Path, stains: StainImages, channels: Sequence[str], entry: CropRecord
) -> MeasuredCrop:
    measured = MeasuredCrop(entry)
    paths = stains.paths.get((entry.crop.sample, entry.crop.cell), {})
    wanted = [(channel, paths[channel]) for channel in channels if channel in paths]
    record = entry.record
    if not wanted or record is None or record.status != "classified":
        return measured
    try:
        bright = _pixels(folder, entry.crop, sha256=record.image.sha256)
        outlines = find_outlines(bright)
    except BadImage as error:
        measured.problems[entry.crop.path] = str(error)
        return measured
    if outlines is None:
        return measured
    for channel, path in wanted:
        try:
            stain = _pixels(folder, entry.crop._replace(path=path))
            if stain.shape != bright.shape:
                sizes = (f"{width} x {height}" for height, width in (stain.shape, bright.shape))
                raise BadImage("unsupported", "{} px, but bright field {} px".format(*sizes))
        except BadImage as error:
            measured.problems[path] = str(error)
            continue
        if (measurement := intensity(stain, outlines)) is not None:
            measured.stains[channel] = measurement
    return measured


def _pixels(folder: Path, crop: Crop, sha256: str | None = None) -> GreyImage:
    """Read and decode an image.

    Raises:
        BadImage: it cannot be read, or has another hash than the given one.
    """
    image = read_current_image(folder, crop)
    if image.data is None:
        raise BadImage("unreadable", image.problem or "cannot be read")
    if sha256 is not None and image.sha256 != sha256:
        raise BadImage("unreadable", "the image changed since the call; run 'ctcedge classify'")
    return decode(image.data).pixels
