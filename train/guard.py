"""What features cells like those of training have, for a warning when others come along."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

from train.columns import Columns

FEATURES_FILE = "features.npz"
GUARD_CELLS = 2048
"""Training cells, drawn by sample, from which the statistics are made."""


@dataclass(frozen=True, slots=True)
class Features(Columns):
    """Statistics of the network's features.

    The distance of a cell is the lesser of its Mahalanobis distances from the two classes, which
    share one covariance (Lee et al., 2018): it does not grow with the share of CTCs.

    Attributes:
        means: (2, d) float32, of the features of leukocytes and of CTCs.
        whitening: (d, d) float32; distances in `features @ whitening` are Mahalanobis distances.
        distance: (n,) float32, of each validation cell, none of which was trained on.
        positive: (n,) bool, whether that cell is a CTC.
        sample: (n,) int32, the same number for cells of the same patient or sample.
    """

    means: NDArray[np.float32]
    whitening: NDArray[np.float32]
    distance: NDArray[np.float32]
    positive: NDArray[np.bool_]
    sample: NDArray[np.int32]

    def save(self, path: Path) -> None:
        """Write an npz."""
        np.savez_compressed(path, allow_pickle=False, **self.columns())


def feature_statistics(
    training: NDArray[np.float32],
    training_positive: NDArray[np.bool_],
    validation: NDArray[np.float32],
    validation_positive: NDArray[np.bool_],
    validation_group: NDArray[np.str_],
) -> Features:
    """Fit means and a shrunk covariance (Ledoit and Wolf, 2004), and measure validation cells.

    Args:
        training: (m, d) features of training cells of both classes.
        training_positive: (m,).
        validation: (n, d).
        validation_positive: (n,).
        validation_group: (n,) text.
    """
    means = np.stack([training[training_positive == kind].mean(axis=0) for kind in (False, True)])
    around = training - means[training_positive.astype(np.intp)]
    precision = LedoitWolf(assume_centered=True).fit(around.astype(np.float64)).precision_
    whitening = np.linalg.cholesky(precision).astype(np.float32)
    return Features(
        means=means,
        whitening=whitening,
        distance=distances(validation, means, whitening),
        positive=validation_positive,
        sample=np.unique(validation_group, return_inverse=True)[1].astype(np.int32),
    )


def distances(
    features: NDArray[np.float32], means: NDArray[np.float32], whitening: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return (n,), the distance of each row of (n, d) from the nearer class."""
    from_each = [np.linalg.norm((features - mean) @ whitening, axis=1) for mean in means]
    nearer: NDArray[np.float32] = np.minimum(*from_each).astype(np.float32)
    return nearer
