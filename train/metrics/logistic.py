"""Logistic regression in a few Newton steps, both classes counting the same.

Small enough to need no scikit-learn: it serves the two-parameter probability calibration (Platt,
1999) and the three-parameter size baseline.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RIDGE = 1e-6
"""Keeps separable classes from sending the coefficients to infinity."""


def class_weights(positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (n,) weights that sum to 1, one half for each class.

    Raises:
        ValueError: only one class is there.
    """
    positives = int(positive.sum())
    if positives in (0, len(positive)):
        raise ValueError("cells of one class only; CTCs and others are needed")
    return np.where(positive, 0.5 / positives, 0.5 / (len(positive) - positives))


def fit_logistic(
    features: NDArray[np.floating],
    positive: NDArray[np.bool_],
    target: NDArray[np.float64] | None = None,
    steps: int = 50,
) -> NDArray[np.float64]:
    """Fit P(positive) = sigmoid(features @ c[:-1] + c[-1]) at equal class shares.

    Args:
        features: (n, k), of similar scale.
        positive: (n,).
        target: (n,) probabilities to fit; None for those that `positive` says, 1 and 0.
        steps: of Newton's method.

    Returns:
        (k + 1,) coefficients, the intercept last.

    Raises:
        ValueError: only one class is there.
    """
    design = np.column_stack((features, np.ones(len(features)))).astype(np.float64)
    weights = class_weights(positive)
    target = positive.astype(np.float64) if target is None else target
    coefficients = np.zeros(design.shape[1])
    for _ in range(steps):
        expected = sigmoid(design @ coefficients)
        gradient = design.T @ (weights * (target - expected)) - _RIDGE * coefficients
        curvature = design.T @ (design * (weights * expected * (1 - expected))[:, None])
        change = np.linalg.solve(curvature + _RIDGE * np.eye(len(coefficients)), gradient)
        coefficients += change
        if np.abs(change).max() < 1e-10:
            break
    return coefficients


def sigmoid(score: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-score)) without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * score.astype(np.float64)))
