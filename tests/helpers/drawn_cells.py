"""Draw small cells as the tests' model sees them, and write them as image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

UM_PER_PX = 0.5


# Diameters in pixels that the tests' model calls so, at its own um/px.
LEUKOCYTE, REVIEW, CTC = 16, 24, 32


def cell(
    diameter: float = CTC,
    side: int | tuple[int, int] = 64,
    background: float = 128.0,
    contrast: float = 60.0,
    dtype: Any = np.uint8,
) -> np.ndarray:
    """Draw a dark disk with soft edges in the middle of a flat field."""
    height, width = (side, side) if isinstance(side, int) else side
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    inside = np.clip(diameter / 2 - radius + 0.5, 0, 1)
    drawn: np.ndarray = np.rint(background - contrast * inside).astype(dtype)
    return drawn


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write pixels as the kind of file that the name ends in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(pixels, path.suffix.lower()))
    return path


def encoded(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    whole, data = cv2.imencode(suffix, pixels)
    assert whole
    return data.tobytes()
