"""What the reviews of a folder say of the model, and of each other.

Missed CTCs: cells called leukocyte that a person calls CTC. Two kinds of them were looked at.
Those of the random draw, reviewed blinded, stand for all that nobody looked at: the share of CTCs
among them, each weighted by how many it was drawn for (the ratio estimator of Hájek), times the
cells that nobody looked at on purpose. Those that were looked at on purpose stand for themselves.
The interval is Clopper and Pearson's for the share, at the effective number of cells where weights
differ (Kish), within what is possible in so many cells; a cell of which the person is unsure is no
CTC for its lower end and a CTC for its upper end.

Two readers: Cohen's kappa on the cells that both reviewed, of the same image. The interval is
Bayesian, from a Dirichlet prior on the table of both calls that weighs as much as one cell (Perks):
unlike the usual approximation, it holds for few cells and for perfect agreement.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ctcedge.results.tally import CALLS
from ctcedge.sidecars.scan import CropRecord
from ctcedge.sidecars.schema import ReviewEntry
from ctcedge.stats import Floats, clopper_pearson

MISSED_METHOD = "Hajek estimate; Clopper-Pearson 95 % interval at the effective number of cells"
KAPPA_METHOD = "Cohen's kappa; Bayesian 95 % interval, Dirichlet prior of weight 1"

_WORDS = ("CTC", "leukocyte", "unsure")
_DRAWS = 20_000
_SEED = 6


@dataclass(frozen=True, slots=True)
class Missed:
    """CTCs among the cells that the model calls leukocyte.

    Attributes:
        leukocytes: cells called so now.
        drawn: of these, reviewed blinded because the draw chose them.
        drawn_ctcs: of the drawn, called CTC by a person.
        drawn_unsure: of the drawn, those of which the person is unsure.
        others: reviewed for another reason.
        other_ctcs: of these others, called CTC by a person.
        estimate: missed CTCs in all.
        low: of the 95 % interval of their number.
        high: of the same.
    """

    leukocytes: int
    drawn: int
    drawn_ctcs: int
    drawn_unsure: int
    others: int
    other_ctcs: int
    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Kappa:
    """How two readers agree.

    Attributes:
        readers: their names.
        cells: that both reviewed.
        same: of these, called the same by both.
        kappa: Cohen's; None where both always said one and the same word.
        low: of its 95 % interval.
        high: of the same.
    """

    readers: tuple[str, str]
    cells: int
    same: int
    kappa: float | None
    low: float | None
    high: float | None


@dataclass(slots=True)
class Assessment:
    """What the reviews in a folder's sidecars say.

    Attributes:
        cells: classified.
        reviewed: of these, reviewed by a person, of the image that was classified.
        outdated: reviewed, but of another image.
        words: (the model's call, the person's call) of each reviewed cell.
        missed: None where no cell of the random draw was reviewed.
        kappas: of each two readers who reviewed the same cells.
    """

    cells: int = 0
    reviewed: int = 0
    outdated: int = 0
    words: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: Missed | None = None
    kappas: list[Kappa] = field(default_factory=list)

    def agreement(self) -> tuple[int, int]:
        """Cells on which model and person agree, of those that both called CTC or leukocyte."""
        decided = {
            pair: count for pair, count in self.words.items() if {*pair} <= {"CTC", "leukocyte"}
        }
        return sum(count for (was, is_), count in decided.items() if was == is_), sum(
            decided.values()
        )

    def as_json(self) -> dict[str, Any]:
        """The same for scripts."""
        same, both = self.agreement()
        calls: dict[str, dict[str, int]] = {
            call: {word: self.words[call, word] for word in _WORDS} for call in CALLS
        }
        return {
            "cells": self.cells,
            "reviewed": self.reviewed,
            "reviewed_of_another_image": self.outdated,
            "calls": calls,
            "agreement": {"same": same, "of": both},
            "missed_ctcs": self.missed
            and {**dataclasses.asdict(self.missed), "method": MISSED_METHOD},
            "readers": [{**dataclasses.asdict(k), "method": KAPPA_METHOD} for k in self.kappas],
        }


def assess(stored: Iterable[CropRecord]) -> Assessment:
    """Look at the reviews in a folder's sidecars."""
    result = Assessment()
    sample = _Sample()
    tables: dict[tuple[str, str], Counter[tuple[str, str]]] = defaultdict(Counter)
    for each in stored:
        record = each.record
        if record is None or record.call is None:
            continue
        result.cells += 1
        seen = record.reviews_of_image
        sample.add(record.call, seen)
        if seen:
            result.reviewed += 1
            result.words[record.call, seen[-1].call] += 1
        elif record.review is not None:
            result.outdated += 1
        readers = {review.reviewer: review.call for review in seen}
        for one, two in itertools.combinations(sorted(readers), 2):
            tables[one, two][readers[one], readers[two]] += 1
    result.missed = sample.missed()
    result.kappas = [kappa(pair, table) for pair, table in sorted(tables.items())]
    return result


class _Sample:
    """The cells called leukocyte that were reviewed."""

    def __init__(self) -> None:
        self._leukocytes = 0
        self._drawn: list[tuple[float, str]] = []
        self._others: Counter[str] = Counter()

    def add(self, call: str, seen: Sequence[ReviewEntry]) -> None:
        """Count one cell.

        Args:
            call: the model's.
            seen: the reviews of its image, oldest first.
        """
        if call != "leukocyte":
            return
        self._leukocytes += 1
        if not seen:
            return
        word = seen[-1].call
        weights = [
            review.weight
            for review in seen
            if review.blinded
            and review.model_call == "leukocyte"
            and review.weight is not None
            and review.weight >= 1
        ]
        if weights:
            self._drawn.append((weights[-1], word))
        else:
            self._others[word] += 1

    def missed(self) -> Missed | None:
        """Estimate; None where nothing of the draw was reviewed."""
        if not self._drawn:
            return None
        weights = np.array([weight for weight, _ in self._drawn])
        counts = Counter(word for _, word in self._drawn)
        shares = {
            word: float(weights[[said == word for _, said in self._drawn]].sum() / weights.sum())
            for word in counts
        }
        ctcs, unsure = shares.get("CTC", 0.0), shares.get("unsure", 0.0)
        effective = float(weights.sum() ** 2 / (weights**2).sum())
        low, _ = clopper_pearson(effective * ctcs, effective)
        _, high = clopper_pearson(min(effective, effective * (ctcs + unsure)), effective)
        rest = self._leukocytes - self._others.total()
        unseen = rest - len(self._drawn)
        found, doubtful = counts["CTC"], counts["CTC"] + counts["unsure"]
        base = self._others["CTC"]
        return Missed(
            leukocytes=self._leukocytes,
            drawn=len(self._drawn),
            drawn_ctcs=found,
            drawn_unsure=counts["unsure"],
            others=self._others.total(),
            other_ctcs=base,
            estimate=base + min(max(rest * ctcs, found), found + unseen),
            low=base + min(max(rest * low, found), rest),
            high=base + self._others["unsure"] + min(rest * high, doubtful + unseen),
        )


def kappa(readers: tuple[str, str], table: Counter[tuple[str, str]]) -> Kappa:
    """Cohen's kappa of two readers.

    Args:
        readers: their names.
        table: cells by what the one and the other said.
    """
    words = sorted({word for pair in table for word in pair})
    counts = np.array([[table[one, two] for two in words] for one in words], np.float64)
    cells, same = int(counts.sum()), int(np.trace(counts))
    if len(words) < 2:
        return Kappa(readers, cells, same, None, None, None)
    found = float(_kappas(counts[None] / cells)[0])
    prior = 1 / counts.size
    drawn = np.random.default_rng(_SEED).dirichlet(counts.ravel() + prior, _DRAWS)
    low, high = np.quantile(_kappas(drawn.reshape(-1, *counts.shape)), (0.025, 0.975))
    return Kappa(readers, cells, same, found, min(float(low), found), max(float(high), found))


def _kappas(tables: Floats) -> Floats:
    """Cohen's kappa of tables of shares, (n, words, words)."""
    agreed = np.trace(tables, axis1=1, axis2=2)
    by_chance = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1)
    return np.asarray((agreed - by_chance) / np.maximum(1 - by_chance, 1e-12))
