"""Compare a trial with another on the cells that both have scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Cells
from ..evaluate.bootstrap import Estimate, Resampling
from ..evaluate.statistics import of_samples
from ..evaluate.tables import UNKNOWN
from ..metrics.roc import Curve, Floats, roc_auc
from .trial_scores import HeldOutScores
from .trials import SPLIT_SEED

NOTHING = "nothing is shown"
BY_CHANCE = "no more than another seed makes"
BETTER, WORSE = "better", "worse"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A trial beside another, on the cells that both have scored.

    Attributes:
        auc: of the trial.
        sample_auc: of the trial, over acquisitions by the mean probability of their cells.
        gain: its AUC less the other's; None where there is no other.
        chance: the largest gain, either way, that another seed alone has made on these cells; None
            where no other seed has scored them.
        folds: that the cells are of.
        cells: their number.
    """

    auc: Estimate
    sample_auc: Estimate
    gain: Estimate | None
    chance: float | None
    folds: int
    cells: int

    @property
    def verdict(self) -> str:
        """The interpretation of the gain, in a few words."""
        if self.gain is None:
            return ""
        if math.isnan(self.gain.low):
            return UNKNOWN
        if self.gain.low <= 0 <= self.gain.high:
            return NOTHING
        if self.chance is not None and abs(self.gain.value) <= self.chance:
            return BY_CHANCE
        return BETTER if self.gain.value > 0 else WORSE


def compare(
    cells: Cells,
    mine: HeldOutScores,
    other: HeldOutScores | None = None,
    seeds: Sequence[HeldOutScores] = (),
) -> Comparison | None:
    """Measure a trial, and its difference from another, on the cells that both have scored.

    Args:
        cells: of the manifest.
        mine: scores of the trial.
        other: scores to compare with.
        seeds: scores of the reference, then of the trials that differ from it in the seed alone.

    Returns:
        The figures, with intervals over acquisitions; None where the two have no cell in common.
    """
    common = mine.row if other is None else np.intersect1d(mine.row, other.row)
    if not common.size:
        return None
    positive, sample = cells.positive[common], cells.sample[common]
    probability = {"mine": _at(mine, common)}
    if other is not None:
        probability["other"] = _at(other, common)

    def statistics(weight: Floats) -> dict[str, dict[str, Floats]]:
        auc = {name: Curve.of(positive, p, weight).auc() for name, p in probability.items()}
        figures = {"auc": auc["mine"], **of_samples(positive, probability["mine"], sample, weight)}
        if "other" in auc:
            figures["gain"] = auc["mine"] - auc["other"]
        return {"all": figures}

    found = Resampling(cells.group[common], positive, SPLIT_SEED).estimate(statistics)["all"]
    return Comparison(
        auc=found["auc"],
        sample_auc=found["sample_auc"],
        gain=found.get("gain"),
        chance=_chance(cells, common, seeds),
        folds=len(np.unique(_at(mine, common, "fold"))),
        cells=len(common),
    )


def _chance(cells: Cells, rows: NDArray[np.intp], seeds: Sequence[HeldOutScores]) -> float | None:
    gaps = []
    for other in seeds[1:]:
        common = np.intersect1d(rows, np.intersect1d(seeds[0].row, other.row))
        if len(np.unique(cells.positive[common])) == 2:
            one, two = (roc_auc(cells.positive[common], _at(s, common)) for s in (seeds[0], other))
            gaps.append(abs(two - one))
    return max(gaps, default=None)


def _at(
    scores: HeldOutScores, rows: NDArray[np.intp], what: str = "probability"
) -> NDArray[np.float64]:
    order = np.argsort(scores.row)
    found: NDArray[np.float64] = getattr(scores, what)[order][
        np.searchsorted(scores.row[order], rows)
    ]
    return found
