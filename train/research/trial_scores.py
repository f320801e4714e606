"""Held-out scores of trials: computed fold by fold, stored, and read again.

Each fold of each trial is a run folder of its own. It contains the cells that it was fitted on, so
that scores are read for a manifest of the same cells only, in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctcedge.fs.files import atomic_write

from ..data import splits as split
from ..data.dataset import Cells, read_cells
from ..data.manifest import choose, read_manifests
from ..fit.fit import assign_splits, fit
from ..fit.folder import CELLS_NAME, RunError, differences, npz_bytes
from ..fit.networks import predict
from ..fit.run import recipe
from ..metrics.calibration import calibrate
from ..metrics.onnx_scores import probabilities
from .trials import FOLDS, SPLIT_SEED, Trial

SCORES_NAME = "scores.npz"

_IDENTITY = ("digest", "group", "positive", "has_nucleus", "side")


@dataclass(frozen=True, slots=True)
class HeldOutScores:
    """Scores of a trial for cells that it was not trained on.

    Attributes:
        row: (n,) index of each cell in the manifest.
        fold: (n,) the fold that held it out.
        probability: (n,) of CTC, calibrated on the fold's validation split.
    """

    row: NDArray[np.intp]
    fold: NDArray[np.intp]
    probability: NDArray[np.float64]


def benchmark(manifest: Path, trial: Trial) -> Cells:
    """Read the labelled cells of a manifest as a trial sees them."""
    return read_cells(choose(read_manifests([manifest])), trial.input(), lambda: None)


def run(trial: Trial, manifest: Path, number: int, out: Path) -> None:
    """Fit one fold of one trial, or continue it, and store its scores of the test cells.

    Raises:
        RunError: the fold's folder contains another recipe or other cells.
    """
    folder = _folder(trial, number, out)
    input = trial.input()
    cells = benchmark(manifest, trial)
    splits = _splits(cells, number)
    network = fit(cells, splits, trial.settings, input, folder, initial=trial.initial())
    logits = {
        name: predict(network, cells.bright[splits == name], input.gain)
        for name in ("validation", "test")
    }
    calibration = calibrate(logits["validation"], cells.positive[splits == "validation"])
    scores = {
        "row": np.flatnonzero(splits == "test"),
        "probability": probabilities(logits["test"], calibration),
    }
    atomic_write(folder / SCORES_NAME, npz_bytes(scores))


def read_scores(trials: Sequence[Trial], cells: Cells, out: Path) -> dict[str, HeldOutScores]:
    """Read the scores of trials by name; trials without a finished fold are left out.

    Args:
        trials: to read.
        cells: of the manifest, in any order.
        out: parent of the trials' folders.

    Raises:
        RunError: a fold was fitted by another recipe, or on other cells, labels or splits.
    """
    found: dict[str, list[HeldOutScores]] = {}
    for number in range(1, FOLDS + 1):
        done = [trial for trial in trials if (_folder(trial, number, out) / SCORES_NAME).is_file()]
        if done:
            mine = cells.columns() | {"side": _splits(cells, number)}
            for trial in done:
                found.setdefault(trial.name, []).append(_read(trial, number, out, mine))
    return {
        trial.name: HeldOutScores(
            np.concatenate([part.row for part in found[trial.name]]),
            np.concatenate([part.fold for part in found[trial.name]]),
            np.concatenate([part.probability for part in found[trial.name]]),
        )
        for trial in trials
        if trial.name in found
    }


def _read(
    trial: Trial, number: int, out: Path, mine: dict[str, NDArray[np.generic]]
) -> HeldOutScores:
    folder = _folder(trial, number, out)
    initial = trial.initial()
    first = initial.sha256 if initial else ""
    differ = differences(folder, recipe(trial.settings, trial.input(), first))
    with (
        np.load(folder / CELLS_NAME, allow_pickle=False) as fitted,
        np.load(folder / SCORES_NAME, allow_pickle=False) as stored,
    ):
        theirs = {name: fitted[name] for name in _IDENTITY}
        tested, probability = stored["row"], stored["probability"]
    one, other = (np.lexsort([each[name] for name in _IDENTITY]) for each in (theirs, mine))
    if len(one) != len(other) or any(
        (theirs[name][one] != mine[name][other]).any() for name in _IDENTITY
    ):
        differ.append("other cells, labels or splits")
    elif not np.array_equal(tested, np.flatnonzero(theirs["side"] == "test")):
        differ.append("scores of cells that were not held out")
    if differ:
        raise RunError(
            f"{folder} contains a trial with {'; '.join(differ)}; give its manifest, or remove the"
            " folder to fit it again"
        )
    row = np.empty(len(one), np.intp)
    row[one] = other
    return HeldOutScores(row[tested], np.full(len(tested), number), probability)


def _folder(trial: Trial, number: int, out: Path) -> Path:
    return out / trial.name / f"fold-{number}"


def _splits(cells: Cells, number: int) -> NDArray[np.str_]:
    return assign_splits(
        cells, SPLIT_SEED, split.assign_folds(cells, FOLDS, SPLIT_SEED) == number - 1
    )
