"""Whether crops, and whole runs, are like those that the network was trained on.

A model's `features.npz` holds what is needed, see `train.export.ood_statistics`.

A crop's distance is the lesser of its Mahalanobis distances, in the network's features, from the
two classes, which share one covariance (Lee et al., 2018). Its `p` is the share of validation
cells, which were not trained on, that are at least as far away, in the class in which more are: of
cells like those of training, CTCs or not, no more than `LEVEL` are called unlike.

A network learns to overlook what does not tell its classes apart, such as a blur, and one crop says
little of the instrument. So a run is judged by the mean of its crops' traits: what stands out in
the network's features, and the detail of the network's input. Two hospitals differ, too. Where a
run's mean is much farther from those of training than they are from each other, the run is unlike
them. CTCs and leukocytes have other traits, so what counts is the nearest mixture of the two: the
share of CTCs changes nothing. Nor does what is said of a run change any call.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctcedge.classification.wavelet_features import FEATURE_COUNT, wavelet_energies
from ctcedge.errors import ModelError
from ctcedge.fs.npz import read_npz
from ctcedge.model.folder import Model

OOD_VERSION = "guard/1"
"""Name of these rules, changed whenever they would say something else of the same image."""

OUT_OF_DISTRIBUTION = "out-of-distribution"
"""The reason to review a crop that is too far away."""

OOD_LEVEL = 0.001
"""A crop is unlike training where a smaller share of cells like those of training is as far."""

MIN_CROPS = 100
"""Of fewer crops, no run is judged."""

DRIFT_WINDOW = 500
"""Crops by which `watch` judges what comes in at present."""

ALERT_SIGMAS = 4.0
"""A run is unlike training from so many spreads beyond the usual distance on."""

_TAIL_FRACTION = 0.1
"""Share of the validation cells of a class whose distances say how thin the tail beyond is."""

_MAX_FEATURE_SIGMAS = 8.0
"""Spreads from the mean at which a trait ends, so that a few odd crops do not speak for a run."""

_MAX_UNPACKED_BYTES = 256 * 1024 * 1024

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
State: TypeAlias = Literal["like", "unlike", "insufficient"]


class OodScore(NamedTuple):
    """How unlike the training data a crop is to the network.

    Attributes:
        distance: of its features from the nearer class.
        p: share of cells like those of training that are at least as far away.
        traits: what its run is judged by, in spreads of cells of a class and sample; none where
            the model judges no runs.
    """

    distance: float
    p_value: float
    features: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class DomainShift:
    """Whether a run is like the training data.

    Attributes:
        state: `insufficient` where there are fewer than `MIN_CROPS`, or the model judges no
            runs.
        crops: by which it is judged.
        distance: from the training data: 0 for a usual run, 1 at the limit; None where it is
            insufficient.
    """

    state: State
    crops: int
    distance: float | None


def is_out_of_distribution(p: float) -> bool:
    """Whether a crop of this `p` is to be reviewed."""
    return p < OOD_LEVEL


class RunFeatures:
    """The traits of a run's crops, as they come in.

    Args:
        window: how many of the latest crops are kept; all where None.
    """

    def __init__(self, window: int | None = None) -> None:
        self._latest = None if window is None else deque[NDArray[np.float64]](maxlen=window)
        self._sum: NDArray[np.float64] | None = None
        self._crops = 0

    def add(self, traits: Sequence[float]) -> None:
        """Add a crop's."""
        row = np.array(traits, np.float64)
        if self._latest is not None:
            self._latest.append(row)
        else:
            self._sum = row if self._sum is None else self._sum + row
            self._crops += 1

    @property
    def crops(self) -> int:
        """How many they are of."""
        return self._crops if self._latest is None else len(self._latest)

    def mean(self) -> NDArray[np.float64]:
        """Their mean, of one crop or more."""
        if self._latest is not None:
            return np.mean(self._latest, axis=0)  # type: ignore[no-any-return]
        assert self._sum is not None
        return self._sum / self._crops


@dataclass(frozen=True, slots=True)
class OodDetector:
    """What is known of cells like those of training.

    Attributes:
        whitening: (d, d); distances in `features @ whitening` are Mahalanobis distances.
        centres: (2, d), mean features of leukocytes and of CTCs, so whitened.
        tails: of the distances of validation leukocytes and CTCs.
        wavelet: by which runs are compared, of the network's input; None where the model judges
            no runs.
        network: likewise, of the network's features.
    """

    whitening: NDArray[np.float32]
    centres: NDArray[np.float32]
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
        means = _numbers(arrays, "means", 2, None)
        width = means.shape[1]
        distance, positive = _numbers(arrays, "distance", None), arrays.get("positive")
        if positive is None or positive.shape != distance.shape or positive.dtype != np.bool_:
            raise ValueError("'positive' must be true or false for each distance")
        judges_runs = any(name.startswith("detail_") for name in arrays)
        whitening = _numbers(arrays, "whitening", width, width)
        return cls(
            whitening=whitening,
            centres=means @ whitening,
            tails=(TailModel.fit(distance[~positive]), TailModel.fit(distance[positive])),
            wavelet=ShiftSubspace.from_arrays(arrays, "detail", FEATURE_COUNT)
            if judges_runs
            else None,
            network=ShiftSubspace.from_arrays(arrays, "network", width) if judges_runs else None,
        )

    def score(self, inputs: NDArray[np.uint8], features: NDArray[np.float32]) -> list[OodScore]:
        """Say how unlike the training data each crop is; where features are no numbers, so is that.

        Args:
            inputs: (n, size, size), as the network saw them.
            features: (n, d), as it gave them.

        Raises:
            ModelError: the features are not those that the statistics are of.
        """
        if features.shape[1] != len(self.whitening):
            raise ModelError(
                f"the graph gives {features.shape[1]} features, but the model's statistics are of"
                f" {len(self.whitening)}"
            )
        rows: list[list[float]] = [[] for _ in features]
        if self.wavelet is not None and self.network is not None:
            traits = np.hstack(
                (self.wavelet.project(wavelet_energies(inputs)), self.network.project(features))
            )
            rows = np.round(traits.astype(np.float64), 3).tolist()
        return [
            OodScore(round(distance, 4), self.p_value(distance), tuple(row))
            for distance, row in zip(self._distances(features), rows, strict=True)
        ]

    @property
    def feature_count(self) -> int:
        """Number of features in the score of each crop."""
        if self.wavelet is None or self.network is None:
            return 0
        return len(self.wavelet.between) + len(self.network.between)

    def p_value(self, distance: float) -> float:
        """Return the share of cells at least so far away, in the class in which more are."""
        return float(f"{max(tail.exceedance(distance) for tail in self.tails):.4g}")

    def domain_shift(self, run: RunFeatures) -> DomainShift:
        """Say whether a run is like the training data.

        Args:
            run: the traits of its crops, as this model gave them.
        """
        crops = run.crops
        if crops < MIN_CROPS or self.wavelet is None or self.network is None:
            return DomainShift("insufficient", crops, None)
        mean = run.mean()
        count = len(self.wavelet.between)
        beyond = math.hypot(
            self.wavelet.sigmas_above_usual(mean[:count], crops),
            self.network.sigmas_above_usual(mean[count:], crops),
        )
        distance = round(beyond / ALERT_SIGMAS, 3)
        return DomainShift("unlike" if distance > 1 else "like", crops, distance)

    def _distances(self, features: NDArray[np.float32]) -> list[float]:
        found: list[float] = distances(features @ self.whitening, self.centres).tolist()
        return found


def distances(white: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (n,), the Mahalanobis distance of each row from the nearer class.

    Args:
        white: (n, d), whitened features.
        centres: (2, d), see `OodDetector`.
    """
    squares = [np.square(white - centre).sum(axis=1) for centre in centres]
    nearer: NDArray[np.float32] = np.sqrt(np.minimum(*squares))
    return nearer


@dataclass(frozen=True, slots=True)
class TailModel:
    """The distances of one class's validation cells, and what is assumed beyond them.

    Attributes:
        distance: of each cell, rising.
        start: the distance beyond which lie a tenth of them, and an exponential tail is assumed.
        excess: their mean distance beyond that.
    """

    distance: list[float]
    start: float
    excess: float

    @classmethod
    def fit(cls, distance: NDArray[np.float32]) -> TailModel:
        """Sort distances and fit the tail to the farthest of them.

        Raises:
            ValueError: there is none.
        """
        if not distance.size:
            raise ValueError("'distance' must be of both classes")
        rising = np.sort(distance)
        start = float(np.quantile(rising, 1 - _TAIL_FRACTION))
        excess = float(rising[rising >= start].mean()) - start
        return cls(rising.tolist(), start, max(excess, 1e-6))

    def exceedance(self, distance: float) -> float:
        """Return the share at least so far away; no number for none."""
        if distance < self.start:
            return 1 - bisect_left(self.distance, distance) / len(self.distance)
        return _TAIL_FRACTION * math.exp((self.start - distance) / self.excess)


@dataclass(frozen=True, slots=True)
class ShiftSubspace:
    """By what runs are compared: a few traits, and what training says of them.

    Attributes:
        axes: (d, k); `measures @ axes - offset` are the traits. Of the cells of a class and sample
            each trait has a variance of one, and none goes with another; nor do samples' means.
        offset: (k,).
        means: (2, k), traits of leukocytes and of CTCs.
        between: (k,), variance of the means of samples.
        usual: distance of a run like training.
        spread: standard deviation of the logarithm of the distance of such runs, towards farther.
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
            ValueError: it lacks something, or that is not what it should be.
        """
        axes = _numbers(arrays, f"{name}_axes", measures, None)
        count = axes.shape[1]
        between = _numbers(arrays, f"{name}_between", count)
        usual, spread = _numbers(arrays, f"{name}_distance", 2).tolist()
        if not min(between.min(), usual, spread) > 0:
            raise ValueError(f"'{name}_between' and '{name}_distance' must be above 0")
        return cls(
            axes=axes,
            offset=_numbers(arrays, f"{name}_offset", count),
            means=_numbers(arrays, f"{name}_means", 2, count),
            between=between,
            usual=usual,
            spread=spread,
        )

    def arrays(self, name: str) -> dict[str, NDArray[np.float32]]:
        """Return the arrays that `of` reads."""
        return {
            f"{name}_axes": self.axes,
            f"{name}_offset": self.offset,
            f"{name}_means": self.means,
            f"{name}_between": self.between,
            f"{name}_distance": np.array([self.usual, self.spread], np.float32),
        }

    def project(self, measures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (n, d) to (n, k)."""
        traits = measures @ self.axes - self.offset
        kept: NDArray[np.float32] = np.clip(traits, -_MAX_FEATURE_SIGMAS, _MAX_FEATURE_SIGMAS)
        return kept

    def distance(self, mean: NDArray[np.floating], crops: int) -> float:
        """Return how far a run is from the nearest mixture of the two classes.

        Args:
            mean: (k,), of its crops' traits.
            crops: their number; of few, the mean differs by chance.
        """
        weight = 1 / (self.between + 1 / crops)
        towards, away = self.means[1] - self.means[0], mean - self.means[0]
        length = float(weight @ np.square(towards))
        share = float(weight @ (towards * away)) / length if length else 0.0
        rest = away - min(max(share, 0.0), 1.0) * towards
        return math.sqrt(float(weight @ np.square(rest)) / len(mean))

    def sigmas_above_usual(self, mean: NDArray[np.floating], crops: int) -> float:
        """Return by how many spreads a run is farther than usual; 0 for one that is not."""
        ratio = self.distance(mean, crops) / self.usual
        return math.log(ratio) / self.spread if ratio > 1 else 0.0


def _numbers(arrays: Arrays, name: str, *shape: int | None) -> NDArray[np.float32]:
    """Return an array of finite float32; None stands for a length of one or more."""
    if name not in arrays:
        raise ValueError(f"'{name}' is missing")
    found: NDArray[np.float32] = arrays[name]
    fits = found.ndim == len(shape) and all(
        length == wanted or (wanted is None and length > 0)
        for length, wanted in zip(found.shape, shape, strict=True)
    )
    if not fits or found.dtype != np.float32 or not np.isfinite(found).all():
        told = " x ".join("n" if length is None else str(length) for length in shape)
        raise ValueError(f"'{name}' must be {told} finite float32")
    return found
