"""Arrays in parts of a given number of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound="np.generic[Any]")


def batches(rows: NDArray[Scalar], size: int) -> Iterator[NDArray[Scalar]]:
    """Yield `size` rows at a time; fewer in the last batch."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
