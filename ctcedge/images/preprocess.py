"""Preprocessing: from decoded crops to the network's input.

Training, calibration, evaluation and the runtime all call `network_input`, or `network_inputs` for
several crops.

Intensities: the network sees the deviation from the background in units of the cell's own contrast.
This does not change when all pixels are multiplied or shifted, so that bit depth, gain, exposure
and black level drop out without having to be known. Only where the contrast falls below a small
fraction of the background, as in an empty crop, is it no longer the unit.

Size is a feature: pixels are resampled to the model's um/px, then cropped or padded about the
centre, never stretched to fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Annotated, TypeAlias, TypeVar

import cv2
import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ctcedge.images.batching import take_pixels
from ctcedge.images.decode import GreyImage

_Pixel = TypeVar("_Pixel", bound=np.generic)
_Percentile: TypeAlias = Annotated[float, Meta(ge=0, le=100)]

BACKGROUND_LEVEL = 128
"""Input value of the background."""


class InputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Input that a network expects, stored in its model folder.

    Attributes:
        size: side of the square input, pixels.
        um_per_px: edge length of an input pixel, um; None where that of the training images was
            unknown, which binds the model to their instrument and magnification.
        border: width of the border whose interquartile mean is the background, as a fraction of
            the crop's shorter side.
        disk: diameter of the central disk in which contrast is measured, as a fraction of `size`.
        contrast: [low, high], percentiles of the absolute deviation in that disk; the mean of the
            values between them is the contrast unit. A mean, because a single percentile of an
            8-bit image moves in whole grey levels.
        floor: minimum contrast unit, as a fraction of the background level, so that the noise of
            an empty crop is not amplified.
        gain: input levels for a deviation of one contrast unit.
        crop_px: edge length of an input pixel in pixels of the crop, where `um_per_px` is None.
    """

    size: Annotated[int, Meta(ge=8, le=4096)]
    um_per_px: Annotated[float, Meta(ge=0.01, le=20)] | None
    border: Annotated[float, Meta(ge=0, le=0.5)]
    disk: Annotated[float, Meta(gt=0, le=2)]
    contrast: tuple[_Percentile, _Percentile]
    floor: Annotated[float, Meta(ge=0, le=100)]
    gain: Annotated[float, Meta(gt=0, le=10_000)]
    crop_px: Annotated[float, Meta(ge=0.01, le=100)] | None = None

    def __post_init__(self) -> None:
        if (self.um_per_px is None) == (self.crop_px is None):
            raise ValueError("either 'um_per_px' or 'crop_px' must be given")
        if self.disk * self.size < 2:
            raise ValueError("'disk' must span at least 2 pixels of the input")
        if self.contrast[0] > self.contrast[1]:
            raise ValueError("'contrast' must be two rising percentiles, [low, high]")

    def zoom(self, um_per_px: float | None) -> float:
        """Return the number of input pixels per pixel of a crop, along an edge.

        Args:
            um_per_px: edge length of a pixel of the crop, um; None for the model's own. Ignored by
                a model without um/px.
        """
        if self.um_per_px is None:
            return 1 / (self.crop_px or 1)
        return (um_per_px or self.um_per_px) / self.um_per_px


def network_inputs(
    crops: Sequence[GreyImage], um_per_px: float | None, spec: InputSpec
) -> NDArray[np.uint8]:
    """Normalise crops, each independently of the others.

    Args:
        crops: each (height, width), uint8 or uint16.
        um_per_px: edge length of a pixel of the crops, um; see `InputSpec.zoom`.
        spec: of the network's input.

    Returns:
        (n, size, size) uint8; 128 is the background.
    """
    zoom = spec.zoom(um_per_px)
    backgrounds = [_background(crop, spec.border) for crop in crops]
    windows = np.zeros((len(crops), spec.size, spec.size), np.float32)
    for window, crop, background in zip(windows, crops, backgrounds, strict=True):
        field = _centre_crop(crop, math.ceil(spec.size / zoom) + 2).astype(np.float32)
        field -= background
        _centre_place(_resample(field, zoom), window)
    unit = _contrast(windows, spec)
    unit = np.maximum(unit, np.maximum(spec.floor * np.abs(backgrounds), 1e-6))
    windows *= (spec.gain / unit).astype(np.float32)[:, None, None]
    windows += BACKGROUND_LEVEL
    rows = windows.reshape(-1, spec.size)
    # Rounds to even and saturates, in one pass.
    rounded = np.asarray(cv2.addWeighted(rows, 1, rows, 0, 0, dtype=cv2.CV_8U), np.uint8)
    return rounded.reshape(windows.shape)


def network_input(pixels: GreyImage, um_per_px: float | None, spec: InputSpec) -> NDArray[np.uint8]:
    """Normalise one crop to (size, size), as `network_inputs` does."""
    inputs: NDArray[np.uint8] = network_inputs([pixels], um_per_px, spec)[0]
    return inputs


def _background(pixels: GreyImage, border: float) -> float:
    """Interquartile mean of the border: robust, yet finer than one grey level."""
    values = pixels.take(border_indices(*pixels.shape, border))
    values.sort(kind="stable")  # a radix sort for short integers, several times as fast
    first, last = values.size // 4, values.size - values.size // 4
    return cv2.sumElems(values[first:last])[0] / (last - first)


def _contrast(deviations: NDArray[np.float32], spec: InputSpec) -> NDArray[np.float64]:
    """Return the contrast units, (n,), of (n, size, size)."""
    disk = disk_indices(spec.size, spec.disk)
    sizes = np.abs(take_pixels(deviations, disk))
    sizes.sort(axis=1)  # NumPy sorts floats faster than it partitions them
    low, high = contrast_ranks(spec, disk.size)
    sums = sizes[:, low : high + 1].sum(axis=1).astype(np.float64)
    units: NDArray[np.float64] = sums / (high + 1 - low)
    return units


def _centre_crop(pixels: NDArray[_Pixel], side: int) -> NDArray[_Pixel]:
    height, width = pixels.shape
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return pixels[top : top + side, left : left + side]


def _resample(field: NDArray[np.float32], zoom: float) -> NDArray[np.float32]:
    height, width = field.shape
    target = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    if target == (width, height):
        return field
    method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    return cv2.resize(field, target, interpolation=method)  # type: ignore[return-value]


def _centre_place(field: NDArray[np.float32], window: NDArray[np.float32]) -> None:
    """Copy a field into the center of a window; what does not fit is cropped."""
    size = len(window)
    field = _centre_crop(field, size)
    height, width = field.shape
    top, left = (size - height) // 2, (size - width) // 2
    window[top : top + height, left : left + width] = field


def contrast_ranks(spec: InputSpec, count: int) -> tuple[int, int]:
    """Return the first and the last of the ranks, of `count`, whose mean is the contrast unit."""
    low, high = (round(percentile / 100 * (count - 1)) for percentile in spec.contrast)
    return low, high


@lru_cache(64)  # an export has crops of few sizes
def border_indices(height: int, width: int, fraction: float) -> NDArray[np.intp]:
    """Return the indices of the pixels along the edge of an image; see `InputSpec.border`."""
    border = max(2, round(fraction * min(height, width)))
    outside = np.ones((height, width), bool)
    outside[border:-border, border:-border] = False
    return np.flatnonzero(outside)


@cache
def disk_indices(size: int, diameter: float) -> NDArray[np.intp]:
    """Return the indices of a central disk whose diameter is a fraction of the side."""
    offset = np.arange(size) - (size - 1) / 2
    return np.flatnonzero(np.hypot(offset[:, None], offset[None, :]) <= diameter * size / 2)
