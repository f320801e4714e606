"""A figure of features that shows a collapse."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def feature_spread(features: NDArray[np.float32]) -> float:
    """Return how evenly features fill their space: 0 where all are equal, about 1 where even.

    The standard deviation of the features of length one, times the root of their number. A
    pretraining whose features have collapsed shows here.
    """
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(length, 1e-12)
    return float(unit.std(0).mean() * np.sqrt(features.shape[1]))
