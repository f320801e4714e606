"""What features cells like those of training have, for a warning when others come along.

What `ctcedge.classification.ood` reads. Two kinds of statistics are made: those of single cells,
and those of
the means of samples, by which whole runs are compared.
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

from ctcedge.classification.ood import ALERT_SIGMAS, ShiftSubspace, distances
from ctcedge.classification.wavelet_features import MIN_INPUT_SIDE, wavelet_energies

from ..data.columns import Columns

FEATURES_FILE = "features.npz"
MAX_CELLS = 32_768
"""Training cells, drawn from both classes and every sample, of which the statistics are made:
enough that a thousand groups or two have `_LEAST_CELLS` of each class among them."""

NETWORK_AXES = 12
"""Directions in which the features of a class vary most, by which runs are compared."""

_MIN_CELLS = 8
"""Of fewer cells of a class, no group's mean is compared."""

_MIN_GROUPS = 8
"""Of fewer groups' means, nothing is said of runs."""

_MIN_BETWEEN = 0.01
"""Least variance between samples, in variances within them: nobody has seen enough samples to know
a smaller one."""

_FOLDS = 5

Floats: TypeAlias = NDArray[np.float32]
Flags: TypeAlias = NDArray[np.bool_]
Names: TypeAlias = NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class FeatureSet(Columns):
    """Labelled cells, and what the network makes of them.

    Attributes:
        inputs: (n, size, size) uint8, what the network sees.
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
        distance: (n,) float32, of each validation cell, none of which was trained on.
        positive: (n,) bool, whether that cell is a CTC.
        sample: (n,) int32, the same number for cells of the same patient or sample.
        wavelet: by which runs are compared; None where there are too few groups to tell.
        network: likewise.
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
    """Make all statistics.

    Args:
        training: cells of both classes.
        validation: others, of other groups.
        seed: of the folds in which the spread of the training groups is measured.

    Raises:
        ValueError: a side lacks a class, or the network's features of it are no numbers.
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
        distance=distances(validation.features @ whitening, means @ whitening),
        positive=validation.positive,
        sample=np.unique(validation.group, return_inverse=True)[1].astype(np.int32),
        wavelet=None,
        network=None,
    )
    if training.inputs.shape[1] < MIN_INPUT_SIDE:
        return features
    widest = _widest(around)
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
                _Measurements(training.features @ widest, training.positive, training.group),
                _Measurements(validation.features @ widest, validation.positive, validation.group),
                seed,
            ),
            widest,
        ),
    )


def _check_usable(cells: FeatureSet, side: str) -> None:
    if len(np.unique(cells.positive)) < 2:
        raise ValueError(f"the {side} cells are of one class only; CTCs and others are needed")
    if not np.isfinite(cells.features).all():
        raise ValueError(f"the network's features of the {side} cells are no numbers; fit it anew")


def _class_means(measures: Floats, positive: Flags) -> Floats:
    return np.stack([measures[positive == kind].mean(axis=0) for kind in (False, True)])


def _widest(around: Floats) -> Floats:
    """Return (d, k), the directions in which (n, d) deviations vary most, the most first."""
    _, directions = np.linalg.eigh(around.T.astype(np.float64) @ around)
    widest: Floats = directions[:, : -NETWORK_AXES - 1 : -1].astype(np.float32)
    return widest


def _in_features(subspace: ShiftSubspace | None, directions: Floats) -> ShiftSubspace | None:
    """Let an subspace of projections take the features themselves."""
    return subspace and replace(subspace, axes=directions @ subspace.axes)


@dataclass(frozen=True, slots=True)
class _Measurements(Columns):
    """What is measured of cells, (n, d), with their class and group."""

    measures: Floats
    positive: Flags
    group: Names


def _subspace(
    training: _Measurements, validation: _Measurements, seed: int
) -> ShiftSubspace | None:
    """Learn by what runs are compared, and how far those like training usually are.

    A run like training is as far as a group that was left out. How widely that distance scatters is
    told by the training groups, each left out once, and by the validation groups; how far it
    usually is by those of them that are farther: a network can know its training cells too well.
    """
    subspace = _compared(training)
    if subspace is None:
        return None
    left_out: list[float] = []
    fold = _folds(training.group, seed)
    for number in range(_FOLDS):
        others = _compared(training.select(fold != number))
        if others is None:
            return None
        left_out += _distances(others, training.select(fold == number))
    sides = [np.log(side) for side in (left_out, _distances(subspace, validation)) if side]
    usual = [float(np.median(side)) for side in sides]
    scattered = np.concatenate([side - middle for side, middle in zip(sides, usual, strict=True)])
    # Of the upper side alone: what matters is how far out groups lie, not how near.
    spread = float(np.quantile(scattered, norm.cdf(1)))
    # Few groups know neither well.
    spread *= t.isf(norm.sf(ALERT_SIGMAS), len(scattered) - 1) / ALERT_SIGMAS
    spread *= math.sqrt(1 + 1 / len(sides[-1]))
    return replace(subspace, usual=math.exp(max(usual)), spread=spread)


def _compared(cells: _Measurements) -> ShiftSubspace | None:
    """Find axes, means and spread between groups; None of too few groups, or of one class."""
    members = _members(cells)
    if len(members) < _MIN_GROUPS or len(np.unique(cells.positive)) < 2:
        return None
    means = _class_means(cells.measures, cells.positive).astype(np.float64)
    around = cells.measures - means[cells.positive.astype(np.intp)]
    off = np.stack([around[rows].mean(axis=0) for rows in members])
    rest = np.concatenate([around[rows] - mean for rows, mean in zip(members, off, strict=True)])
    within = rest.T @ rest / (len(rest) - len(members))
    within += 1e-6 * np.trace(within) / len(within) * np.eye(len(within))
    # Of groups of few cells the means differ by chance, too.
    chance = float(np.mean([1 / len(rows) for rows in members]))
    between = off.T @ off / len(off) - chance * within
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
    """Return how far each group's cells of one class are."""
    return [
        subspace.distance(subspace.project(cells.measures[rows]).mean(axis=0), len(rows))
        for rows in _members(cells)
    ]


def _members(cells: _Measurements) -> list[NDArray[np.intp]]:
    """Return the rows of each group's cells of one class, where there are enough to compare."""
    found = [
        np.flatnonzero((cells.group == name) & (cells.positive == kind))
        for name in np.unique(cells.group)
        for kind in (False, True)
    ]
    return [rows for rows in found if len(rows) >= _MIN_CELLS]


def _folds(group: Names, seed: int) -> NDArray[np.intp]:
    """Return (n,), the fold of each cell; those of a group have the same."""
    names, number = np.unique(group, return_inverse=True)
    folds: NDArray[np.intp] = np.random.default_rng(seed).permutation(len(names))[number] % _FOLDS
    return folds
