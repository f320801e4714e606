"""Segmentation of crops: objects, and the measurements that the quality checks compare.

An object is where the energy, the local mean of the absolute deviation from the background, is
clearly higher than at the border. Outlines are coarse: a downsampled pixel is one to three pixels
of the crop, and part of the diffraction at a cell's rim is inside the outline.

Lengths and areas are in downsampled pixels, unless their names say otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ctcedge.images.batching import map_same_shape, take_pixels
from ctcedge.images.decode import GreyImage
from ctcedge.quality.background import (
    BackgroundModel,
    Floats,
    downsample,
    subtract_background,
)
from ctcedge.quality.outline import Outline, is_compact, separation

_Box = tuple[slice, slice]

_OUTLINE_SIGMAS = 6.5
"""Energy at an object's outline at least, in sigmas of the border's."""
_PEAK_SIGMAS = 8.0
"""Largest energy in an object at least, in sigmas; the noise of an empty crop reaches 4 to 8."""
_OUTLINE_FRACTION = 0.33
"""Energy at the outline, as a fraction of the peak: weak halos stay outside."""
_LOW_CONTRAST_FRACTION = 0.12
"""The same where objects of lower contrast than the main one are looked for."""
_MAX_SINGLE_AREA = 1.4
"""Area above the low-contrast threshold, over that of a single round cell's outline."""
_MIN_AREA = 0.004
"""Area of an object, as a fraction of the downsampled crop."""
_MIN_ENERGY_OVER_NOISE = 2.0
"""Squared deviation of an object whose sharpness can be measured, over that of the noise."""
_HIGH_ENERGY_OVER_NOISE = 50.0
"""The same, from which the gradient of the noise matters for blurred objects only."""
_SHARP = 6.0
"""Sharpness of objects that are not blurred."""
_STRIP = 5
"""Width of the strips along two edges in which the gradient of the noise is measured."""


class DetectedObject(NamedTuple):
    """One object.

    Attributes:
        outline: (n, 1, 2), x and y of the pixels along it.
        area: of what the outline encloses.
        box: rows and columns that it covers.
        sigmas: its largest energy above the border's, in sigmas there.
    """

    outline: Outline
    area: float
    box: _Box
    sigmas: float

    @property
    def is_compact(self) -> bool:
        """Whether it has the shape of a cell, see `outline.is_compact`."""
        return is_compact(self.outline)

    @property
    def diameter(self) -> float:
        """Diameter of a disc of the same area."""
        return 2 * math.sqrt(self.area / math.pi)

    @property
    def in_focus_sharpness(self) -> float:
        """Sharpness of a uniform disc of its size in focus; small discs have few edge pixels."""
        return math.sqrt(0.94 * self.diameter)

    @property
    def is_round(self) -> bool:
        """Whether it fills its box about as a disc does, which two discs side by side do not."""
        rows, columns = self.box
        fill = self.area / ((rows.stop - rows.start) * (columns.stop - columns.start))
        height, width = (int(side.stop - side.start) for side in self.box)
        return fill > 0.72 and max(height, width) < 1.2 * min(height, width)


class NoiseModel(NamedTuple):
    """Energy where no object is, estimated from the quieter part of the border.

    Attributes:
        base: its typical value.
        sigma: its standard deviation.
        upper: 75th percentile of the border, less the base.
        peak: 96th percentile of the center, less the base: below a cell's brightest spots.
        highest: largest value of the center, less the base.
    """

    base: float
    sigma: float
    upper: float
    peak: float
    highest: float

    @classmethod
    def fit(cls, energy: Floats, background: BackgroundModel) -> list[NoiseModel]:
        """Fit one to each energy of (n, h, w)."""
        border = take_pixels(energy, background.border)
        center = take_pixels(energy, background.center)
        border.sort(axis=1)
        center.sort(axis=1)
        last = border.shape[1] - 1
        q08, q35, q75 = (border[:, round(quantile * last)] for quantile in (0.08, 0.35, 0.75))
        q96, highest = center[:, round(0.96 * (center.shape[1] - 1))], center[:, -1]
        values = (quantile.tolist() for quantile in (q08, q35, q75, q96, highest))
        return [cls._from_quantiles(*quantiles) for quantiles in zip(*values, strict=True)]

    @classmethod
    def _from_quantiles(
        cls, q08: float, q35: float, q75: float, q96: float, highest: float
    ) -> NoiseModel:
        # Of a normal variable, the first two differ by one standard deviation.
        sigma = max(q35 - q08, 0.1 * q35, 0.001)
        return cls(q35, sigma, q75 - q35, q96 - q35, highest - q35)

    def sigmas(self, energy: float) -> float:
        """Convert an energy above the base to sigmas."""
        return energy / self.sigma

    def outline(self, fraction: float) -> float:
        """Return the energy at outlines, for a fraction of the peak; an active border raises it."""
        energy = min(max(fraction * self.peak, 1.3 * self.upper), 0.5 * self.peak)
        return self.base + max(_OUTLINE_SIGMAS * self.sigma, energy)


@dataclass(eq=False)
class Segmentation:
    """Objects of a crop, and measurements; costly ones are computed when they are first read.

    Attributes:
        level: value of the background.
        deviation: smoothed relative deviation from the background.
        energy: local mean of its absolute value.
        noise: the energy where no object is.
        objects: the main one first: large, and near the center.
        sharpness: of the main object, see `_sharpness`; None where there is more noise than object.
        edge_contact: longest stretch of the crop's edge in the main object, over the object's
            diameter.
    """

    level: float
    deviation: Floats
    energy: Floats
    noise: NoiseModel
    objects: tuple[DetectedObject, ...]
    sharpness: float | None
    edge_contact: float

    @property
    def contrast(self) -> float:
        """Largest energy of the center above the border's, as a fraction of the background."""
        return self.noise.highest

    @property
    def peak_sigmas(self) -> float:
        """The same in sigmas of the border's energy."""
        return self.noise.sigmas(self.noise.highest)

    @property
    def border_activity(self) -> float:
        """75th percentile of the border's energy, in sigmas.

        1.3 for noise; more for a pattern, or a cell that fills the crop.
        """
        return self.noise.sigmas(self.noise.upper)

    @property
    def is_central(self) -> bool:
        """Whether the main object covers the center, as electrodes beside a cell do not."""
        (rows, columns), (height, width) = self.objects[0].box, self.deviation.shape
        return bool(
            rows.start <= height // 2 < rows.stop and columns.start <= width // 2 < columns.stop
        )

    @cached_property
    def low_contrast_objects(self) -> tuple[DetectedObject, ...]:
        """Objects found by a lower threshold, the main one first; none where it is alone.

        They include cells of lower contrast than the main one, in wider outlines.
        """
        main = self.objects[0]
        mask = self.energy > self.noise.outline(_LOW_CONTRAST_FRACTION)
        if main.is_round and np.count_nonzero(mask) < _MAX_SINGLE_AREA * main.area:
            return ()
        return _detect(mask, self.energy, self.noise)

    @cached_property
    def separation(self) -> float | None:
        """Separation of two cells in the outline of the main low-contrast object.

        None where it is one cell, see `outline.separation`.
        """
        main = self.low_contrast_objects[0]
        return None if main.is_round else separation(main.outline)


def segment(crops: Sequence[GreyImage]) -> list[Segmentation]:
    """Segment crops, each independently of the others.

    Args:
        crops: each (height, width), uint8 or uint16, at least 8 pixels a side.
    """
    return map_same_shape(_segment, [downsample(pixels) for pixels in crops])


def _segment(crops: GreyImage) -> list[Segmentation]:
    """Segment each of (n, h, w), made by `downsample`."""
    background = subtract_background(crops)
    deviations = _filter_3x3(
        background.deviations, lambda rows: cv2.GaussianBlur(rows, (3, 3), 0.8)
    )
    energies = _filter_3x3(np.abs(deviations), lambda rows: cv2.blur(rows, (3, 3)))
    noises = NoiseModel.fit(energies, background)
    thresholds = np.array([noise.outline(_OUTLINE_FRACTION) for noise in noises], np.float32)
    masks = energies > thresholds[:, None, None]
    segmentations = []
    for level, deviation, energy, noise, mask in zip(
        background.levels, deviations, energies, noises, masks, strict=True
    ):
        objects = _detect(mask, energy, noise)
        sharpness = _sharpness(objects[0], deviation, noise) if objects else None
        contact = _edge_contact(objects[0], *energy.shape) if objects else 0.0
        segmentations.append(
            Segmentation(level, deviation, energy, noise, objects, sharpness, contact)
        )
    return segmentations


def _sharpness(main: DetectedObject, deviation: Floats, noise: NoiseModel) -> float | None:
    """Return the sharpness of an object, which depends on neither its size nor its contrast.

    The root mean square of the gradient over that of the deviation, both less the noise's, times
    the diameter: 2.4 for a Gaussian blob, about 3 for a strongly blurred disc, and 6 to 20 for
    cells whose interior shows. None where there is more noise than object.
    """
    inside = deviation[main.box]
    noise_square = (1.25 * noise.base) ** 2 * inside.size
    square = cv2.norm(inside, cv2.NORM_L2SQR) - noise_square
    if square < _MIN_ENERGY_OVER_NOISE * noise_square:
        return None
    gradient = _gradient(inside) + cv2.norm(inside[1:], inside[:-1], cv2.NORM_L2SQR)
    is_blurred = gradient * main.diameter**2 < _SHARP**2 * square
    if is_blurred or square < _HIGH_ENERGY_OVER_NOISE * noise_square:
        strips = deviation[:_STRIP], deviation[-_STRIP:]
        # The gradient along the quieter of two edges is used for both directions.
        gradient -= 2 * min(map(_gradient, strips)) / strips[0].size * inside.size
    return math.sqrt(max(gradient, 0.0) / square) * main.diameter


def _gradient(values: Floats) -> float:
    """Sum of the squared differences between horizontal neighbours."""
    return cv2.norm(values[:, 1:], values[:, :-1], cv2.NORM_L2SQR)


def _edge_contact(main: DetectedObject, height: int, width: int) -> float:
    """Return the longest stretch of the crop's edge in an object, over the object's diameter."""
    rows, columns = main.box
    if rows.start and columns.start and rows.stop < height and columns.stop < width:
        return 0.0
    x, y = main.outline[:, 0, 0], main.outline[:, 0, 1]
    edges = (
        (rows.start == 0, y, 0),
        (rows.stop == height, y, height - 1),
        (columns.start == 0, x, 0),
        (columns.stop == width, x, width - 1),
    )
    stretches = (np.count_nonzero(at == edge) for touches, at, edge in edges if touches)
    return int(max(stretches, default=0)) / main.diameter


def _filter_3x3(images: Floats, apply: Callable[[Floats], NDArray[Any]]) -> Floats:
    """Filter each of (n, h, w) in one call: stacked, with mirrored rows between them."""
    count, height, width = images.shape
    padded = np.empty((count, height + 2, width), np.float32)
    padded[:, 1:-1] = images
    padded[:, 0], padded[:, -1] = images[:, 1], images[:, -2]
    filtered: Floats = apply(padded.reshape(-1, width)).reshape(padded.shape)
    return filtered[:, 1:-1]


def _detect(
    mask: NDArray[np.bool_], energy: Floats, noise: NoiseModel
) -> tuple[DetectedObject, ...]:
    """Outline the objects that are large and clear enough in a mask, (h, w), of high energy."""
    height, width = energy.shape
    outlines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    min_area = max(6, _MIN_AREA * mask.size)
    reach = 0.175 * max(height, width)
    ranked = []
    for outline in outlines:
        length = len(outline)
        if length**2 < 4 * math.pi * min_area / 3:  # too short to enclose that area
            continue
        # An outline runs through the middle of its pixels.
        area = cv2.contourArea(outline) + length / 2
        if area < min_area:
            continue
        left, top, box_width, box_height = cv2.boundingRect(outline)
        box = slice(top, top + box_height), slice(left, left + box_width)
        sigmas = noise.sigmas(cv2.minMaxLoc(energy[box])[1] - noise.base)
        if sigmas >= _PEAK_SIGMAS:
            off_center = math.hypot(left + (box_width - width) / 2, top + (box_height - height) / 2)
            detected = DetectedObject(np.asarray(outline, np.int32), area, box, sigmas)
            ranked.append((area / (1 + (off_center / reach) ** 2), detected))
    ranked.sort(key=lambda pair: -pair[0])
    return tuple(detected for _, detected in ranked)
