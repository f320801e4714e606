"""Out-of-distribution (OOD) scores of crops, and domain shift of runs.

The statistics of the training data come from the model's `features.npz`, see `ood_statistics`.

A crop's distance is the smaller of its Mahalanobis distances from the two classes in the network's
features; the classes share one covariance (Lee et al., 2018). Its p-value is the fraction of
validation cells, which were not trained on, that are at least as far away, in the class in which
it is larger: of cells that are like those of training, CTCs or not, no more than `OOD_LEVEL` are
flagged.

A network learns to ignore what does not separate its classes, such as blur, and one crop shows
little of the instrument. So a run is judged by the mean of its crops' features: projections of the
network's features, and wavelet energies of the network's input. Samples of two hospitals differ,
too: a run is shifted where its mean is much farther from those of the training samples than these
are from each other. CTCs and leukocytes have different features, so a run is compared with the
nearest mixture of the two: the fraction of CTCs has no effect. A domain shift changes no call.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctcedge.classification.ood_statistics import (
    Arrays,
    ShiftSubspace,
    TailModel,
    mahalanobis,
    read_numbers,
)
from ctcedge.classification.wavelet_features import FEATURE_COUNT, wavelet_energies
from ctcedge.errors import ModelError
from ctcedge.fs.npz import read_npz
from ctcedge.model.folder import Model

OOD_VERSION = "guard/1"
"""Version of these rules; part of the fingerprint of stored calls."""

OUT_OF_DISTRIBUTION = "out-of-distribution"
"""Review reason of a crop that is too far from the training data."""

OOD_LEVEL = 0.001
"""Crops of a smaller p-value are out-of-distribution."""

MIN_CROPS = 100
"""Size of the smallest run whose domain shift is measured."""

DRIFT_WINDOW = 500
"""Sliding-window size of the live drift check of `watch`, in crops."""

ALERT_SIGMAS = 4.0
"""Sigmas above the usual distance from which a run is shifted."""

_MAX_UNPACKED_BYTES = 256 * 1024 * 1024

State: TypeAlias = Literal["in-distribution", "shifted", "insufficient"]


class OodScore(NamedTuple):
    """Out-of-distribution score of a crop.

    Attributes:
        distance: of its features from the nearer class.
        p_value: fraction of cells like those of training that are at least as far away.
        features: by which its run is judged, in sigmas within a class and sample; none where the
            model has no statistics of runs.
    """

    distance: float
    p_value: float
    features: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class DomainShift:
    """Shift of a run against the training data.

    Attributes:
        state: `insufficient` where the run has fewer than `MIN_CROPS`, or the model has no
            statistics of runs.
        crops: number of crops of the run.
        distance: from the training data: 0 for a usual run, 1 at the limit; None where
            insufficient.
    """

    state: State
    crops: int
    distance: float | None


def is_out_of_distribution(p_value: float) -> bool:
    """Whether a crop of this p-value is flagged for review."""
    return p_value < OOD_LEVEL


class RunFeatures:
    """Mean features of a run's crops, updated as they come in.

    Args:
        window: number of the latest crops that are kept; None for all.
    """

    def __init__(self, window: int | None = None) -> None:
        self._latest = None if window is None else deque[NDArray[np.float64]](maxlen=window)
        self._sum: NDArray[np.float64] | None = None
        self._crops = 0

    def add(self, features: Sequence[float]) -> None:
        """Add a crop.

        Raises:
            ValueError: it has another number of features than the crops before.
        """
        row = np.array(features, np.float64)
        if self._latest is not None:
            self._latest.append(row)
        else:
            self._sum = row if self._sum is None else self._sum + row
            self._crops += 1

    @property
    def crops(self) -> int:
        """Number of crops."""
        return self._crops if self._latest is None else len(self._latest)

    def mean(self) -> NDArray[np.float64]:
        """Mean of the features of one crop or more."""
        if self._latest is not None:
            return np.mean(self._latest, axis=0)  # type: ignore[no-any-return]
        assert self._sum is not None
        return self._sum / self._crops


@dataclass(frozen=True, slots=True)
class OodDetector:
    """Compares crops and runs with the statistics of a model's training data.

    Attributes:
        whitening: (d, d); distances in `features @ whitening` are Mahalanobis distances.
        centers: (2, d), whitened mean features of leukocytes and of CTCs.
        tails: of the distances of validation leukocytes and CTCs.
        wavelet: subspace of the wavelet energies of the network's input, in which runs are
            compared; None where the model has no statistics of runs.
        network: the same of the network's features.
    """

    whitening: NDArray[np.float32]
    centers: NDArray[np.float32]
    tails: tuple[TailModel, TailModel]
    wavelet: ShiftSubspace | None
    network: ShiftSubspace | None

    @classmethod
    def load(cls, model: Model) -> OodDetector | None:
        """Read a model's statistics; None where it has none.

        Raises:
            ModelError: they are missing, changed or damaged.
        """
        pinned = model.spec.features
        if pinned is None:
            return None
        data = model.read(pinned)
        try:
            return cls._from_arrays(read_npz(data, _MAX_UNPACKED_BYTES))
        except ValueError as error:
            raise ModelError(f"{model.folder / pinned.file}: {error}") from None

    @classmethod
    def _from_arrays(cls, arrays: Arrays) -> OodDetector:
        means = read_numbers(arrays, "means", 2, None)
        width = means.shape[1]
        distance, positive = read_numbers(arrays, "distance", None), arrays.get("positive")
        if positive is None or positive.shape != distance.shape or positive.dtype != np.bool_:
            raise ValueError("'positive' must be true or false for each distance")
        whitening = read_numbers(arrays, "whitening", width, width)
        tails = TailModel.fit(distance[~positive]), TailModel.fit(distance[positive])
        wavelet = network = None
        if any(name.startswith("detail_") for name in arrays):
            wavelet = ShiftSubspace.from_arrays(arrays, "detail", FEATURE_COUNT)
            network = ShiftSubspace.from_arrays(arrays, "network", width)
        return cls(whitening, means @ whitening, tails, wavelet, network)

    def score(self, inputs: NDArray[np.uint8], features: NDArray[np.float32]) -> list[OodScore]:
        """Score crops; of features that are not numbers, distance and p-value are not either.

        Args:
            inputs: (n, size, size), of the network.
            features: (n, d), output of the network.

        Raises:
            ModelError: the network gives another number of features than the statistics have.
        """
        if features.shape[1] != len(self.whitening):
            raise ModelError(
                f"the graph gives {features.shape[1]} features, but the model's statistics are of"
                f" {len(self.whitening)}"
            )
        rows: list[list[float]] = [[] for _ in features]
        if self.wavelet is not None and self.network is not None:
            projected = np.hstack(
                (self.wavelet.project(wavelet_energies(inputs)), self.network.project(features))
            )
            rows = np.round(projected.astype(np.float64), 3).tolist()
        distances = mahalanobis(features @ self.whitening, self.centers).tolist()
        return [
            OodScore(round(distance, 4), self.p_value(distance), tuple(row))
            for distance, row in zip(distances, rows, strict=True)
        ]

    @property
    def feature_count(self) -> int:
        """Number of features in the score of each crop."""
        if self.wavelet is None or self.network is None:
            return 0
        return len(self.wavelet.between) + len(self.network.between)

    def p_value(self, distance: float) -> float:
        """Return the fraction of cells at least that far away, the larger of the two classes."""
        return float(f"{max(tail.exceedance(distance) for tail in self.tails):.4g}")

    def domain_shift(self, run: RunFeatures) -> DomainShift:
        """Compare a run with the training data.

        Args:
            run: features of its crops, from `score`.
        """
        crops = run.crops
        if crops < MIN_CROPS or self.wavelet is None or self.network is None:
            return DomainShift("insufficient", crops, None)
        mean = run.mean()
        count = len(self.wavelet.between)
        sigmas = math.hypot(
            self.wavelet.sigmas_above_usual(mean[:count], crops),
            self.network.sigmas_above_usual(mean[count:], crops),
        )
        distance = round(sigmas / ALERT_SIGMAS, 3)
        return DomainShift("shifted" if distance > 1 else "in-distribution", crops, distance)
