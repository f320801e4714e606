"""Figures as functions of the weights of the cells.

`weight` is (m, n), one row per draw; every figure is (m,) by its name in report.json.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..metrics.roc import (
    Calls,
    Curve,
    Floats,
    Labels,
    brier,
    calibration_error,
    calibration_line,
    log_loss,
    restate,
)
from .scores import Scores

PREVALENCE = 1 / 1000
"""Fraction of CTCs for which the cells to review are counted."""

_PER = 10_000

_SENSITIVITY = 0.9
_CERTAIN = 0.7
_FALSE_POSITIVES_ONE_IN = (10, 100, 1000)
_NEGATIVES_PER_FALSE_POSITIVE = 3
"""With fewer negatives, even zero false positives would not show the rate (rule of three)."""


def of_model(positive: Labels, scores: Scores, weight: Floats, prior: float) -> dict[str, Floats]:
    """Return all figures of the labelled cells."""
    probability = scores.probability
    fraction = float(positive.mean())
    slope, intercept = calibration_line(positive, probability, weight, prior)
    sure = _most_certain(scores.certainty, weight)
    return {
        **of_ranking(positive, probability, weight),
        **of_calls(positive, scores.called, weight),
        **_losses(positive, probability, weight, prior, ""),
        **_losses(positive, restate(probability, prior, fraction), weight, fraction, "_as_is"),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "ece": calibration_error(positive, probability, weight, prior),
        "macro_f1_70": Calls.of(positive, scores.called, weight * sure).macro_f1(),
        **_fractions(positive, weight * ~sure, weight, "deferred_70"),
        **_fractions(positive, weight * scores.review, weight, "review"),
        "macro_f1_decided": Calls.of(positive, scores.called, weight * ~scores.review).macro_f1(),
    }


def of_ranking(positive: Labels, score: Floats, weight: Floats) -> dict[str, Floats]:
    """Return the figures of the ranking."""
    curve = Curve.of(positive, score, weight)
    negatives = int((~positive).sum())
    figures = {
        "auc": curve.auc(),
        "average_precision": curve.average_precision(),
        "looked_at_for_90_percent": curve.reviewed_fraction(_SENSITIVITY, PREVALENCE),
    }
    for one_in in _FALSE_POSITIVES_ONE_IN:
        enough = negatives >= _NEGATIVES_PER_FALSE_POSITIVE * one_in
        figures[f"sensitivity_at_1_in_{one_in}"] = (
            curve.sensitivity_at(1 / one_in) if enough else np.full(len(weight), np.nan)
        )
    return figures


def of_calls(positive: Labels, called: Labels, weight: Floats) -> dict[str, Floats]:
    """Return the figures of calls at one threshold."""
    calls = Calls.of(positive, called, weight)
    return {
        "f1": calls.f1(),
        "macro_f1": calls.macro_f1(),
        "sensitivity": calls.sensitivity(),
        "false_calls_per_10000": _PER * calls.false_positive_rate(),
        "false_calls_per_10000_upper": _PER * calls.false_positive_rate_bound(),
    }


def of_samples(
    positive: Labels, probability: Floats, sample: NDArray[np.str_], weight: Floats
) -> dict[str, Floats]:
    """Return the AUC of samples with CTCs against samples without, by mean probability.

    NaN where all samples have CTCs, or none.
    """
    _, first, member, size = np.unique(
        sample, return_index=True, return_inverse=True, return_counts=True
    )
    holds = np.bincount(member, positive) > 0
    if holds.all() or not holds.any():
        return {"sample_auc": np.full(len(weight), np.nan)}
    mean = np.bincount(member, probability) / size
    return {"sample_auc": Curve.of(holds, mean, weight[:, first]).auc()}


def of_stratum(
    positive: Labels, scores: Scores, inside: Labels, known: Labels, weight: Floats
) -> dict[str, Floats]:
    """Return the fraction of a stratum that is called CTC, and its AUC against the other class.

    Args:
        positive: (n,), false where there is no label.
        scores: of the same cells.
        inside: (n,) the stratum's cells.
        known: (n,) the labelled cells.
        weight: (m, n).
    """
    of_stratum = weight @ inside.astype(np.float64)
    with np.errstate(invalid="ignore"):  # a draw may have none of the stratum
        called = (weight @ (inside & scores.called).astype(np.float64)) / of_stratum
    label = positive[inside & known]
    if len(np.unique(label)) != 1:
        return {"called": called, "auc": np.full(len(weight), np.nan)}
    rows = known & (inside | (positive != label[0]))
    auc = Curve.of(positive[rows], scores.probability[rows], weight[:, rows]).auc()
    return {"called": called, "auc": auc}


def _losses(
    positive: Labels, probability: Floats, weight: Floats, prior: float, suffix: str
) -> dict[str, Floats]:
    constant = np.full(len(positive), prior)
    return {
        f"{name}{kind}{suffix}": loss(positive, p, weight, prior)
        for name, loss in (("log_loss", log_loss), ("brier", brier))
        for kind, p in (("", probability), ("_constant", constant))
    }


def _most_certain(certainty: Floats, weight: Floats) -> Labels:
    """Mark, in each draw, the most certain cells, up to `_CERTAIN` of the weight."""
    order = np.argsort(-certainty, kind="stable")
    enough = _CERTAIN * weight.sum(axis=-1, keepdims=True) + 1e-9
    sure = np.empty(weight.shape, dtype=bool)
    sure[:, order] = np.cumsum(weight[:, order], axis=-1) <= enough
    return sure


def _fractions(positive: Labels, part: Floats, weight: Floats, name: str) -> dict[str, Floats]:
    """Return the fractions of all cells, of the CTCs and of the negatives in a part."""
    with np.errstate(invalid="ignore"):  # a draw may have one class only
        return {
            name: part.sum(axis=-1) / weight.sum(axis=-1),
            f"{name}_ctc": (part @ positive) / (weight @ positive),
            f"{name}_other": (part @ ~positive) / (weight @ ~positive),
        }
