"""Batches of images of equal shape and dtype, as most of the time goes to calls, not to pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_Pixel = TypeVar("_Pixel", bound=np.generic)
_Result = TypeVar("_Result")


def map_same_shape(
    function: Callable[[NDArray[Any]], Iterable[_Result]], images: Sequence[NDArray[Any]]
) -> list[_Result]:
    """Call a function once for all images of each shape and dtype.

    Args:
        function: takes (n, height, width) and returns n results.
        images: each (height, width).

    Returns:
        The result of each image, in order.
    """
    groups: dict[object, list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault((image.shape, image.dtype), []).append(index)
    results: dict[int, _Result] = {}
    for indices in groups.values():
        rows = np.concatenate([images[index] for index in indices])
        stack = rows.reshape(len(indices), *images[indices[0]].shape)
        results.update(zip(indices, function(stack), strict=True))
    return [results[index] for index in range(len(images))]


def take_pixels(images: NDArray[_Pixel], indices: NDArray[np.intp]) -> NDArray[_Pixel]:
    """Take pixels of each image.

    Args:
        images: (n, height, width).
        indices: (k,), into height * width.

    Returns:
        (n, k).
    """
    return images.reshape(len(images), -1).take(indices, axis=1)
