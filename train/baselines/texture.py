"""Simple texture features of one network input, which do not depend on the cell's orientation.

6 x 3   moments of the brightness in the cell, around it, and in the whole: mean, standard
        deviation, skewness, kurtosis, minimum, maximum
7       percentiles of the brightness in the cell
2 x 8   radial profile: mean and standard deviation of eight rings
2 x 5   energy of five scales, in the cell and around it: log variance of the difference of
        Gaussians, which approximates the Laplacian
2 x 4   gradient at two scales in the cell: mean, standard deviation, 90th and 99th percentile
4       autocorrelation in the cell at 1, 2, 4 and 8 pixels
10      rotation-invariant uniform local binary patterns in the cell (Ojala et al., 2002)
6       the largest connected blob: area, perimeter, eccentricity, solidity,
        mean brightness, distance of its centre
"""

from __future__ import annotations

import itertools
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ctcedge.images.preprocess import BACKGROUND_LEVEL, InputSpec

COUNT = 18 + 7 + 16 + 10 + 8 + 4 + 10 + 6

_RINGS = 8
_SCALES = (0.7, 1.0, 1.5, 2.2, 3.3, 5.0)
_GRADIENT_SCALES = (0.7, 2.0)
_LAGS = (1, 2, 4, 8)
_PERCENTILES = (1, 10, 25, 50, 75, 90, 99)
_BLOB_CONTRAST = 0.4
"""Contrast units above which a pixel belongs to the blob."""

_EPSILON = 1e-6
_NEIGHBOURS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))

Field = NDArray[np.float32]


def texture_features(inputs: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """Describe one input, (size, size); (`COUNT`,), in contrast units and input pixels."""
    field = (inputs.astype(np.float32) - BACKGROUND_LEVEL) / np.float32(spec.gain)
    cell, ring_of = _masks(spec.size, spec.disk)
    inside, outside = field[cell], field[~cell]
    smooth = [_blurred(field, scale) for scale in _SCALES]
    features = [
        *(moment for part in (inside, outside, field.ravel()) for moment in _moments(part)),
        *_percentiles(inside, _PERCENTILES),
        *_radial_profile(field, ring_of),
        *_energies(smooth, cell),
        *(value for scale in _GRADIENT_SCALES for value in _gradient(field, scale, cell)),
        *_autocorrelation(field, cell),
        *_binary_patterns(smooth[0], cell),
        *_blob(smooth[1]),
    ]
    return np.array(features, np.float32)


def _blurred(field: Field, sigma: float) -> Field:
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32)


@cache
def _masks(size: int, disk: float) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Return the central disk in which contrast is measured, and the ring of each pixel.

    Pixels beyond the outermost ring, in the corners, have the number `_RINGS`.
    """
    offset = np.arange(size) - (size - 1) / 2
    radius = np.hypot(offset[:, None], offset[None, :])
    ring = np.minimum((radius * 2 * _RINGS / size).astype(np.intp), _RINGS)
    return radius <= disk * size / 2, ring


def _moments(part: Field) -> tuple[float, ...]:
    mean, spread = float(part.mean()), float(part.std())
    z = (part - mean) / max(spread, _EPSILON)
    square = z * z
    return (
        mean, spread, float((square * z).mean()), float((square * square).mean()),
        float(part.min()), float(part.max()),
    )  # fmt: skip


def _percentiles(part: Field, percentiles: tuple[int, ...]) -> list[float]:
    ordered = np.sort(part)
    return [float(ordered[round(p / 100 * (len(part) - 1))]) for p in percentiles]


def _radial_profile(field: Field, ring_of: NDArray[np.intp]) -> NDArray[np.float64]:
    ring, level = ring_of.ravel(), field.ravel()
    count = np.bincount(ring)[:_RINGS]
    mean = np.bincount(ring, level)[:_RINGS] / count
    square = np.bincount(ring, level * level)[:_RINGS] / count
    return np.concatenate((mean, np.sqrt(np.maximum(square - mean**2, 0))))


def _energies(smooth: list[Field], cell: NDArray[np.bool_]) -> list[float]:
    energies = []
    for fine, coarse in itertools.pairwise(smooth):
        square = (fine - coarse) ** 2
        total, within = float(square.sum()), float(square[cell].sum())
        count = int(cell.sum())
        for energy in (within / count, (total - within) / (cell.size - count)):
            energies.append(float(np.log(max(energy, _EPSILON))))
    return energies


def _gradient(field: Field, scale: float, cell: NDArray[np.bool_]) -> tuple[float, ...]:
    blurred = _blurred(field, scale)
    steps = (cv2.Sobel(blurred, cv2.CV_32F, *order, ksize=3) for order in ((1, 0), (0, 1)))
    length = np.asarray(cv2.magnitude(*steps), np.float32)[cell]
    return float(length.mean()), float(length.std()), *_percentiles(length, (90, 99))


def _autocorrelation(field: Field, cell: NDArray[np.bool_]) -> list[float]:
    centred = np.where(cell, field - field[cell].mean(), np.float32(0))
    power = max(float((centred * centred).sum()), _EPSILON)
    return [
        (
            float((centred[lag:] * centred[:-lag]).sum())
            + float((centred[:, lag:] * centred[:, :-lag]).sum())
        )
        / (2 * power)
        for lag in _LAGS
    ]


def _binary_patterns(field: Field, cell: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fraction of each pattern of 8 neighbours: 0 to 8 brighter in one run, or several runs."""
    size = len(field)
    centre = field[1:-1, 1:-1]
    brighter = np.stack(
        [field[1 + y : size - 1 + y, 1 + x : size - 1 + x] >= centre for y, x in _NEIGHBOURS]
    )
    turns = (brighter != np.roll(brighter, 1, axis=0)).sum(axis=0)
    pattern = np.where(turns <= 2, brighter.sum(axis=0), 9)
    counts = np.bincount(pattern[cell[1:-1, 1:-1]], minlength=10)
    fractions: NDArray[np.float64] = counts / counts.sum()
    return fractions


def _blob(field: Field) -> tuple[float, ...]:
    """Describe the largest connected part that differs from the background; zeros without one."""
    distinct = (np.abs(field) > _BLOB_CONTRAST).astype(np.uint8)
    closed = cv2.morphologyEx(distinct, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return (0.0,) * 6
    outline = max(outlines, key=cv2.contourArea)
    moments = cv2.moments(outline)
    area = moments["m00"]
    if area == 0:
        return (0.0,) * 6
    filled = cv2.drawContours(np.zeros_like(distinct), [outline], -1, 1, cv2.FILLED)
    spread = (moments["mu20"] + moments["mu02"]) / area
    skew = np.hypot(moments["mu20"] - moments["mu02"], 2 * moments["mu11"]) / area
    middle = (len(field) - 1) / 2
    return (
        area,
        cv2.arcLength(outline, closed=True),
        float(np.sqrt(2 * skew / max(spread + skew, _EPSILON))),
        area / max(cv2.contourArea(cv2.convexHull(outline)), 1.0),
        float(field[filled.astype(bool)].mean()),
        float(np.hypot(moments["m10"] / area - middle, moments["m01"] / area - middle)),
    )
