"""Measure stain intensity and shape of the central cell of a crop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ctcedge.images.decode import GreyImage

NUCLEUS, CYTOKERATIN, CD45 = "DAPI", "PE", "APC"
STAINS = (NUCLEUS, CYTOKERATIN, CD45)
"""Channels by stain, in the order of all arrays of this package."""

_BORDER = 0.08  # width of the border for the background, of the shorter side
_BLOCKS = 4  # along each side of the border; the darker half of all 16 is the background
_FAINT_NUCLEUS = 0.05  # of the brightest maximum of DAPI; fainter ones are debris
_TENTH = 1.755  # mean of the largest tenth of a normal distribution, in standard deviations
_QUARTER = 0.970  # from its 5 % quantile to its 25 % quantile
_OUTLINE = 0.3  # of the cell's own light, where its outline is drawn

# Lengths in diameters of a typical nucleus of the sample.
_LOBES = 0.2  # smoothing that merges the lobes of one nucleus
_MIN_DISTANCE = 0.45  # minimum distance of two nuclei
_NOISE = 0.1  # smoothing against noise
_DISK = 1.5  # diameter of the disk in which the stains are measured


@dataclass(frozen=True, slots=True)
class Stains:
    """Measurements of one cell.

    Attributes:
        signal: light above the background, in the order of `STAINS`, grey levels: of DAPI and of
            cytokeratin, which fill a part of the cell, the mean of the disk's brightest tenth,
            minus the expectation for noise alone; of CD45, which covers it, the median.
        noise: standard deviation of the smoothed background's pixels, grey levels.
        length: of the outline in cytokeratin and CD45 together, with touching cells, pixels.
        roundness: area of the largest disk within the outline, over the outline's; 1 for a disk.
        saturated: whether a tenth of the disk has the largest value of the pixel type.
    """

    signal: tuple[float, ...]
    noise: tuple[float, ...]
    length: float
    roundness: float
    saturated: bool


def nucleus_diameter(dapi: GreyImage) -> float:
    """Measure the brightest nucleus of a crop.

    Args:
        dapi: (height, width).

    Returns:
        Diameter of a disk of the area that is at least half as bright as the peak, pixels; NaN
        where nothing is above the noise.
    """
    light = _blurred(_light(dapi), 1.0)
    _, peak, _, (column, row) = cv2.minMaxLoc(light)
    if peak <= 6 * _noise(light):
        return np.nan
    _, parts = cv2.connectedComponents((light > peak / 2).astype(np.uint8))
    return float(2 * np.sqrt(np.count_nonzero(parts == parts[row, column]) / np.pi))


def measure_stains(images: Mapping[str, GreyImage], diameter: float) -> Stains:
    """Measure the cell whose nucleus is nearest to the middle of the crop.

    The stains are measured in a disk around the nucleus, smaller than a leukocyte, which excludes
    neighbours and needs no threshold for the outline of a faint cell.

    Args:
        images: (height, width) of each of `STAINS`, all of one shape.
        diameter: of a typical nucleus of the sample, pixels.
    """
    lights = [_light(images[channel]) for channel in STAINS]
    smooth = [_blurred(light, max(0.5, _NOISE * diameter)) for light in lights]
    noises = tuple(_noise(light) for light in smooth)
    row, column = _central_nucleus(lights[0], 2 * noises[0], diameter)
    rows, columns = np.ogrid[: lights[0].shape[0], : lights[0].shape[1]]
    disk = np.hypot(rows - row, columns - column) <= max(1.0, _DISK * diameter / 2)
    signal = (
        _brightest(smooth[0][disk]) - _TENTH * noises[0],
        _brightest(smooth[1][disk]) - _TENTH * noises[1],
        float(np.median(smooth[2][disk])),
    )
    inside = np.zeros(disk.shape, np.bool_)
    both = float(np.hypot(noises[1], noises[2]))
    for light, noise in ((smooth[0], noises[0]), (smooth[1] + smooth[2], both)):
        inside |= light > max(_OUTLINE * float(np.median(light[disk])), 3 * noise)
    length, roundness = _outline(inside, disk, (row, column))
    full = [images[channel][disk] == np.iinfo(images[channel].dtype).max for channel in STAINS]
    saturated = bool(np.mean(full, axis=1).max() >= 0.1)
    return Stains(signal, noises, length, roundness, saturated)


def _blurred(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _light(pixels: GreyImage) -> NDArray[np.float32]:
    """Subtract the background: the darker half of the border, as neighbours may cover it."""
    blocks = [
        block.mean() for side in _border(pixels) for block in np.array_split(side, _BLOCKS, axis=1)
    ]
    darker = np.sort(blocks)[: len(blocks) // 2]
    return pixels.astype(np.float32) - np.float32(darker.mean())


def _noise(smooth: NDArray[np.float32]) -> float:
    """Return the standard deviation of the border's pixels, from the darker ones."""
    ring = np.concatenate([side.ravel() for side in _border(smooth)])
    low, middle = np.quantile(ring, (0.05, 0.25))
    return float(middle - low) / _QUARTER


def _border(pixels: NDArray[np.generic]) -> tuple[NDArray[np.generic], ...]:
    width = max(2, round(_BORDER * min(pixels.shape)))
    return pixels[:width], pixels[-width:], pixels[:, :width].T, pixels[:, -width:].T


def _brightest(values: NDArray[np.float32]) -> float:
    """Return the mean of the brightest tenth."""
    return float(np.sort(values)[-max(1, len(values) // 10) :].mean())


def _central_nucleus(
    dapi: NDArray[np.float32], min_peak: float, diameter: float
) -> tuple[int, int]:
    """Return row and column of the nucleus nearest to the middle, with at least this peak."""
    smooth = cv2.GaussianBlur(dapi, (0, 0), max(0.5, _LOBES * diameter))
    side = 2 * int(_MIN_DISTANCE * diameter) + 1
    highest = cv2.dilate(smooth, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    brightest = float(smooth.max())
    min_peak = min(brightest, max(_FAINT_NUCLEUS * brightest, min_peak))
    nuclei = np.argwhere((smooth == highest) & (smooth >= min_peak))
    middle = (np.array(dapi.shape) - 1) / 2
    row, column = nuclei[np.argmin(np.hypot(*(nuclei - middle).T))]
    return int(row), int(column)


def _outline(
    inside: NDArray[np.bool_], disk: NDArray[np.bool_], at: tuple[int, int]
) -> tuple[float, float]:
    """Return length and roundness of the part of `inside` at a position; of the disk if none."""
    _, parts = cv2.connectedComponents(inside.astype(np.uint8))
    part = (parts == parts[at] if inside[at] else disk).astype(np.uint8)
    framed = cv2.copyMakeBorder(part, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0,))
    radius = float(cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_5).max())
    _, (width, height), _ = cv2.minAreaRect(cv2.findNonZero(part))
    return max(width, height) + 1, np.pi * radius**2 / np.count_nonzero(part)
