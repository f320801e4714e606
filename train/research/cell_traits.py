"""Traits of a crop that may make a cell hard to classify: sharpness, contrast, size, position."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.columns import Columns

_FINE, _COARSE = (0.8, 1.6), (3.0, 12.0)
"""Scales of the differences of Gaussians that make up fine and coarse structure, pixels."""

_MIN_DEVIATION = 1e-3

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Traits(Columns):
    """Traits of crops, one a row.

    Attributes:
        sharpness: (n,) fine structure in the bright field of the cell: its standard deviation over
            that around the cell; 1 for a cell far out of focus.
        contrast: (n,) coarse structure in the bright field of the cell, in the same way.
        diameter: (n,) of a disk as large as the stained region, crop pixels.
        edge: (n,) from the stained region's middle to the nearest edge of the crop, pixels.
    """

    sharpness: NDArray[np.float64]
    contrast: NDArray[np.float64]
    diameter: NDArray[np.float64]
    edge: NDArray[np.float64]


def traits_of(bright: NDArray[np.generic], nucleus: NDArray[np.generic]) -> tuple[float, ...]:
    """Measure one crop, two (height, width) images of a cell; a row of `Traits`.

    The stained region gives the position of the cell, as many are invisible in bright field.
    """
    image = bright.astype(np.float32)
    region, x, y = _stained(nucleus.astype(np.float32))
    height, width = image.shape
    return (
        *(_structure(image, region, *scales) for scales in (_FINE, _COARSE)),
        2 * float(np.sqrt(np.count_nonzero(region) / np.pi)),
        min(x, y, width - 1 - x, height - 1 - y),
    )


def _stained(nucleus: Image) -> tuple[NDArray[np.bool_], float, float]:
    """Return the stained region nearest to the middle of the crop, and its centroid."""
    smooth = cv2.GaussianBlur(nucleus, (0, 0), 2)
    low, high = float(smooth.min()), float(smooth.max())
    levels = ((smooth - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
    _, stained = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    _, label, box, middle = cv2.connectedComponentsWithStats(stained)
    centre = np.array(nucleus.shape[::-1]) / 2
    near = np.hypot(*(middle[1:] - centre).T) - np.sqrt(box[1:, cv2.CC_STAT_AREA] / np.pi)
    if not near.size:
        raise ValueError("the nucleus image is uniform")
    best = 1 + int(np.argmin(near))
    region = label == best
    return region, float(middle[best, 0]), float(middle[best, 1])


def _structure(image: Image, region: NDArray[np.bool_], fine: float, coarse: float) -> float:
    """Standard deviation of a band of scales within a region over that around it."""
    band = cv2.GaussianBlur(image, (0, 0), fine) - cv2.GaussianBlur(image, (0, 0), coarse)
    return float(band[region].std()) / max(float(band[~region].std()), _MIN_DEVIATION)
