"""The report's four curves, as numbers for the page to draw."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.evaluate.evaluation import Evaluation
from train.evaluate.report import BASELINES
from train.metrics import BINS, Curve, Floats, Labels, bins, class_share

Points = NDArray[np.float64]
"""(k, 2), x and y."""

_MOST_POINTS = 300
_TOPS = (0.1, 0.25, 0.5, 1.0)
"""Of an axis, whose fifths are round numbers."""


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of a chart.

    Attributes:
        name: for the legend.
        style: `model`, `texture`, `size` or `guide`, which the page draws differently.
        points: x and y, rising in x.
        dots: whether the points are marked.
    """

    name: str
    style: str
    points: Points
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves in one pair of axes, the most important first; x to 1, y from 0 to `top`."""

    title: str
    x: str
    y: str
    note: str
    lines: list[Line]
    top: float = 1.0


def charts(evaluation: Evaluation) -> list[Chart]:
    """Return ROC, precision-recall, reliability and risk-coverage curves."""
    known = evaluation.scored.known
    positive = evaluation.scored.cells.positive[known]
    said = evaluation.scored.scores.select(known)
    ranked = {"model": said.probability} | {
        name: score[known] for name, score in (evaluation.scored.baselines or {}).items()
    }
    curves = {name: Curve.of(positive, score) for name, score in ranked.items()}
    deferred = {"model": risk_coverage(positive, said.called, said.certainty)} | {
        name: risk_coverage(positive, score >= 0, np.abs(score))
        for name, score in ranked.items()
        if name != "model"
    }
    share = float(positive.mean())
    highest = max(float(points[:, 1].max()) for points in deferred.values())
    return [
        Chart(
            title="ROC curve",
            x="False-call rate (others called CTC)",
            y="Sensitivity (CTCs found)",
            note="The further to the upper left, the better; the diagonal is chance.",
            lines=[
                *_lines({name: roc(curve) for name, curve in curves.items()}),
                Line("Chance", "guide", np.array([[0.0, 0], [1, 1]])),
            ],
        ),
        Chart(
            title="Precision and recall",
            x="Recall (CTCs found)",
            y="Precision (CTC calls that are right)",
            note=f"At these cells' share of CTCs, {share:.2f}; where CTCs are rarer, precision is"
            " lower.",
            lines=[
                *_lines({name: precision_recall(curve) for name, curve in curves.items()}),
                Line("Chance", "guide", np.array([[0.0, share], [1, share]])),
            ],
        ),
        Chart(
            title="Reliability",
            x="Probability stated",
            y="Share that is a CTC",
            note="Cells in ten bins, classes weighted to the model's prior; on the diagonal the"
            " model is as sure as it is right.",
            lines=[
                Line(
                    "Model",
                    "model",
                    reliability(positive, said.probability, evaluation.figures.prior),
                    dots=True,
                ),
                Line("Well calibrated", "guide", np.array([[0.0, 0], [1, 1]])),
            ],
        ),
        Chart(
            title="Risk and coverage",
            x="Share of cells decided, the most certain first",
            y="Risk (1 - macro F1 of those decided)",
            note="What is gained by leaving doubtful cells to a person: read at 0.7 for 30 % left.",
            lines=_lines(deferred),
            top=next(top for top in _TOPS if highest <= top),
        ),
    ]


def roc(curve: Curve) -> Points:
    """Return false-call rate and sensitivity."""
    sensitivity, false_rate = curve.rates()
    return np.column_stack((false_rate, sensitivity))


def precision_recall(curve: Curve) -> Points:
    """Return recall and precision."""
    return np.column_stack((curve.hits / curve.hits[-1], curve.hits / (curve.hits + curve.false)))


def reliability(positive: Labels, probability: Floats, prior: float) -> Points:
    """Return mean probability and share of CTCs of each bin that holds cells."""
    weight = class_share(positive, np.ones(len(positive)), prior)
    bin_of = bins(probability)
    total, stated, found = (
        np.bincount(bin_of, weight * value, BINS)
        for value in (np.ones(len(positive)), probability, positive)
    )
    held = total > 0
    return np.column_stack((stated[held], found[held])) / total[held, None]


def risk_coverage(positive: Labels, called: Labels, certainty: Floats) -> Points:
    """Return the share of cells decided and 1 - their macro F1, from 5 % of the cells on."""
    order = np.argsort(-certainty, kind="stable")
    positive, called = positive[order], called[order]
    decided = np.arange(1, len(order) + 1)
    right, others_right = np.cumsum(positive & called), np.cumsum(~positive & ~called)
    wrong = decided - right - others_right
    macro = sum(2 * side / np.maximum(1, 2 * side + wrong) / 2 for side in (right, others_right))
    points = np.column_stack((decided / len(order), 1 - macro))
    return points[max(0, math.ceil(0.05 * len(order)) - 1) :]


def _lines(curves: dict[str, Points]) -> list[Line]:
    names = {"model": "Model", **BASELINES}
    return [Line(names[style], style, _thinned(points)) for style, points in curves.items()]


def _thinned(points: Points) -> Points:
    rows = np.linspace(0, len(points) - 1, min(len(points), _MOST_POINTS))
    return points[np.rint(rows).astype(np.intp)]
