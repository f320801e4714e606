"""Background subtraction: downsampled crops as relative deviations from their background.

The background is not flat: illumination varies slowly over a crop, and electrodes run straight
through it. Both look the same at opposite edges of the crop, where there is seldom a cell, so what
opposite edges have in common is the background.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ctcedge.images.batching import take_pixels
from ctcedge.images.decode import GreyImage

Floats = NDArray[np.float32]

_TARGET_SIDE = 48
"""Wanted side of a downsampled crop; whole pixels are averaged, so that it has 32 to 72."""
_BORDER = 0.1
"""Width of the border, as a fraction of the shorter side."""
_MIN_LINE_CONTRAST = 0.02
"""Relative deviation from which straight lines are subtracted."""
_MIN_TAIL_RATIO = 2.3
"""From which tail ratio of the border's values lines are looked for: the range of the middle 94 %
over that of the middle 68 %, which is 1.9 for noise."""


class BackgroundModel(NamedTuple):
    """Background of downsampled crops of one shape, and what deviates from it.

    Attributes:
        levels: the background's value in each crop.
        deviations: (n, h, w), relative deviation from the background.
        border: indices of every third pixel of the border.
        center: indices of a grid of every third pixel of the region where cells are expected.
    """

    levels: list[float]
    deviations: Floats
    border: NDArray[np.intp]
    center: NDArray[np.intp]


@lru_cache(64)  # an export has crops of few sizes
def downsampling_factor(height: int, width: int) -> int:
    """Return the edge length of a downsampled pixel, in pixels of a crop of this shape."""
    return max(1, min(round(max(height, width) / _TARGET_SIDE), min(height, width) // 8))


def downsample(pixels: GreyImage) -> GreyImage:
    """Downsample a crop, (height, width) of at least 8 pixels a side, by `downsampling_factor`."""
    height, width = pixels.shape
    factor = downsampling_factor(height, width)
    if factor == 1:
        return pixels
    rows, columns = height // factor, width // factor
    whole = pixels[: rows * factor, : columns * factor]
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def subtract_background(crops: GreyImage) -> BackgroundModel:
    """Estimate and subtract the background of crops, each independently of the others.

    Slow gradients in x and y add up; where lines cross, the stronger one counts.

    Args:
        crops: (n, h, w), uint8 or uint16, made by `downsample`.
    """
    geometry = _geometry(*crops.shape[1:])
    deviations = crops.astype(np.float32)
    along_x = geometry.row_means @ deviations @ geometry.basis_x
    along_y = (deviations @ geometry.column_means).swapaxes(1, 2) @ geometry.basis_y
    edges = np.concatenate((along_x, along_y), axis=2)
    gradients = _common_part(edges[:, 0], edges[:, 1])
    deviations -= (gradients[:, None] @ geometry.gradients).reshape(deviations.shape)
    border = take_pixels(deviations, geometry.border)
    border.sort(axis=1)
    levels = []
    for deviation, values in zip(
        deviations, border.take(geometry.quantiles, axis=1).tolist(), strict=True
    ):
        q03, q16, median, q84, q97 = values
        if q97 - q03 > max(_MIN_TAIL_RATIO * (q84 - q16), _MIN_LINE_CONTRAST * median):
            _subtract_lines(deviation, geometry, median)
        levels.append(max(median, 1e-3))
    deviations *= np.array([1 / level for level in levels], np.float32)[:, None, None]
    deviations -= 1
    return BackgroundModel(levels, deviations, geometry.border, geometry.center)


def _common_part(first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """Return the smaller of two values of the same sign; 0 where their signs differ."""
    common: Floats = np.maximum(np.minimum(first, second), np.minimum(np.maximum(first, second), 0))
    return common


def _subtract_lines(deviation: Floats, geometry: _Geometry, level: float) -> None:
    """Subtract straight lines that opposite edges have in common; where two cross, the stronger."""
    along_x = _common_profile(geometry.row_means @ deviation)
    along_y = _common_profile((deviation @ geometry.column_means).T)
    peak = max(cv2.norm(profile, cv2.NORM_INF) for profile in (along_x, along_y))
    if peak > _MIN_LINE_CONTRAST * level:
        along_y = along_y[:, None]
        deviation -= np.where(np.abs(along_x) > np.abs(along_y), along_x, along_y)


def _common_profile(edges: Floats) -> Floats:
    """Return what two opposite edges, (2, n), have in common after their medians are subtracted."""
    half = edges.shape[1] // 2
    return _common_part(*(edges - np.partition(edges, half, axis=1)[:, half : half + 1]))


class _Geometry(NamedTuple):
    """Index and weight arrays for downsampled crops of one shape, (h, w).

    Attributes:
        border: see `BackgroundModel`.
        center: see `BackgroundModel`.
        quantiles: indices of the 3, 16, 50, 84 and 97 % quantiles in the sorted border.
        row_means: (2, h) weights that average the first and the last rows.
        column_means: (w, 2) weights that average the first and the last columns.
        basis_x: (w, 2), a slope and a parabola along x, orthonormal.
        basis_y: (h, 2), the same along y.
        gradients: (4, h * w), images of these four.
    """

    border: NDArray[np.intp]
    center: NDArray[np.intp]
    quantiles: NDArray[np.intp]
    row_means: Floats
    column_means: Floats
    basis_x: Floats
    basis_y: Floats
    gradients: Floats


@lru_cache(64)  # an export has crops of few sizes
def _geometry(height: int, width: int) -> _Geometry:
    edge = max(2, round(_BORDER * min(height, width)))
    indices = np.arange(height * width).reshape(height, width)
    outside = np.ones((height, width), bool)
    outside[edge:-edge, edge:-edge] = False
    border = indices[outside][::3]
    top, left = height // 5, width // 5
    basis_x, basis_y = _polynomial_basis(width), _polynomial_basis(height)
    flat = np.ones((2, height, width), np.float32)
    quantiles = [round(quantile * (border.size - 1)) for quantile in (0.03, 0.16, 0.5, 0.84, 0.97)]
    return _Geometry(
        border,
        indices[top : height - top : 3, left : width - left : 3].ravel(),
        np.array(quantiles),
        _edge_means(height, edge),
        np.ascontiguousarray(_edge_means(width, edge).T),
        basis_x,
        basis_y,
        np.concatenate((flat * basis_x.T[:, None], flat * basis_y.T[..., None])).reshape(4, -1),
    )


def _edge_means(size: int, edge: int) -> Floats:
    """Weights, (2, size), of the mean over the first and over the last `edge` values."""
    weights = np.zeros((2, size), np.float32)
    weights[0, :edge] = weights[1, -edge:] = 1 / edge
    return weights


def _polynomial_basis(size: int) -> Floats:
    """Orthonormal polynomials of degree 1 and 2, (size, 2)."""
    basis, _ = np.linalg.qr(np.linspace(-1, 1, size)[:, None] ** np.arange(3))
    return np.asarray(basis[:, 1:], np.float32)
