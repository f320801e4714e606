"""What a model is worth on hospitals never seen in training, and what size alone is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcedge.model import Decision
from ctcedge.preprocess import InputSpec
from train.dataset import Images
from train.metrics import (
    average_precision,
    bootstrap_interval,
    brier,
    calibration_error,
    f1,
    log_loss,
    macro_f1,
    roc_auc,
    sensitivity_at,
)
from train.size import measured_diameters, size_score

FALSE_CALL_RATES = (0.1, 0.01)


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well a score tells CTCs from the rest.

    Attributes:
        auc: area under the ROC curve.
        interval: its 95 % bootstrap interval over samples.
        average_precision: area under the precision-recall curve.
    """

    auc: float
    interval: tuple[float, float]
    average_precision: float


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one model on one set of cells.

    Attributes:
        cells: their number.
        ctcs: how many of them are CTCs.
        samples: their number.
        hospitals: their number.
        ranking: of the model.
        by_size: of the size-only baseline, by `true` and by `measured` diameter.
        f1: of the calls at the threshold, review band ignored.
        macro_f1: mean of both classes' F1.
        sensitivity: by allowed false-call rate.
        brier: of the probability; the constant predictor's is 0.25.
        log_loss: of the probability; the constant predictor's is ln 2.
        calibration_error: expected, over 10 bins.
        review: share of cells in the review band.
        macro_f1_decided: macro F1 of the cells outside the band; NaN where there are none.
    """

    cells: int
    ctcs: int
    samples: int
    hospitals: int
    ranking: Ranking
    by_size: dict[str, Ranking]
    f1: float
    macro_f1: float
    sensitivity: dict[float, float]
    brier: float
    log_loss: float
    calibration_error: float
    review: float
    macro_f1_decided: float


def evaluate(
    test: Images,
    probability: NDArray[np.float64],
    decision: Decision,
    *,
    training: Images,
    spec: InputSpec,
    seed: int,
) -> Report:
    """Measure a model, and fit and measure the size-only baseline on the same split.

    Args:
        test: bright-field images never trained on.
        probability: (n,) of the model for them.
        decision: the model's threshold and band.
        training: bright-field images that the baseline is fitted on.
        spec: of the input.
        seed: of the bootstrap.

    Raises:
        ValueError: the test or the training holds one class only.
    """
    positive, called = test.positive, probability >= decision.threshold
    low, high = decision.review
    decided = (probability < low) | (probability >= high)
    sizes = {
        "true": (training.diameter_um, test.diameter_um),
        "measured": tuple(measured_diameters(side.inputs, spec) for side in (training, test)),
    }
    return Report(
        cells=len(test),
        ctcs=int(positive.sum()),
        samples=len(np.unique(test.sample)),
        hospitals=len(np.unique(test.hospital)),
        ranking=_ranking(test, probability, seed),
        by_size={
            name: _ranking(test, size_score(fitted, training.positive, tested), seed)
            for name, (fitted, tested) in sizes.items()
        },
        f1=f1(positive, called),
        macro_f1=macro_f1(positive, called),
        sensitivity={
            rate: sensitivity_at(positive, probability, rate) for rate in FALSE_CALL_RATES
        },
        brier=brier(positive, probability),
        log_loss=log_loss(positive, probability),
        calibration_error=calibration_error(positive, probability),
        review=1 - float(decided.mean()),
        macro_f1_decided=(
            macro_f1(positive[decided], called[decided]) if decided.any() else float("nan")
        ),
    )


def _ranking(test: Images, score: NDArray[np.float64], seed: int) -> Ranking:
    return Ranking(
        auc=roc_auc(test.positive, score),
        interval=bootstrap_interval(roc_auc, test.positive, score, test.sample, seed=seed),
        average_precision=average_precision(test.positive, score),
    )
