"""Every figure of a model on a set of cells."""

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
"""What no drawing of samples can change, or is a bound itself."""

_MODEL, _BASELINE, _POINT, _STRATUM = "model", "baseline ", "point ", "stratum "

SECTIONS = {
    "How well the cells are ranked": {
        "auc": "Area under the ROC curve (AUC)",
        "average_precision": "Average precision, at these cells' share of CTCs",
        "sample_auc": "AUC of samples with CTCs against those without, by their cells' mean"
        " probability",
        "sensitivity_at_1_in_10": "Sensitivity where 1 in 10 others may be called CTC",
        "sensitivity_at_1_in_100": "Sensitivity where 1 in 100 others may be called CTC",
        "sensitivity_at_1_in_1000": "Sensitivity where 1 in 1,000 others may be called CTC",
        "looked_at_for_90_percent": (
            "Share of cells a person looks at to find 90 % of the CTCs, if 1 cell in 1,000 is one"
        ),
    },
    "Calls at the model's threshold, review band ignored": {
        "f1": "F1",
        "macro_f1": "Macro F1, the mean of both classes' F1",
        "sensitivity": "Sensitivity",
        "false_calls_per_10000": "False CTC calls per 10,000 others",
        "false_calls_per_10000_upper": (
            "Upper 95 % bound of that (exact binomial, one-sided, cells taken as independent)"
        ),
    },
    "Leaving the doubtful to a person": {
        "macro_f1_70": "Macro F1 of the 70 % most certain cells",
        "deferred_70_ctc": "Share of the CTCs left to a person by that",
        "deferred_70_other": "Share of the others left to a person by that",
        "macro_f1_decided": "Macro F1 outside the model's own review band",
        "review": "Share of cells in the review band",
        "review_ctc": "Share of the CTCs in the review band",
        "review_other": "Share of the others in the review band",
    },
    "Probabilities, classes weighted to the model's prior": {
        "log_loss": "Log loss",
        "log_loss_constant": "Log loss of the constant predictor",
        "brier": "Brier score",
        "brier_constant": "Brier score of the constant predictor",
        "calibration_slope": "Calibration slope (1 is right; below 1, overconfident)",
        "calibration_intercept": "Calibration intercept (0 is right)",
        "ece": "Expected calibration error, 10 bins (ECE)",
    },
    "Probabilities restated at these cells' own share of CTCs": {
        "log_loss_as_is": "Log loss",
        "log_loss_constant_as_is": "Log loss of the constant predictor that knows the share",
        "brier_as_is": "Brier score",
        "brier_constant_as_is": "Brier score of the constant predictor that knows the share",
    },
}
"""What each figure means, by its name in report.json, in the report's order."""

MEANING = {name: text for section in SECTIONS.values() for name, text in section.items()}


@dataclass(frozen=True, slots=True)
class CellCounts:
    """Cells that belong together, such as those of a sample.

    Attributes:
        name: of the sample or stratum.
        cells: their number, with those of unknown label.
        ctcs: how many are labelled CTC.
        others: how many are labelled as no CTC.
        mean_probability: of all.
        called: how many are called CTC at the threshold, review band ignored.
        review: how many are in the review band.
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
        counted: its cells.
        called: share called CTC at the threshold, review band ignored.
        auc: of its labelled cells against all of the other class; NaN where it holds both classes
            or no labels.
    """

    counts: CellCounts
    called: Estimate
    auc: Estimate


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one model, or of one model a fold, on one set of cells.

    Attributes:
        cells: of known label.
        ctcs: of them.
        unlabelled: cells of unknown label, which stand in `strata` and `per_sample` alone.
        samples: that hold cells of known label.
        groups: that the intervals draw: patients, or samples where no patient is given.
        prior: share of CTCs at which the probabilities are stated.
        values: by the names of `MEANING`; NaN where the cells cannot tell.
        baselines: by baseline, the ranking figures among `values`, and `auc_gain`, the model's AUC
            less the baseline's.
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
        cells: never trained on.
        scores: of the model for them, such as `Scores.of` makes.
        prior: share of CTCs at which its probabilities are stated.
        baselines: by name, (n,) scores for the same cells, such as `train.baselines.baselines`
        makes; may
            be empty.
        seed: of the bootstrap.
        known: (n,) false for cells of unknown label; None where all are known.
        draws: of the bootstrap.

    Raises:
        ValueError: the labelled cells are of one class only.
    """
    known = np.ones(len(cells), dtype=bool) if known is None else known
    truth, said = cells.select(known), scores.select(known)
    positive = truth.positive
    if len(np.unique(positive)) < 2:
        raise ValueError("cells of one class only; figures need CTCs and others")
    ranked = {name: score[known] for name, score in baselines.items()}
    strata = [str(name) for name in np.unique(cells.stratum)]

    def statistics(weight: Floats) -> dict[str, dict[str, Floats]]:
        of_known = weight[:, known]
        model = {
            **of_model(positive, said, of_known, prior),
            **of_samples(positive, said.probability, truth.sample, of_known),
        }
        parts = {_MODEL: model}
        for name, score in ranked.items():
            ranking = of_ranking(positive, score, of_known)
            parts[_BASELINE + name] = {**ranking, "auc_gain": model["auc"] - ranking["auc"]}
        for name, called in said.at.items():
            parts[_POINT + name] = of_calls(positive, called, of_known)
        for name in strata:
            inside = cells.stratum == name
            parts[_STRATUM + name] = of_stratum(cells.positive, scores, inside, known, weight)
        return parts

    resampling = Resampling(cells.group, cells.positive, seed, draws, known)
    found = resampling.estimate(statistics)
    for name, part in itertools.product(_NO_INTERVAL, found.values()):
        if name in part:
            part[name] = Estimate(part[name].value, math.nan, math.nan)
    return Figures(
        cells=len(truth),
        ctcs=int(positive.sum()),
        unlabelled=int((~known).sum()),
        samples=len(np.unique(truth.sample)),
        groups=len(np.unique(truth.group)),
        prior=prior,
        values={name: found[_MODEL][name] for name in MEANING},
        baselines={name: found[_BASELINE + name] for name in ranked},
        operating_points={name: found[_POINT + name] for name in said.at},
        strata=[
            Stratum(_count(name, cells.stratum, cells, scores, known), **found[_STRATUM + name])
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
