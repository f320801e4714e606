"""All figures of a model on a set of cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Cells
from ..metrics.roc import Floats, Labels
from .bootstrap import DRAWS, Estimate, Resampling
from .scores import Scores
from .statistics import (
    of_calls,
    of_model,
    of_ranking,
    of_samples,
    of_stratum,
)

_NO_INTERVAL = frozenset(
    (
        "false_calls_per_10000_upper",
        "log_loss_constant",
        "brier_constant",
        "log_loss_constant_as_is",
        "brier_constant_as_is",
    )
)
"""Figures without an interval: constants under resampling, or bounds themselves."""

_MODEL, _BASELINE, _POINT, _STRATUM = "model", "baseline ", "point ", "stratum "

SECTIONS = {
    "Ranking of the cells": {
        "auc": "Area under the ROC curve (AUC)",
        "average_precision": "Average precision, at these cells' fraction of CTCs",
        "sample_auc": "AUC of samples with CTCs against samples without, by the mean"
        " probability of their cells",
        "sensitivity_at_1_in_10": "Sensitivity where 1 in 10 negatives may be called CTC",
        "sensitivity_at_1_in_100": "Sensitivity where 1 in 100 negatives may be called CTC",
        "sensitivity_at_1_in_1000": "Sensitivity where 1 in 1,000 negatives may be called CTC",
        "looked_at_for_90_percent": (
            "Fraction of cells to review to find 90 % of the CTCs, if 1 cell in 1,000 is a CTC"
        ),
    },
    "Calls at the model's threshold, review band ignored": {
        "f1": "F1",
        "macro_f1": "Macro F1, the mean of both classes' F1",
        "sensitivity": "Sensitivity",
        "false_calls_per_10000": "False positives per 10,000 negatives",
        "false_calls_per_10000_upper": (
            "Upper 95 % bound of it (exact binomial, one-sided, cells assumed independent)"
        ),
    },
    "Review of uncertain cells": {
        "macro_f1_70": "Macro F1 of the 70 % most certain cells",
        "deferred_70_ctc": "Fraction of the CTCs among the 30 % left for review",
        "deferred_70_other": "Fraction of the negatives among the 30 % left for review",
        "macro_f1_decided": "Macro F1 outside the model's own review band",
        "review": "Fraction of cells in the review band",
        "review_ctc": "Fraction of the CTCs in the review band",
        "review_other": "Fraction of the negatives in the review band",
    },
    "Probabilities, classes weighted to the model's prior": {
        "log_loss": "Log loss",
        "log_loss_constant": "Log loss of the constant predictor",
        "brier": "Brier score",
        "brier_constant": "Brier score of the constant predictor",
        "calibration_slope": "Calibration slope (1 is ideal; below 1, overconfident)",
        "calibration_intercept": "Calibration intercept (0 is ideal)",
        "ece": "Expected calibration error, 10 bins (ECE)",
    },
    "Probabilities restated at these cells' own fraction of CTCs": {
        "log_loss_as_is": "Log loss",
        "log_loss_constant_as_is": "Log loss of the constant predictor that knows the fraction",
        "brier_as_is": "Brier score",
        "brier_constant_as_is": "Brier score of the constant predictor that knows the fraction",
    },
}
"""Titles of the figures, by name in report.json and in the report's order."""

MEANING = {name: text for section in SECTIONS.values() for name, text in section.items()}


@dataclass(frozen=True, slots=True)
class CellCounts:
    """Counts of the cells of a sample or stratum.

    Attributes:
        name: of the sample or stratum.
        cells: number of cells, including those without a label.
        ctcs: number of cells labelled CTC.
        negatives: number of cells labelled as not CTC.
        mean_probability: of all cells.
        called: number of cells called CTC at the threshold, review band ignored.
        review: number of cells in the review band.
    """

    name: str
    cells: int
    ctcs: int
    negatives: int
    mean_probability: float
    called: int
    review: int


@dataclass(frozen=True, slots=True)
class Stratum:
    """The cells of one stratum.

    Attributes:
        counts: of its cells.
        called: fraction called CTC at the threshold, review band ignored.
        auc: of its labelled cells against all of the other class; NaN where it has both classes or
            no labels.
    """

    counts: CellCounts
    called: Estimate
    auc: Estimate


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one model, or of one model per fold, on one set of cells.

    Attributes:
        cells: number of cells with a label.
        ctcs: number of CTCs among them.
        unlabelled: number of cells without a label, which are in `strata` and `per_sample` only.
        samples: number of samples with labelled cells.
        groups: number of units of the bootstrap: patients, or samples where no patient is given.
        prior: fraction of CTCs for which the probabilities are stated.
        values: by the names of `MEANING`; NaN where not estimable.
        baselines: by baseline, the ranking figures among `values`, and `auc_gain`, the
            difference of the model's AUC and the baseline's.
        operating_points: by name, the figures of its calls among `values`.
        strata: in order of their names.
        per_sample: in order of their names.
    """

    cells: int
    ctcs: int
    unlabelled: int
    samples: int
    groups: int
    prior: float
    values: dict[str, Estimate]
    baselines: dict[str, dict[str, Estimate]]
    operating_points: dict[str, dict[str, Estimate]]
    strata: list[Stratum]
    per_sample: list[CellCounts]

    def __getitem__(self, name: str) -> Estimate:
        """Return a figure by its name in `MEANING`."""
        return self.values[name]


def figures(
    cells: Cells,
    scores: Scores,
    *,
    prior: float,
    baselines: Mapping[str, Floats],
    seed: int,
    known: Labels | None = None,
    draws: int = DRAWS,
) -> Figures:
    """Measure a model.

    Args:
        cells: not used for training.
        scores: of the model for them; see `Scores.of`.
        prior: fraction of CTCs for which its probabilities are stated.
        baselines: by name, (n,) scores for the same cells, such as those of
            `train.baselines.baselines`; may be empty.
        seed: of the bootstrap.
        known: (n,) false for cells without a label; None where all have one.
        draws: of the bootstrap.

    Raises:
        ValueError: the labelled cells are of one class only.
    """
    known = np.ones(len(cells), dtype=bool) if known is None else known
    labelled, scored = cells.select(known), scores.select(known)
    positive = labelled.positive
    if len(np.unique(positive)) < 2:
        raise ValueError("cells of one class only; CTCs and negatives are needed")
    ranked = {name: score[known] for name, score in baselines.items()}
    strata = [str(name) for name in np.unique(cells.stratum)]

    def statistics(weight: Floats) -> dict[str, dict[str, Floats]]:
        of_known = weight[:, known]
        model = {
            **of_model(positive, scored, of_known, prior),
            **of_samples(positive, scored.probability, labelled.sample, of_known),
        }
        parts = {_MODEL: model}
        for name, score in ranked.items():
            ranking = of_ranking(positive, score, of_known)
            parts[_BASELINE + name] = {**ranking, "auc_gain": model["auc"] - ranking["auc"]}
        for name, called in scored.at.items():
            parts[_POINT + name] = of_calls(positive, called, of_known)
        for name in strata:
            inside = cells.stratum == name
            parts[_STRATUM + name] = of_stratum(cells.positive, scores, inside, known, weight)
        return parts

    resampling = Resampling(cells.group, cells.positive, seed, draws, known)
    estimates = resampling.estimate(statistics)
    for name, part in itertools.product(_NO_INTERVAL, estimates.values()):
        if name in part:
            part[name] = Estimate(part[name].value, math.nan, math.nan)
    return Figures(
        cells=len(labelled),
        ctcs=int(positive.sum()),
        unlabelled=int((~known).sum()),
        samples=len(np.unique(labelled.sample)),
        groups=len(np.unique(labelled.group)),
        prior=prior,
        values={name: estimates[_MODEL][name] for name in MEANING},
        baselines={name: estimates[_BASELINE + name] for name in ranked},
        operating_points={name: estimates[_POINT + name] for name in scored.at},
        strata=[
            Stratum(_count(name, cells.stratum, cells, scores, known), **estimates[_STRATUM + name])
            for name in strata
        ],
        per_sample=[
            _count(str(name), cells.sample, cells, scores, known)
            for name in np.unique(cells.sample)
        ],
    )


def _count(
    name: str, names: NDArray[np.str_], cells: Cells, scores: Scores, known: Labels
) -> CellCounts:
    inside = names == name
    return CellCounts(
        name=name,
        cells=int(inside.sum()),
        ctcs=int((inside & known & cells.positive).sum()),
        negatives=int((inside & known & ~cells.positive).sum()),
        mean_probability=float(scores.probability[inside].mean()),
        called=int((inside & scores.called).sum()),
        review=int((inside & scores.review).sum()),
    )
