"""Extent of a crop: whether it shows far more than one cell, as a montage of cells does."""

from __future__ import annotations

import cv2
import numpy as np

from ctcedge.images.decode import GreyImage

_MIN_SIDES = 2.0
"""Longer side of a crop whose margin is looked at, over the network's field of view."""
_MAX_SIDES = 8.0
"""Longer side of any crop of one cell."""
_BLOCKS = 2
"""Blocks across the field of view: of about a cell's size."""
_MIN_ENERGY = 0.4
"""Energy of a block in which there is something, over the largest one in the middle."""
_MAX_COVERED = 0.35
"""Largest fraction of the blocks outside the field of view in which there is something: a cell or
two elsewhere in a large crop are not in the way."""


def is_oversized(pixels: GreyImage, field: int) -> bool:
    """Whether a crop is far larger than a cell, or large and full of objects.

    Args:
        pixels: (height, width) of the crop.
        field: side of the network's field of view, pixels of the crop.
    """
    longer = max(pixels.shape)
    if longer <= _MIN_SIDES * field:
        return False
    if longer > _MAX_SIDES * field:
        return True
    values = pixels.astype(np.float32)
    local = cv2.blur(values, (field // 4 | 1, field // 4 | 1))
    energy = cv2.blur(cv2.absdiff(values, local), (field // 16 | 1, field // 16 | 1))
    side = max(1, field // _BLOCKS)
    height, width = pixels.shape
    tops, lefts = (range(0, max(1, length - side + 1), side) for length in (height, width))
    inside: list[float] = []
    outside: list[float] = []
    for top in tops:
        for left in lefts:
            largest = float(energy[top : top + side, left : left + side].max())
            y, x = abs(top + side / 2 - height / 2), abs(left + side / 2 - width / 2)
            (inside if max(y, x) <= field / 2 else outside).append(largest)
    base = float(np.percentile(energy, 5))
    threshold = base + _MIN_ENERGY * (max(inside, default=0.0) - base)
    return sum(block > threshold for block in outside) > _MAX_COVERED * len(outside)
