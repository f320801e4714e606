"""The runtime's calls: what is called, what goes to a person, and why."""

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
        ctcs: how many are labelled CTC.
        others: how many are labelled as no CTC.
        unlabelled: how many have no label.
        ctcs_above: how many of the CTCs the threshold alone would call CTC.
        others_above: how many of the others it would call CTC.
        ctcs_share: they are of all CTCs.
        others_share: they are of all others.
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
    """Cells by what the runtime says of them.

    Attributes:
        by_call: `CTC`, `leukocyte` and `review`.
        doubted: what goes to a person whatever its probability, for its image or because it is
            unlike the training data.
        by_reason: of a review, the most frequent first; a cell may have several.
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
    """Count the runtime's calls and its reasons.

    Args:
        cells: n.
        verdicts: n, of the runtime.
        above: (n,) at or above the threshold.
        known: (n,) false for cells of unknown label.
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
    shares = _shares(inside[:, known], positive, resampling)
    ctcs, others = known & cells.positive, known & ~cells.positive
    parts = iter(
        [
            CallGroup(
                ctcs=int((part & ctcs).sum()),
                negatives=int((part & others).sum()),
                unlabelled=int((part & ~known).sum()),
                ctcs_above=int((part & ctcs & above).sum()),
                negatives_above=int((part & others & above).sum()),
                ctcs_fraction=of_ctcs,
                negatives_fraction=of_others,
            )
            for part, (of_ctcs, of_others) in zip(inside, shares, strict=True)
        ]
    )
    return Calls(
        by_call={kind: next(parts) for kind in kinds},
        flagged=next(parts),
        by_reason={reason: next(parts) for reason in reasons},
    )


def _shares(
    inside: Labels, positive: Labels, resampling: Resampling
) -> Iterable[tuple[Estimate, Estimate]]:
    """Estimate which share of the CTCs, and of the others, lies in each part.

    Args:
        inside: (k, n) of each part.
        positive: (n,).
        resampling: of the same cells.
    """

    def statistics(weight: Floats) -> dict[str, dict[str, Floats]]:
        shares = {}
        for name, of in (("ctcs", positive), ("others", ~positive)):
            counts = weight @ (inside & of).T.astype(np.float64)
            with np.errstate(invalid="ignore"):  # a draw may hold one class only
                columns = counts.T / (weight @ of)
            shares[name] = {str(number): column for number, column in enumerate(columns)}
        return shares

    found = resampling.estimate(statistics)
    return zip(found["ctcs"].values(), found["others"].values(), strict=True)
