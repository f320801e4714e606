"""In-distribution feature statistics, which `ctcedge.classification.ood` reads.

There are two kinds: statistics of single cells, and statistics of the means of samples, with which
whole runs are compared to detect domain shift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t
from sklearn.covariance import LedoitWolf

from ctcedge.classification.ood import ALERT_SIGMAS
from ctcedge.classification.ood_statistics import ShiftSubspace, mahalanobis
from ctcedge.classification.wavelet_features import MIN_INPUT_SIDE, wavelet_energies

from ..data.columns import Columns

FEATURES_FILE = "features.npz"
MAX_CELLS = 32_768
"""Maximum number of training cells for the statistics, drawn from both classes and every sample:
enough for one or two thousand groups to have `_MIN_CELLS` of each class among them."""

NETWORK_AXES = 12
"""Number of principal directions of the features, within classes, in which runs are compared."""

_MIN_CELLS = 8
"""Minimum number of a group's cells of one class for its mean to be compared."""

_MIN_GROUPS = 8
"""Minimum number of group means for run statistics."""

_MIN_BETWEEN = 0.01
"""Minimum variance between samples, relative to the variance within them: there are never enough
samples to estimate a smaller one."""

_FOLDS = 5

Floats: TypeAlias = NDArray[np.float32]
Flags: TypeAlias = NDArray[np.bool_]
Names: TypeAlias = NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class FeatureSet(Columns):
    """Labelled cells with the network's features.

    Attributes:
        inputs: (n, size, size) uint8, network inputs.
        features: (n, d).
        positive: (n,), true for a CTC.
        group: (n,) text, patient or sample.
    """

    inputs: NDArray[np.uint8]
    features: Floats
    positive: Flags
    group: Names


@dataclass(frozen=True, slots=True)
class Features:
    """Statistics of the network's features, and of its input.

    Attributes:
        means: (2, d) float32, of the features of leukocytes and of CTCs.
        whitening: (d, d) float32; distances in `features @ whitening` are Mahalanobis distances.
        distance: (n,) float32, of each validation cell.
        positive: (n,) bool, whether that cell is a CTC.
        sample: (n,) int32, one number per patient or sample.
        wavelet: comparison of runs by wavelet energies; None where there are too few groups.
        network: comparison of runs by network features; None where there are too few groups.
    """

    means: Floats
    whitening: Floats
    distance: Floats
    positive: Flags
    sample: NDArray[np.int32]
    wavelet: ShiftSubspace | None
    network: ShiftSubspace | None

    def save(self, path: Path) -> None:
        """Write an npz."""
        runs: dict[str, Floats] = {}
        if self.wavelet is not None and self.network is not None:
            runs = self.wavelet.arrays("detail") | self.network.arrays("network")
        np.savez_compressed(
            path,
            allow_pickle=False,
            means=self.means,
            whitening=self.whitening,
            distance=self.distance,
            positive=self.positive,
            sample=self.sample,
            **runs,
        )


def feature_statistics(training: FeatureSet, validation: FeatureSet, seed: int) -> Features:
    """Compute all statistics.

    Args:
        training: cells of both classes.
        validation: cells of other groups.
        seed: of the folds in which the spread of the training groups is measured.

    Raises:
        ValueError: a split lacks a class, or its features are not finite.
    """
    _check_usable(training, "training")
    _check_usable(validation, "validation")
    means = _class_means(training.features, training.positive)
    around = training.features - means[training.positive.astype(np.intp)]
    precision = LedoitWolf(assume_centered=True).fit(around.astype(np.float64)).precision_
    whitening = np.linalg.cholesky(precision).astype(np.float32)
    features = Features(
        means=means,
        whitening=whitening,
        distance=mahalanobis(validation.features @ whitening, means @ whitening),
        positive=validation.positive,
        sample=np.unique(validation.group, return_inverse=True)[1].astype(np.int32),
        wavelet=None,
        network=None,
    )
    if training.inputs.shape[1] < MIN_INPUT_SIDE:
        return features
    directions = _principal_directions(around)
    return replace(
        features,
        wavelet=_subspace(
            _Measurements(wavelet_energies(training.inputs), training.positive, training.group),
            _Measurements(
                wavelet_energies(validation.inputs), validation.positive, validation.group
            ),
            seed,
        ),
        network=_in_features(
            _subspace(
                _Measurements(training.features @ directions, training.positive, training.group),
                _Measurements(
                    validation.features @ directions, validation.positive, validation.group
                ),
                seed,
            ),
            directions,
        ),
    )


def _check_usable(cells: FeatureSet, split: str) -> None:
    if len(np.unique(cells.positive)) < 2:
        raise ValueError(f"the {split} cells are of one class only; CTCs and negatives are needed")
    if not np.isfinite(cells.features).all():
        raise ValueError(f"features of the {split} cells are not finite; fit the network again")


def _class_means(measures: Floats, positive: Flags) -> Floats:
    return np.stack([measures[positive == kind].mean(axis=0) for kind in (False, True)])


def _principal_directions(around: Floats) -> Floats:
    """Return (d, k), the directions of largest variance of (n, d) deviations, in order."""
    _, directions = np.linalg.eigh(around.T.astype(np.float64) @ around)
    principal: Floats = directions[:, : -NETWORK_AXES - 1 : -1].astype(np.float32)
    return principal


def _in_features(subspace: ShiftSubspace | None, directions: Floats) -> ShiftSubspace | None:
    """Express a subspace of projections in the features themselves."""
    return subspace and replace(subspace, axes=directions @ subspace.axes)


@dataclass(frozen=True, slots=True)
class _Measurements(Columns):
    """Measurements of cells, (n, d), with their class and group."""

    measures: Floats
    positive: Flags
    group: Names


def _subspace(
    training: _Measurements, validation: _Measurements, seed: int
) -> ShiftSubspace | None:
    """Fit the subspace in which runs are compared, with the usual distance of in-distribution runs.

    An in-distribution run is as far away as a group that was left out. The spread of that distance
    comes from the training groups, each left out once, and from the validation groups; its usual
    value from whichever of the two is farther, as a network may overfit its training cells.
    """
    subspace = _fit_subspace(training)
    if subspace is None:
        return None
    left_out: list[float] = []
    fold = _folds(training.group, seed)
    for number in range(_FOLDS):
        fitted = _fit_subspace(training.select(fold != number))
        if fitted is None:
            return None
        left_out += _distances(fitted, training.select(fold == number))
    sides = [np.log(side) for side in (left_out, _distances(subspace, validation)) if side]
    usual = [float(np.median(side)) for side in sides]
    scattered = np.concatenate([side - middle for side, middle in zip(sides, usual, strict=True)])
    # Of the upper tail alone: only large distances matter.
    spread = float(np.quantile(scattered, norm.cdf(1)))
    # With few groups, both are uncertain.
    spread *= t.isf(norm.sf(ALERT_SIGMAS), len(scattered) - 1) / ALERT_SIGMAS
    spread *= math.sqrt(1 + 1 / len(sides[-1]))
    return replace(subspace, usual=math.exp(max(usual)), spread=spread)


def _fit_subspace(cells: _Measurements) -> ShiftSubspace | None:
    """Estimate axes, means and spread between groups; None for too few groups or one class."""
    members = _members(cells)
    if len(members) < _MIN_GROUPS or len(np.unique(cells.positive)) < 2:
        return None
    means = _class_means(cells.measures, cells.positive).astype(np.float64)
    around = cells.measures - means[cells.positive.astype(np.intp)]
    shifts = np.stack([around[rows].mean(axis=0) for rows in members])
    residuals = np.concatenate(
        [around[rows] - shift for rows, shift in zip(members, shifts, strict=True)]
    )
    within = residuals.T @ residuals / (len(residuals) - len(members))
    within += 1e-6 * np.trace(within) / len(within) * np.eye(len(within))
    # Means of small groups differ by chance, too.
    chance = float(np.mean([1 / len(rows) for rows in members]))
    between = shifts.T @ shifts / len(shifts) - chance * within
    white = np.linalg.inv(np.linalg.cholesky(within)).T
    spread, directions = np.linalg.eigh(white.T @ between @ white)
    axes = white @ directions
    offset = means.mean(axis=0) @ axes
    return ShiftSubspace(
        axes=axes.astype(np.float32),
        offset=offset.astype(np.float32),
        means=(means @ axes - offset).astype(np.float32),
        between=np.maximum(spread, _MIN_BETWEEN).astype(np.float32),
        usual=1.0,
        spread=1.0,
    )


def _distances(subspace: ShiftSubspace, cells: _Measurements) -> list[float]:
    """Return the distance of each group's cells of one class."""
    return [
        subspace.distance(subspace.project(cells.measures[rows]).mean(axis=0), len(rows))
        for rows in _members(cells)
    ]


def _members(cells: _Measurements) -> list[NDArray[np.intp]]:
    """Return the rows of each group's cells of one class, where there are enough to compare."""
    members = [
        np.flatnonzero((cells.group == name) & (cells.positive == kind))
        for name in np.unique(cells.group)
        for kind in (False, True)
    ]
    return [rows for rows in members if len(rows) >= _MIN_CELLS]


def _folds(group: Names, seed: int) -> NDArray[np.intp]:
    """Return (n,), the fold of each cell; a group is in one fold."""
    names, number = np.unique(group, return_inverse=True)
    folds: NDArray[np.intp] = np.random.default_rng(seed).permutation(len(names))[number] % _FOLDS
    return folds
