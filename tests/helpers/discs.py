"""Discs drawn on noise, for tests of the segmentation."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 90
"""Side of the crops, in pixels."""


def noisy(values: NDArray[Any], noise: float = 1.0) -> NDArray[np.uint8]:
    """Add normal noise of that standard deviation."""
    drawn = values + np.random.default_rng(0).normal(0, noise, values.shape)
    return np.clip(np.rint(drawn), 0, 255).astype(np.uint8)


def discs(*placed: tuple[float, float, float], value: int = 68) -> NDArray[np.uint8]:
    """Draw discs (x, y, diameter), x and y from the center."""
    field = np.full((SIDE, SIDE), 128, np.uint8)
    for x, y, diameter in placed:
        center = round((SIDE / 2 + x) * 16), round((SIDE / 2 + y) * 16)
        cv2.circle(field, center, round(diameter * 8), value, cv2.FILLED, cv2.LINE_AA, 4)
    return noisy(cv2.GaussianBlur(field, (0, 0), 0.7))
