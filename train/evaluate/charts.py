"""Points of the report's four curves, with the model's intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..metrics.roc import BINS, Curve, Floats, Labels, bins, class_weighted
from .bootstrap import Estimate, Resampling
from .evaluation import Evaluation
from .tables import BASELINES

Points = NDArray[np.float64]
"""(k, 2), x and y, unless stated otherwise."""

_MAX_POINTS = 300
_BAND = np.linspace(0, 1, 101)
"""False-positive rates at which the interval of the sensitivity is drawn."""

_DECIDED = 0.7
"""Fraction of decided cells at which the tables report the risk."""

_TOPS = (0.1, 0.25, 0.5, 1.0)
"""Upper ends of an axis with round ticks."""


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of a chart.

    Attributes:
        name: for the legend.
        style: `model`, `texture`, `size` or `guide`, which sets its colour.
        points: x and y, rising in x.
        dots: draw markers at the points.
    """

    name: str
    style: str
    points: Points
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves in one pair of axes, x to 1.

    Attributes:
        title: above the chart.
        x: label of the horizontal axis.
        y: label of the vertical axis.
        note: below the chart.
        lines: the most important first.
        band: (k, 3) x, lower and upper end of the model's 95 % interval there, rising in x; may be
            empty.
        whiskers: draw the band at its points only.
        top: largest y.
    """

    title: str
    x: str
    y: str
    note: str
    lines: list[Line]
    band: Points = field(default_factory=lambda: np.empty((0, 3)))
    whiskers: bool = False
    top: float = 1.0


def charts(evaluation: Evaluation) -> list[Chart]:
    """Return ROC, precision-recall, reliability and risk-coverage curves."""
    known = evaluation.scored.known
    positive = evaluation.scored.cells.positive[known]
    scores = evaluation.scored.scores.select(known)
    ranked = {"model": scores.probability} | {
        name: score[known] for name, score in (evaluation.scored.baselines or {}).items()
    }
    curves = {name: Curve.of(positive, score) for name, score in ranked.items()}
    deferred = {"model": risk_coverage(positive, scores.called, scores.certainty)} | {
        name: risk_coverage(positive, score >= 0, np.abs(score))
        for name, score in ranked.items()
        if name != "model"
    }
    fraction = float(positive.mean())
    highest = max(float(points[:, 1].max()) for points in deferred.values())
    top = next(top for top in _TOPS if highest <= top)
    group = evaluation.scored.cells.group[known]
    resampling = Resampling(group, positive, evaluation.seed, evaluation.draws)
    prior = evaluation.figures.prior
    return [
        Chart(
            title="ROC curve",
            x="False-positive rate (negatives called CTC)",
            y="Sensitivity (CTCs found)",
            note="Nearer to the upper left is better; the diagonal is chance. The number is the"
            " area under the curve.",
            lines=[
                *_lines(
                    {name: roc(curve) for name, curve in curves.items()},
                    {name: float(curve.auc()) for name, curve in curves.items()},
                ),
                Line("Chance", "guide", np.array([[0.0, 0], [1, 1]])),
            ],
            band=_roc_band(positive, scores.probability, resampling),
        ),
        Chart(
            title="Precision and recall",
            x="Recall (CTCs found)",
            y="Precision (CTC calls that are right)",
            note=f"At these cells' fraction of CTCs, {fraction:.2f}; where CTCs are rarer,"
            " precision is lower. The number is the average precision.",
            lines=[
                *_lines(
                    {name: precision_recall(curve) for name, curve in curves.items()},
                    {name: float(curve.average_precision()) for name, curve in curves.items()},
                ),
                Line("Chance", "guide", np.array([[0.0, fraction], [1, fraction]])),
            ],
        ),
        Chart(
            title="Reliability",
            x="Probability stated",
            y="Fraction that is a CTC",
            note="Cells in ten bins, classes weighted to the model's prior; the diagonal is perfect"
            " calibration.",
            lines=[
                Line("Model", "model", reliability(positive, scores.probability, prior), dots=True),
                Line("Well calibrated", "guide", np.array([[0.0, 0], [1, 1]])),
            ],
            band=_reliability_band(positive, scores.probability, prior, resampling),
            whiskers=True,
        ),
        Chart(
            title="Risk and coverage",
            x="Fraction of cells decided, the most certain first",
            y="Risk (1 - macro F1 of those decided)",
            note="The gain from leaving uncertain cells for review.",
            lines=[
                *_lines(deferred),
                Line("30 % left for review", "guide", np.array([[_DECIDED, 0], [_DECIDED, top]])),
            ],
            top=top,
        ),
    ]


def roc(curve: Curve) -> Points:
    """Return false-positive rate and sensitivity."""
    sensitivity, false_rate = curve.rates()
    return np.column_stack((false_rate, sensitivity))


def precision_recall(curve: Curve) -> Points:
    """Return recall and precision."""
    return np.column_stack(
        (
            curve.true_positives / curve.true_positives[-1],
            curve.true_positives / (curve.true_positives + curve.false_positives),
        )
    )


def reliability(positive: Labels, probability: Floats, prior: float) -> Points:
    """Return mean probability and fraction of CTCs of each bin with cells."""
    share = class_weighted(positive, np.ones((1, len(positive))), prior)
    stated, found = _binned(positive, probability, share)
    held = np.isfinite(stated[0])
    return np.column_stack((stated[0, held], found[0, held]))


def _binned(positive: Labels, probability: Floats, share: Floats) -> tuple[Points, Points]:
    """Return mean probability and fraction of CTCs of each bin, (m, BINS); NaN where empty."""
    inside = np.eye(BINS)[bins(probability)]
    total = share @ inside
    with np.errstate(invalid="ignore"):
        stated = share @ (inside * probability[:, None]) / total
        return stated, share @ (inside * positive[:, None]) / total


def _roc_band(positive: Labels, score: Floats, resampling: Resampling) -> Points:
    def statistics(weight: Floats) -> dict[str, dict[str, Floats]]:
        sensitivity, false_rate = Curve.of(positive, score, weight).rates()
        at = [
            np.interp(_BAND, rate, found)
            for rate, found in zip(false_rate, sensitivity, strict=True)
        ]
        return {
            "all": {f"{x:.2f}": column for x, column in zip(_BAND, np.transpose(at), strict=True)}
        }

    return _band(_BAND, resampling.estimate(statistics)["all"].values())


def _reliability_band(
    positive: Labels, probability: Floats, prior: float, resampling: Resampling
) -> Points:
    def statistics(weight: Floats) -> dict[str, dict[str, Floats]]:
        _, found = _binned(positive, probability, class_weighted(positive, weight, prior))
        return {"all": {f"{number}": column for number, column in enumerate(found.T)}}

    found = list(resampling.estimate(statistics)["all"].values())
    held = [each for each in found if not math.isnan(each.value)]
    return _band(reliability(positive, probability, prior)[:, 0], held)


def _band(x: Floats, estimates: Iterable[Estimate]) -> Points:
    rows: Points = np.array(
        [(at, estimate.low, estimate.high) for at, estimate in zip(x, estimates, strict=True)]
    )
    finite: Points = rows[np.isfinite(rows).all(axis=1)]
    return finite


def risk_coverage(positive: Labels, called: Labels, certainty: Floats) -> Points:
    """Return the fraction of cells decided and 1 - their macro F1, from 5 % of the cells on."""
    order = np.argsort(-certainty, kind="stable")
    positive, called = positive[order], called[order]
    decided = np.arange(1, len(order) + 1)
    right, others_right = np.cumsum(positive & called), np.cumsum(~positive & ~called)
    wrong = decided - right - others_right
    macro: Floats = sum(
        2 * side / np.maximum(1, 2 * side + wrong) / 2 for side in (right, others_right)
    )
    points: Points = np.column_stack((decided / len(order), 1 - macro))
    return points[max(0, math.ceil(0.05 * len(order)) - 1) :]


def _lines(curves: dict[str, Points], figures: Mapping[str, float] | None = None) -> list[Line]:
    names = {"model": "Model", **BASELINES}
    values = {name: f", {value:.3f}" for name, value in (figures or {}).items()}
    return [
        Line(names[style] + values.get(style, ""), style, _thinned(points))
        for style, points in curves.items()
    ]


def _thinned(points: Points) -> Points:
    rows = np.linspace(0, len(points) - 1, min(len(points), _MAX_POINTS))
    return points[np.rint(rows).astype(np.intp)]
