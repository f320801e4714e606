"""Statistics of a model's training data, as its `features.npz` holds them.

`train.export.ood_statistics` fits them; `ood` compares crops and runs with them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctcedge.sidecars.schema import MAX_FEATURES

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

_TAIL_FRACTION = 0.1
"""Fraction of the validation cells of a class that the tail is fitted to."""

_MAX_FEATURE_SIGMAS = 8.0
"""Where a feature is clipped, so that a few odd crops do not decide for a run."""


@dataclass(frozen=True, slots=True)
class TailModel:
    """Distances of one class's validation cells, with an exponential tail beyond most of them.

    Attributes:
        distances: of each cell, rising.
        start: the distance beyond which the tail is assumed: that of a tenth of the cells.
        excess: mean distance of those cells beyond the start.
    """

    distances: list[float]
    start: float
    excess: float

    @classmethod
    def fit(cls, distances: NDArray[np.float32]) -> TailModel:
        """Sort distances and fit the tail to the largest.

        Raises:
            ValueError: there is none.
        """
        if not distances.size:
            raise ValueError("'distance' must be of both classes")
        rising = np.sort(distances)
        start = float(np.quantile(rising, 1 - _TAIL_FRACTION))
        excess = float(rising[rising >= start].mean()) - start
        return cls(rising.tolist(), start, max(excess, 1e-6))

    def exceedance(self, distance: float) -> float:
        """Return the fraction of cells at least that far away; not a number for not a number."""
        if distance < self.start:
            return 1 - bisect_left(self.distances, distance) / len(self.distances)
        return _TAIL_FRACTION * math.exp((self.start - distance) / self.excess)


@dataclass(frozen=True, slots=True)
class ShiftSubspace:
    """Subspace in which runs are compared with training samples.

    Attributes:
        axes: (d, k); `measures @ axes - offset` are the features. Within a class and sample, each
            has a variance of one and they are uncorrelated; so are the means of samples.
        offset: (k,).
        means: (2, k), mean features of leukocytes and of CTCs.
        between: (k,), variance of the means of samples.
        usual: distance of a run that is like the training data.
        spread: standard deviation of the logarithm of the distance of such runs, upwards.
    """

    axes: NDArray[np.float32]
    offset: NDArray[np.float32]
    means: NDArray[np.float32]
    between: NDArray[np.float32]
    usual: float
    spread: float

    @classmethod
    def from_arrays(cls, arrays: Arrays, name: str, measures: int) -> ShiftSubspace:
        """Read one from a file's arrays.

        Raises:
            ValueError: an array is missing, or has a wrong shape, type or range.
        """
        axes = read_numbers(arrays, f"{name}_axes", measures, None)
        count = axes.shape[1]
        if count > MAX_FEATURES:
            raise ValueError(f"'{name}_axes' must have at most {MAX_FEATURES} features")
        between = read_numbers(arrays, f"{name}_between", count)
        usual, spread = read_numbers(arrays, f"{name}_distance", 2).tolist()
        if not min(between.min(), usual, spread) > 0:
            raise ValueError(f"'{name}_between' and '{name}_distance' must be above 0")
        return cls(
            axes=axes,
            offset=read_numbers(arrays, f"{name}_offset", count),
            means=read_numbers(arrays, f"{name}_means", 2, count),
            between=between,
            usual=usual,
            spread=spread,
        )

    def arrays(self, name: str) -> dict[str, NDArray[np.float32]]:
        """Return the arrays that `from_arrays` reads."""
        return {
            f"{name}_axes": self.axes,
            f"{name}_offset": self.offset,
            f"{name}_means": self.means,
            f"{name}_between": self.between,
            f"{name}_distance": np.array([self.usual, self.spread], np.float32),
        }

    def project(self, measures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project (n, d) measures to (n, k) features."""
        features = measures @ self.axes - self.offset
        clipped: NDArray[np.float32] = np.clip(features, -_MAX_FEATURE_SIGMAS, _MAX_FEATURE_SIGMAS)
        return clipped

    def distance(self, mean: NDArray[np.floating], crops: int) -> float:
        """Return the distance of a run from the nearest mixture of the two classes.

        Args:
            mean: (k,), of its crops' features.
            crops: their number; of few, the mean varies by chance.
        """
        weight = 1 / (self.between + 1 / crops)
        direction, offset = self.means[1] - self.means[0], mean - self.means[0]
        length = float(weight @ np.square(direction))
        fraction = float(weight @ (direction * offset)) / length if length else 0.0
        residual = offset - min(max(fraction, 0.0), 1.0) * direction
        return math.sqrt(float(weight @ np.square(residual)) / len(mean))

    def sigmas_above_usual(self, mean: NDArray[np.floating], crops: int) -> float:
        """Return by how many sigmas a run is farther away than usual; 0 for one that is not."""
        ratio = self.distance(mean, crops) / self.usual
        return math.log(ratio) / self.spread if ratio > 1 else 0.0


def mahalanobis(whitened: NDArray[np.float32], centers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (n,), the Mahalanobis distance of each row from the nearer class.

    Args:
        whitened: (n, d), features after whitening.
        centers: (2, d), whitened means of the classes.
    """
    squares = [np.square(whitened - center).sum(axis=1) for center in centers]
    nearer: NDArray[np.float32] = np.sqrt(np.minimum(*squares))
    return nearer


def read_numbers(arrays: Arrays, name: str, *shape: int | None) -> NDArray[np.float32]:
    """Return an array of finite float32.

    Args:
        arrays: of the file.
        name: of the array.
        shape: its lengths; None for any of one or more.

    Raises:
        ValueError: it is missing, or has another shape or type.
    """
    if name not in arrays:
        raise ValueError(f"'{name}' is missing")
    array: NDArray[np.float32] = arrays[name]
    fits = array.ndim == len(shape) and all(
        length == expected or (expected is None and length > 0)
        for length, expected in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype != np.float32 or not np.isfinite(array).all():
        lengths = " x ".join("n" if length is None else str(length) for length in shape)
        raise ValueError(f"'{name}' must be {lengths} finite float32")
    return array
