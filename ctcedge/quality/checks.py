"""Quality checks: reasons why a crop must not be called by the network alone.

A flagged crop keeps its probability and goes to a person, with reasons:

    empty             no cell is visible
    out-of-focus      the cell is a blur without an edge
    truncated         the cell extends beyond the crop's edge
    debris            too small for a cell, alive or dead
    under-exposed     hardly any light, or pixels at zero
    over-exposed      pixels are saturated
    low-resolution    crop or scale are too coarse to judge a cell
    colour            the image is in colour: no bright field, or an overlay
    oversized         the crop is far larger than a cell, as a montage is
    multiple-objects  another object of a cell's size is in view, separate from the first
    overlap           cells overlap

Touching cells are a `cluster`, which is a flag and not a reason. Overlapping, touching and separate
cells differ in their separation: the distance of two cells over the sum of their radii.

Rules on true sizes, such as that of debris, need um/px and are skipped where it is unknown or only
assumed.

The thresholds were chosen on simulated and real crops so that ordinary cells pass: checks that send
everything to review are of no use. Not flagged is what cannot be distinguished: a dead cell or
debris of a live cell's size, cells that overlap by half or more, a cell of far less contrast than
the one beside it, and an empty cage whose electrodes look like an object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ctcedge.images.decode import CropImage
from ctcedge.images.preprocess import BACKGROUND_LEVEL, InputSpec
from ctcedge.quality.background import downsampling_factor
from ctcedge.quality.exposure import (
    MAX_SATURATED_FRACTION,
    SIGN_OFFSET,
    View,
    is_dark,
    is_offset,
    saturated_fraction,
)
from ctcedge.quality.segmentation import DetectedObject, Segmentation, segment

QUALITY_VERSION = "quality/3"
"""Version of the rules below; part of the fingerprint of stored calls."""

Reason = Literal[
    "empty",
    "out-of-focus",
    "truncated",
    "debris",
    "under-exposed",
    "over-exposed",
    "low-resolution",
    "colour",
    "oversized",
    "multiple-objects",
    "overlap",
]
"""Code of a review reason. Each one has a text in the report and a row in the documentation."""

_MIN_SIDE = 20
"""Shorter side of the crop, in pixels."""
_MAX_ZOOM = 2.5
"""Input pixels per pixel of the crop: at 0.5 um/px of the model, 1.25 um/px."""
_MAX_BLANK_LEVELS = 2
"""Largest deviation from the background level in a blank input of the network."""
_MAX_EMPTY_SIGMAS = 9.0
_MAX_EMPTY_CONTRAST = 0.12
"""Largest energy that noise causes, as a fraction of the background."""
_MAX_BORDER_ACTIVITY = 2.2
"""Largest border activity of an empty crop."""
_MIN_TRUNCATED_SIGMAS = 12.0
_MIN_FOCUS_SIGMAS = 18.0
"""By how many sigmas an object must stand out for its focus to be judged."""
_MIN_SHAPE_SIGMAS = 24.0
"""The same for its shape."""
_MIN_SHARPNESS = 3.3
_MIN_RELATIVE_SHARPNESS = 0.85
"""Sharpness of an object in focus, over that of a uniform disc of its size in focus."""
_MIN_CELL_UM = 6.0
"""Diameter of a cell's outline, which is about 1 um outside: small leukocytes have 5 um or more."""
_MIN_NEIGHBOUR_UM = 7.8
"""The same in the wider outlines of the low-contrast threshold."""
_MAX_EDGE_CONTACT = 0.45
"""Longest stretch of the crop's edge in a whole cell, over the cell's diameter."""
_MIN_NEIGHBOUR_AREA = 0.35
"""Area of a neighbour, over the main object's."""
_OVERLAPPING, _TOUCHING, _SEPARATE = 0.58, 0.74, 1.0
"""Separation from which cells count as overlapping, as touching, and as separate."""
_MAX_ACTIVITY = 5.0, 0.2
"""Border activity up to which neighbours are looked for: in sigmas, or as a fraction of the peak's,
whichever is larger."""


class Quality(NamedTuple):
    """Result of the quality checks.

    Attributes:
        reasons: codes; none for a crop that passes.
        cluster: whether cells touch.
        measures: rounded numbers. `cells`: number of objects of a cell's size; `saturated`:
            fraction of saturated pixels; of the main object, where there is one, `area_um2`, or
            `area_px` where um/px is unknown, and `focus`, see `Segmentation.sharpness`, where it
            exceeds the noise clearly; `offset` where all values are those of signed numbers that
            were written as unsigned: what was added.
    """

    reasons: tuple[Reason, ...]
    cluster: bool
    measures: dict[str, float]


def assess(
    images: Sequence[CropImage],
    network_inputs: NDArray[np.uint8],
    um_per_px: float | None,
    spec: InputSpec,
) -> list[Quality]:
    """Segment and check crops, each independently of the others.

    Only the central part is checked, twice as wide as the network's field of view: `View.pixels`
    and the segmentation contain that part alone. `View.shorter_side`, `lowest` and `highest` are
    those of the whole crop. Rows and columns of zeros along the edge are padding, and not part of
    the crop.

    Args:
        images: the crops, at least 8 pixels a side.
        network_inputs: (n, size, size), made of them.
        um_per_px: edge length of a pixel, um; None where unknown, which includes a scale that is
            only assumed: rules on true sizes are skipped.
        spec: of the network's input.
    """
    zoom = spec.zoom(um_per_px)
    side = round(2 * spec.size / zoom)
    views = [View.of(image.pixels, image.bits, side, is_colour=image.is_colour) for image in images]
    segmentations = segment([view.pixels for view in views])
    return [
        check(segmentation, view, network_input, um_per_px, zoom)
        for segmentation, view, network_input in zip(
            segmentations, views, network_inputs, strict=True
        )
    ]


def check(
    segmentation: Segmentation,
    view: View,
    network_input: NDArray[np.uint8],
    um_per_px: float | None,
    zoom: float,
) -> Quality:
    """Compare the measurements of a crop with the thresholds.

    Args:
        segmentation: of the view.
        view: the part of the crop that is checked.
        network_input: (size, size), made of the crop.
        um_per_px: edge length of a pixel of the crop, um; None where unknown.
        zoom: input pixels per pixel of the crop.
    """
    saturated = saturated_fraction(view, segmentation.level)
    reasons: list[Reason] = []
    if view.shorter_side < _MIN_SIDE or (um_per_px is not None and zoom > _MAX_ZOOM):
        reasons.append("low-resolution")
    if is_dark(view, segmentation.level):
        reasons.append("under-exposed")
    if saturated > MAX_SATURATED_FRACTION:
        reasons.append("over-exposed")
    if view.is_colour:
        reasons.append("colour")
    if view.is_oversized:
        reasons.append("oversized")
    measures = {"cells": 0.0, "saturated": round(saturated, 4)}
    if is_offset(view):
        measures["offset"] = SIGN_OFFSET
    if _is_empty(segmentation, network_input):
        return Quality((*reasons, "empty"), False, measures)
    if not segmentation.objects:
        return Quality(tuple(reasons), False, measures)
    pixel_size = downsampling_factor(*view.pixels.shape)
    pixel_um = None if um_per_px is None else pixel_size * um_per_px
    neighbours = _neighbours(segmentation, pixel_um)
    measures["cells"] = float(neighbours.cells)
    measures |= _object_measures(segmentation, pixel_size, pixel_um)
    reasons += _object_reasons(segmentation, view.is_whole, pixel_um)
    return Quality((*reasons, *neighbours.reasons), neighbours.cluster, measures)


def _is_empty(segmentation: Segmentation, network_input: NDArray[np.uint8]) -> bool:
    """Whether nothing exceeds the noise, or the network's input is blank."""
    if segmentation.contrast > _MAX_EMPTY_CONTRAST:
        return False
    is_noise = (
        segmentation.peak_sigmas < _MAX_EMPTY_SIGMAS
        and segmentation.border_activity < _MAX_BORDER_ACTIVITY
    )
    if is_noise and not segmentation.objects:
        return True
    low, high, _, _ = cv2.minMaxLoc(network_input)
    return max(BACKGROUND_LEVEL - low, high - BACKGROUND_LEVEL) <= _MAX_BLANK_LEVELS


def _object_measures(
    segmentation: Segmentation, pixel_size: int, pixel_um: float | None
) -> dict[str, float]:
    area = segmentation.objects[0].area
    if pixel_um is None:
        measures = {"area_px": float(round(area * pixel_size**2))}
    else:
        measures = {"area_um2": round(area * pixel_um**2, 1)}
    if segmentation.sharpness is not None:
        measures["focus"] = round(segmentation.sharpness, 2)
    return measures


def _object_reasons(
    segmentation: Segmentation, is_whole: bool, pixel_um: float | None
) -> list[Reason]:
    """Return the reasons that concern the main object alone."""
    main = segmentation.objects[0]
    reasons: list[Reason] = []
    if main.sigmas >= _MIN_FOCUS_SIGMAS and segmentation.is_central:
        min_sharpness = min(_MIN_SHARPNESS, _MIN_RELATIVE_SHARPNESS * main.in_focus_sharpness)
        if segmentation.sharpness is not None and segmentation.sharpness < min_sharpness:
            reasons.append("out-of-focus")
    if is_whole and main.sigmas >= _MIN_TRUNCATED_SIGMAS:
        if segmentation.edge_contact > _MAX_EDGE_CONTACT:
            reasons.append("truncated")
    if pixel_um is not None and main.diameter * pixel_um < _MIN_CELL_UM:
        reasons.append("debris")
    return reasons


class _Neighbours(NamedTuple):
    """Cells in view: their number with the main one, whether they touch, and reasons."""

    cells: int = 1
    cluster: bool = False
    reasons: tuple[Reason, ...] = ()


def _neighbours(segmentation: Segmentation, pixel_um: float | None) -> _Neighbours:
    """Find cells beside the main one, separate from it or in its outline."""
    max_activity = max(_MAX_ACTIVITY[0], _MAX_ACTIVITY[1] * segmentation.peak_sigmas)
    if (
        segmentation.objects[0].sigmas < _MIN_SHAPE_SIGMAS
        or segmentation.border_activity > max_activity
        or not segmentation.low_contrast_objects
    ):
        return _Neighbours()
    main, *others = segmentation.low_contrast_objects
    separate = sum(_is_neighbour(other, main, pixel_um) for other in others)
    separation = segmentation.separation
    if separation is None or separation < _OVERLAPPING:
        return _Neighbours(1 + separate, False, ("multiple-objects",) if separate else ())
    reasons: list[Reason] = ["multiple-objects"] if separate or separation >= _SEPARATE else []
    if separation < _TOUCHING:
        reasons.append("overlap")
    return _Neighbours(2 + separate, _TOUCHING <= separation < _SEPARATE, tuple(reasons))


def _is_neighbour(other: DetectedObject, main: DetectedObject, pixel_um: float | None) -> bool:
    """Whether an object is of a cell's size, contrast and shape."""
    return (
        other.area >= _MIN_NEIGHBOUR_AREA * main.area
        and other.sigmas >= _MIN_SHAPE_SIGMAS
        and (pixel_um is None or other.diameter * pixel_um >= _MIN_NEIGHBOUR_UM)
        and other.is_compact
    )
