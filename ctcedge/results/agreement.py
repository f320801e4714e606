"""Agreement of reviews with the model and with each other.

Missed CTCs are cells called leukocyte by the model and CTC by a person. Reviewed leukocytes are of
two kinds. Cells of the random draw, reviewed blinded, represent all cells that were not chosen for
review: their fraction of CTCs, each weighted by the number of cells that it represents (Hájek's
ratio estimator), is multiplied by the number of those cells. Cells chosen for another reason count
as themselves. The interval is Clopper and Pearson's for that fraction, at Kish's effective sample
size where weights differ, limited to the possible counts; a cell of which the person is unsure is
no CTC for the lower limit and a CTC for the upper limit.

Cohen's kappa of two readers is computed on the cells that both reviewed, of the same image. Its
interval is Bayesian, from a Dirichlet prior of weight 1 on the table of both readers' calls
(Perks). It holds for few cells and for perfect agreement, where the usual approximation does not.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, get_args

import numpy as np

from ctcedge.sidecars.scan import CropRecord
from ctcedge.sidecars.schema import CALLS, ReviewCall, ReviewEntry
from ctcedge.stats import Floats, clopper_pearson

MISSED_METHOD = "Hajek estimate; Clopper-Pearson 95 % interval at the effective number of cells"
KAPPA_METHOD = "Cohen's kappa; Bayesian 95 % interval, Dirichlet prior of weight 1"

REVIEW_CALLS: tuple[str, ...] = get_args(ReviewCall)

_Reading: TypeAlias = tuple[tuple[str, ReviewCall], ...]
"""Readers of one cell and their calls."""

_MAX_READERS = 20  # who are compared with each other, as pairs grow with the square
_SAMPLES = 20_000
_SEED = 6


@dataclass(frozen=True, slots=True)
class Missed:
    """Estimated number of CTCs among the cells that the model calls leukocyte.

    Attributes:
        leukocytes: cells that the model calls leukocyte.
        drawn: leukocytes of the random draw that were reviewed blinded.
        drawn_ctcs: drawn cells that a person calls CTC.
        drawn_unsure: drawn cells of which the person is unsure.
        others: leukocytes that were reviewed for another reason.
        other_ctcs: those of `others` that a person calls CTC.
        estimate: estimated number of missed CTCs.
        low: lower limit of its 95 % interval.
        high: upper limit of its 95 % interval.
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
    """Agreement of two readers.

    Attributes:
        readers: names of the readers.
        cells: cells that both reviewed.
        same: cells that both called the same.
        kappa: Cohen's kappa; None where both gave one and the same call to all cells.
        low: lower limit of its 95 % interval.
        high: upper limit of its 95 % interval.
    """

    readers: tuple[str, str]
    cells: int
    same: int
    kappa: float | None
    low: float | None
    high: float | None


@dataclass(slots=True)
class Assessment:
    """Summary of the reviews in a folder's sidecars.

    Attributes:
        cells: classified cells.
        reviewed: cells reviewed by a person, of the image that was classified.
        outdated: cells of which only another image was reviewed.
        words: counts of (the model's call, the person's call) over the reviewed cells.
        missed: estimate of missed CTCs; None where no cell of the random draw was reviewed.
        kappas: agreement of each pair of readers who reviewed the same cells.
        readers_left_out: number of readers who are not among those of most cells, and are not
            compared.
    """

    cells: int = 0
    reviewed: int = 0
    outdated: int = 0
    words: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: Missed | None = None
    kappas: list[Kappa] = field(default_factory=list)
    readers_left_out: int = 0

    def agreement(self) -> tuple[int, int]:
        """Return the cells on which model and person agree, and those that both decided."""
        decided = {
            pair: count for pair, count in self.words.items() if {*pair} <= {"CTC", "leukocyte"}
        }
        same = sum(count for (model, person), count in decided.items() if model == person)
        return same, sum(decided.values())

    def as_json(self) -> dict[str, Any]:
        """Return the summary for `--json`."""
        same, both = self.agreement()
        calls: dict[str, dict[str, int]] = {
            call: {word: self.words[call, word] for word in REVIEW_CALLS} for call in CALLS
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
            "readers_left_out": self.readers_left_out,
        }


def assess(crops: Iterable[CropRecord]) -> Assessment:
    """Summarise the reviews in a folder's sidecars."""
    assessment = Assessment()
    leukocytes = _ReviewedLeukocytes()
    readings: Counter[_Reading] = Counter()
    for crop in crops:
        record = crop.record
        if record is None or record.call is None:
            continue
        assessment.cells += 1
        reviews = record.reviews_of_image
        if record.call == "leukocyte":
            leukocytes.add(reviews)
        if reviews:
            assessment.reviewed += 1
            assessment.words[record.call, reviews[-1].call] += 1
        elif record.review is not None:
            assessment.outdated += 1
        if len(reviews) > 1 and len(reading := _reading(reviews)) > 1:
            readings[reading] += 1
    assessment.missed = leukocytes.missed()
    assessment.kappas, assessment.readers_left_out = _agreement(readings)
    return assessment


def _reading(reviews: Sequence[ReviewEntry]) -> _Reading:
    """The last call of each of the latest readers, in the order of their names."""
    calls: dict[str, ReviewCall] = {}
    for review in reversed(reviews):
        if len(calls) < _MAX_READERS:
            calls.setdefault(review.reviewer, review.call)
    return tuple(sorted(calls.items()))


def _agreement(readings: Counter[_Reading]) -> tuple[list[Kappa], int]:
    """Agreement of each pair of the readers of most cells, and the number of other readers."""
    cells: Counter[str] = Counter()
    for reading, count in readings.items():
        cells.update(dict.fromkeys((reader for reader, _ in reading), count))
    compared = {reader for reader, _ in cells.most_common(_MAX_READERS)}
    tables: dict[tuple[str, str], Counter[tuple[str, str]]] = defaultdict(Counter)
    for reading, count in readings.items():
        known = [(reader, call) for reader, call in reading if reader in compared]
        for (one, one_call), (other, other_call) in itertools.combinations(known, 2):
            tables[one, other][one_call, other_call] += count
    return [kappa(*each) for each in sorted(tables.items())], len(cells) - len(compared)


class _ReviewedLeukocytes:
    """The cells called leukocyte by the model, and their reviews."""

    def __init__(self) -> None:
        self._cells = 0
        self._drawn: list[tuple[float, str]] = []  # weight and the person's call
        self._others: Counter[str] = Counter()

    def add(self, reviews: Sequence[ReviewEntry]) -> None:
        """Count one cell.

        Args:
            reviews: the reviews of its image, oldest first.
        """
        self._cells += 1
        if not reviews:
            return
        call = reviews[-1].call
        weights = [
            review.weight
            for review in reviews
            if review.blinded
            and review.model_call == "leukocyte"
            and review.weight is not None
            and review.weight >= 1
        ]
        if weights:
            self._drawn.append((weights[-1], call))
        else:
            self._others[call] += 1

    def missed(self) -> Missed | None:
        """Estimate the missed CTCs; None where no drawn cell was reviewed."""
        if not self._drawn:
            return None
        weights = np.array([weight for weight, _ in self._drawn])
        weights /= weights.sum()
        counts = Counter(call for _, call in self._drawn)
        fractions = {
            word: float(weights[[call == word for _, call in self._drawn]].sum()) for word in counts
        }
        ctcs, unsure = fractions.get("CTC", 0.0), fractions.get("unsure", 0.0)
        effective = 1 / float((weights**2).sum())  # Kish's effective sample size
        low, _ = clopper_pearson(min(effective, effective * ctcs), effective)
        _, high = clopper_pearson(min(effective, effective * (ctcs + unsure)), effective)
        represented = self._cells - self._others.total()
        unseen = represented - len(self._drawn)
        min_ctcs, max_ctcs = counts["CTC"], counts["CTC"] + counts["unsure"]
        base = self._others["CTC"]
        return Missed(
            leukocytes=self._cells,
            drawn=len(self._drawn),
            drawn_ctcs=min_ctcs,
            drawn_unsure=counts["unsure"],
            others=self._others.total(),
            other_ctcs=base,
            estimate=base + min(max(represented * ctcs, min_ctcs), min_ctcs + unseen),
            low=base + min(max(represented * low, min_ctcs), represented),
            high=base + self._others["unsure"] + min(represented * high, max_ctcs + unseen),
        )


def kappa(readers: tuple[str, str], table: Counter[tuple[str, str]]) -> Kappa:
    """Return Cohen's kappa of two readers.

    Args:
        readers: names of the readers.
        table: cells by both readers' calls.
    """
    calls = sorted({call for pair in table for call in pair})
    counts = np.array([[table[first, second] for second in calls] for first in calls], np.float64)
    cells, same = int(counts.sum()), int(np.trace(counts))
    if len(calls) < 2:
        return Kappa(readers, cells, same, None, None, None)
    value = float(_kappas(counts[None] / cells)[0])
    prior = 1 / counts.size
    samples = np.random.default_rng(_SEED).dirichlet(counts.ravel() + prior, _SAMPLES)
    low, high = np.quantile(_kappas(samples.reshape(-1, *counts.shape)), (0.025, 0.975))
    return Kappa(readers, cells, same, value, min(float(low), value), max(float(high), value))


def _kappas(tables: Floats) -> Floats:
    """Return Cohen's kappa of tables of fractions, (n, calls, calls)."""
    agreed = np.trace(tables, axis1=1, axis2=2)
    by_chance = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1)
    return np.asarray((agreed - by_chance) / np.maximum(1 - by_chance, 1e-12))
