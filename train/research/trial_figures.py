"""Scores of all trials on the same cells, and figures of them with intervals over acquisitions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Cells
from ..evaluate.bootstrap import Estimate, Resampling
from ..metrics.roc import Curve, Floats, Labels, log_odds
from .trial_scores import read_scores
from .trials import REFERENCE, SPLIT_SEED, TRIALS


@dataclass(frozen=True, slots=True)
class TrialScores:
    """Log odds of all trials for the cells that the reference has scored, n cells.

    Attributes:
        rows: (n,) index of each cell in the manifest.
        fold: (n,).
        positive: (n,).
        group: (n,) text, the acquisition.
        logit: by trial, (n,); NaN where it has not scored the cell.
    """

    rows: NDArray[np.intp]
    fold: NDArray[np.intp]
    positive: Labels
    group: NDArray[np.str_]
    logit: dict[str, Floats]

    @property
    def reference(self) -> Floats:
        """The reference's log odds."""
        return self.logit[REFERENCE]

    @property
    def ensemble(self) -> Floats:
        """Mean log odds of all trials that have scored a cell."""
        mean: Floats = np.nanmean(np.stack(list(self.logit.values())), axis=0)
        return mean

    def scored_by(self, names: Sequence[str]) -> Labels:
        """Return which cells all of these trials have scored, (n,)."""
        scored: Labels = np.all([np.isfinite(self.logit[name]) for name in names], axis=0)
        return scored


def read_trial_scores(cells: Cells, out: Path) -> TrialScores:
    """Read the scores of the trials run so far.

    Raises:
        ValueError: the reference has scored no fold, or a trial is of another recipe or of other
            cells.
    """
    scores = read_scores(TRIALS, cells, out)
    if REFERENCE not in scores:
        raise ValueError(f"{out} has no fold of the trial '{REFERENCE}'; run it first")
    rows = np.sort(scores[REFERENCE].row)
    fold, logit = np.empty(len(rows), np.intp), {}
    for name, trial in scores.items():
        _, mine, theirs = np.intersect1d(rows, trial.row, return_indices=True)
        logit[name] = np.full(len(rows), np.nan)
        logit[name][mine] = log_odds(trial.probability[theirs])
        fold[mine] = trial.fold[theirs]
    logit = {name: values for name, values in logit.items() if np.isfinite(values).any()}
    return TrialScores(rows, fold, cells.positive[rows], cells.group[rows], logit)


Figure: TypeAlias = Callable[[Floats], Floats]
"""From weights, (m, n), to a figure of each draw, (m,)."""


class Measure:
    """Estimates figures with intervals over acquisitions, on the cells of `TrialScores`."""

    def __init__(self, scores: TrialScores) -> None:
        self._scores = scores

    def __call__(
        self, figures: Mapping[str, Figure], rows: Labels | None = None
    ) -> dict[str, Estimate]:
        """Estimate functions of the weights of some of the cells, (m, n) to (m,)."""
        chosen = np.ones(len(self._scores.rows), bool) if rows is None else rows
        resampling = Resampling(
            self._scores.group[chosen], self._scores.positive[chosen], SPLIT_SEED
        )

        def statistics(weight: Floats) -> dict[str, dict[str, Floats]]:
            whole = np.zeros((len(weight), len(chosen)))
            whole[:, chosen] = weight
            return {"all": {name: figure(whole) for name, figure in figures.items()}}

        return resampling.estimate(statistics)["all"]

    def auc(self, score: Floats, rows: Labels | None = None) -> Figure:
        """Return the AUC of a score, on some of the cells, as a function of the weights."""
        chosen = np.isfinite(score) if rows is None else rows & np.isfinite(score)
        return lambda weight: Curve.of(
            self._scores.positive[chosen], score[chosen], weight[:, chosen]
        ).auc()


@dataclass(frozen=True, slots=True)
class Part:
    """One subsection of the error analysis.

    Attributes:
        text: in Markdown.
        gains: in AUC, by the change that would bring them.
    """

    text: str
    gains: dict[str, Estimate]


def difference(one: Figure, other: Figure) -> Figure:
    return lambda weight: one(weight) - other(weight)


def mean_figure(figures: Sequence[Figure]) -> Figure:
    return lambda weight: np.mean([figure(weight) for figure in figures], axis=0)


def format_gain(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return f"{estimate.value:+.3f}"
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


def format_percent(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def format_range(count: NDArray[np.intp]) -> str:
    low, high = count.min(), count.max()
    return f"{low}" if low == high else f"{low} to {high}"


def lower_first(text: str) -> str:
    return text[0].lower() + text[1:]
