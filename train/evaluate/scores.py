"""Probabilities of cells compared with thresholds; see `calls` for the runtime's calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from ctcedge.classification.decision import decide
from ctcedge.model.spec import DecisionThresholds

from ..metrics.roc import Floats, Labels, log_odds


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of cells, each by its own model.

    Attributes:
        probability: (n,) of CTC, rounded as by the runtime.
        called: (n,) bool, at or above the model's threshold.
        review: (n,) bool, in the model's review band.
        certainty: (n,) distance of probability and threshold, in log odds.
        at: (n,) bool by operating point, at or above its threshold.
    """

    probability: Floats
    called: Labels
    review: Labels
    certainty: Floats
    at: dict[str, Labels] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        probability: Floats,
        decision: DecisionThresholds,
        thresholds: Mapping[str, float] | None = None,
    ) -> Scores:
        """Compare probabilities with the threshold and the review band.

        Args:
            probability: (n,) of one model.
            decision: of that model.
            thresholds: of that model's operating points, by name.
        """
        calls = [decide(float(p), decision).call for p in probability]
        return cls(
            probability=probability,
            called=probability >= decision.threshold,
            review=np.array([call == "review" for call in calls], dtype=bool),
            certainty=np.abs(log_odds(probability) - log_odds(np.array(decision.threshold))),
            at={name: probability >= threshold for name, threshold in (thresholds or {}).items()},
        )

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Scores:
        """Return the cells of a mask or of indices."""
        plain = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "at"}
        return Scores(**plain, at={name: called[rows] for name, called in self.at.items()})

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """Concatenate the scores of several models.

        Operating points that a model lacks are left out.
        """
        shared = [name for name in parts[0].at if all(name in part.at for part in parts)]
        plain = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(cls)
            if f.name != "at"
        }
        at = {name: np.concatenate([part.at[name] for part in parts]) for name in shared}
        return cls(**plain, at=at)
