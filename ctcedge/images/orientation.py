"""Orientation of an image as its header states it: how stored pixels are turned to be shown.

Sources: TIFF 6.0, Orientation; Exif 2.32.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_Pixel = TypeVar("_Pixel", bound=np.generic)

UPRIGHT = 1
"""Pixels are stored as they are shown."""


def swaps_sides(orientation: int) -> bool:
    """Whether width and height change places."""
    return 5 <= orientation <= 8


def upright(pixels: NDArray[_Pixel], orientation: int) -> NDArray[_Pixel]:
    """Turn stored pixels as they are to be shown.

    Args:
        pixels: (height, width, ...), as stored.
        orientation: from the header; a value that the standard lacks turns nothing.
    """
    turned: NDArray[Any] = pixels
    if swaps_sides(orientation):
        turned = turned.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return turned
