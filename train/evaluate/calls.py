"""Count the runtime's calls and its reasons for review."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from ctcedge.classification.decision import NEAR_THRESHOLD, Call, Prediction

from ..data.dataset import Cells
from ..metrics.roc import Floats, Labels
from .bootstrap import DRAWS, Estimate, Resampling


@dataclass(frozen=True, slots=True)
class CallGroup:
    """The cells of one call, or of one reason for review.

    Attributes:
        ctcs: number of cells labelled CTC.
        negatives: number of cells labelled as not CTC.
        unlabelled: number of cells without a label.
        ctcs_above: number of CTCs at or above the threshold.
        negatives_above: number of negatives at or above the threshold.
        ctcs_fraction: fraction of all CTCs.
        negatives_fraction: fraction of all negatives.
    """

    ctcs: int
    negatives: int
    unlabelled: int
    ctcs_above: int
    negatives_above: int
    ctcs_fraction: Estimate
    negatives_fraction: Estimate


@dataclass(frozen=True, slots=True)
class Calls:
    """Cells by the runtime's calls and reasons.

    Attributes:
        by_call: `CTC`, `leukocyte` and `review`.
        flagged: cells for review whatever their probability, because of the quality checks or the
            out-of-distribution detection.
        by_reason: by reason for review, the most frequent first; a cell may have several.
    """

    by_call: dict[Call, CallGroup]
    flagged: CallGroup
    by_reason: dict[str, CallGroup]


def count_calls(
    cells: Cells,
    verdicts: Sequence[Prediction],
    above: Labels,
    *,
    known: Labels,
    seed: int,
    draws: int = DRAWS,
) -> Calls:
    """Count calls and reasons.

    Args:
        cells: n.
        verdicts: n, of the runtime.
        above: (n,) at or above the threshold.
        known: (n,) false for cells without a label.
        seed: of the bootstrap.
        draws: of the bootstrap.
    """
    kinds: tuple[Call, ...] = get_args(Call)
    counts = Counter(reason for verdict in verdicts for reason in verdict.reasons)
    reasons = [reason for reason, _ in counts.most_common()]
    inside = np.array(
        [
            *([verdict.call == kind for verdict in verdicts] for kind in kinds),
            [not {NEAR_THRESHOLD}.issuperset(verdict.reasons) for verdict in verdicts],
            *([reason in verdict.reasons for verdict in verdicts] for reason in reasons),
        ]
    )
    positive = cells.positive[known]
    resampling = Resampling(cells.group[known], positive, seed, draws)
    fractions = _fractions(inside[:, known], positive, resampling)
    ctcs, negatives = known & cells.positive, known & ~cells.positive
    parts = iter(
        [
            CallGroup(
                ctcs=int((part & ctcs).sum()),
                negatives=int((part & negatives).sum()),
                unlabelled=int((part & ~known).sum()),
                ctcs_above=int((part & ctcs & above).sum()),
                negatives_above=int((part & negatives & above).sum()),
                ctcs_fraction=of_ctcs,
                negatives_fraction=of_negatives,
            )
            for part, (of_ctcs, of_negatives) in zip(inside, fractions, strict=True)
        ]
    )
    return Calls(
        by_call={kind: next(parts) for kind in kinds},
        flagged=next(parts),
        by_reason={reason: next(parts) for reason in reasons},
    )


def _fractions(
    inside: Labels, positive: Labels, resampling: Resampling
) -> Iterable[tuple[Estimate, Estimate]]:
    """Estimate the fraction of the CTCs, and of the negatives, in each part.

    Args:
        inside: (k, n) members of each part.
        positive: (n,).
        resampling: of the same cells.
    """

    def statistics(weight: Floats) -> dict[str, dict[str, Floats]]:
        fractions = {}
        for name, members in (("ctcs", positive), ("negatives", ~positive)):
            counts = weight @ (inside & members).T.astype(np.float64)
            with np.errstate(invalid="ignore"):  # a draw may have one class only
                columns = counts.T / (weight @ members)
            fractions[name] = {str(number): column for number, column in enumerate(columns)}
        return fractions

    estimates = resampling.estimate(statistics)
    return zip(estimates["ctcs"].values(), estimates["negatives"].values(), strict=True)
