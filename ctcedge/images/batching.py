"""Pictures of the same shape, worked on together: most of the time goes to calls, not to pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_Pixel = TypeVar("_Pixel", bound=np.generic)
_Found = TypeVar("_Found")


def map_same_shape(
    work: Callable[[NDArray[Any]], Iterable[_Found]], pictures: Sequence[NDArray[Any]]
) -> list[_Found]:
    """Work on all pictures of a shape and type at once.

    Args:
        work: given (n, height, width), returns n things.
        pictures: each (height, width).

    Returns:
        Of each picture what was returned, in order.
    """
    alike: dict[object, list[int]] = {}
    for place, picture in enumerate(pictures):
        alike.setdefault((picture.shape, picture.dtype), []).append(place)
    found: dict[int, _Found] = {}
    for places in alike.values():
        rows = np.concatenate([pictures[place] for place in places])
        stack = rows.reshape(len(places), *pictures[places[0]].shape)
        found.update(zip(places, work(stack), strict=True))
    return [found[place] for place in range(len(pictures))]


def take_pixels(pictures: NDArray[_Pixel], places: NDArray[np.intp]) -> NDArray[_Pixel]:
    """Take pixels of each picture.

    Args:
        pictures: (n, height, width).
        places: (k,), indices into height * width.

    Returns:
        (n, k).
    """
    return pictures.reshape(len(pictures), -1).take(places, axis=1)
