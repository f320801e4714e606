"""The size-only baseline, which a network must exceed to use more than size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from ctcedge.images.preprocess import BACKGROUND_LEVEL, InputSpec

Diameters = NDArray[np.floating]

_RINGS_PER_PIXEL = 2
_ANGLES = 72
_INVERSE_RIDGE = 1e6
"""For one cell; the ridge keeps separable classes from sending the coefficients to infinity."""

_MARGIN = 0.08
"""Fraction of the radii ignored at both ends: few pixels in the centre, the window's edge."""


def measured_diameter(inputs: NDArray[np.uint8], spec: InputSpec) -> float:
    """Measure the central object of one input, (size, size).

    Its edge is the circle about the centre across which the mean brightness changes most
    (Daugman's operator, 1993). The square root of the radius
    reduces the weight of small circles, which are noisy.

    Returns:
        The circle's diameter, input pixels.
    """
    half = spec.size / 2
    rings = round(half * _RINGS_PER_PIXEL)
    levels = inputs.astype(np.float32) - BACKGROUND_LEVEL
    centre = (half - 0.5, half - 0.5)
    polar = cv2.warpPolar(levels, (rings, _ANGLES), centre, half, cv2.WARP_POLAR_LINEAR)
    brightness = cv2.GaussianBlur(polar.mean(axis=0)[None], (0, 0), 1.5)[0]
    step = np.abs(np.gradient(brightness)) * np.sqrt(np.arange(rings))
    margin = round(_MARGIN * rings)
    edge = margin + int(np.argmax(step[margin : rings - margin]))
    return 2 * edge / _RINGS_PER_PIXEL


def measured_diameters(inputs: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float64]:
    """Measure (n, size, size) inputs; (n,) input pixels."""
    return np.array([measured_diameter(cell, spec) for cell in inputs])


def size_score(
    training: Diameters, training_positive: NDArray[np.bool_], test: Diameters
) -> NDArray[np.float64]:
    """Score test cells by a logistic regression on diameter and its square.

    With the square, a range of sizes, and not only the largest, can be typical of CTCs.

    Args:
        training: (n,) diameters, of any unit.
        training_positive: (n,).
        test: (m,) diameters, of the same unit.

    Returns:
        (m,) log odds at equal class weights.
    """
    mean, spread = training.mean(), max(float(training.std()), 1e-9)

    def features(diameter: Diameters) -> NDArray[np.float64]:
        z = (diameter - mean) / spread
        return np.column_stack((z, z**2)).astype(np.float64)

    regression = LogisticRegression(
        class_weight="balanced",
        C=_INVERSE_RIDGE / len(training),
        solver="newton-cholesky",
        tol=1e-8,
    ).fit(features(training), training_positive)
    score: NDArray[np.float64] = regression.decision_function(features(test))
    return score
