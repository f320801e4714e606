"""Synthetic crops, all different, that pass the quality checks as bright-field cells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 96
"""Pixels: an instrument's crops are 40 to 100 pixels wide."""

SAMPLE = "sample"


def write_crops(folder: Path, count: int) -> Iterator[int]:
    """Write grey 8-bit PNG files as an instrument might, and yield their number so far.

    Args:
        folder: folder in which a sub-folder, the sample, is created.
        count: number of crops.

    Raises:
        OSError: a file cannot be written.
    """
    (folder / SAMPLE).mkdir(parents=True)
    random = np.random.default_rng(1)
    for number in range(1, count + 1):
        _, data = cv2.imencode(".png", _cell(random))
        (folder / SAMPLE / f"{number:06}_BF.png").write_bytes(data.tobytes())
        yield number


def _cell(random: np.random.Generator) -> NDArray[np.uint8]:
    """A round cell with a dark rim and a textured interior, in uneven light, with camera noise.

    Returns:
        (SIDE, SIDE) uint8.
    """
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) - (SIDE - 1) / 2
    centre, radius = random.uniform(-4, 4, 2), random.uniform(8, 14)
    distance = np.hypot(y - centre[0], x - centre[1]) - radius
    inside = np.clip(0.5 - distance, 0, 1)
    light = 128 + random.uniform(-0.1, 0.1) * x + random.uniform(-0.1, 0.1) * y
    texture = cv2.GaussianBlur(random.normal(0, 1, (SIDE, SIDE)).astype(np.float32), (0, 0), 2)
    field = (
        light
        - 35 * np.exp(-np.square(distance / 1.5))
        + inside * (random.uniform(-12, 12) + 60 * texture)
        + random.normal(0, 2, (SIDE, SIDE))
    )
    return np.asarray(np.clip(np.rint(field), 0, 255), np.uint8)
