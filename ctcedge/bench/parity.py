"""Agreement of the outputs with the CPU's and with the model's golden outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctcedge.bench.results import Parity
from ctcedge.classification.analysis import CellAnalysis
from ctcedge.classification.classifier import Classifier, PreparedCrop
from ctcedge.classification.golden import max_difference
from ctcedge.errors import ModelError
from ctcedge.quality.checks import Quality
from ctcedge.settings import DecisionSettings


def compare(first: Classifier, second: Classifier, inputs: NDArray[np.uint8]) -> Parity:
    """Compare the calls of two classifiers of one model.

    Args:
        first: a classifier.
        second: another one.
        inputs: (n, size, size) uint8, n at least 1.
    """
    step = first.engine.optimal_batch_size
    changed = flips = 0
    largest = 0.0
    no_flags = Quality((), False, {})
    for start in range(0, len(inputs), step):
        crops = [PreparedCrop(crop, no_flags) for crop in inputs[start : start + step]]
        for pair in zip(first.analyze(crops), second.analyze(crops), strict=True):
            predictions = [
                first.rule.decide_score(analysis.score)
                for analysis in pair
                if isinstance(analysis, CellAnalysis)
            ]
            calls = {prediction.call for prediction in predictions}
            changed += len(predictions) == 1 or len(calls) > 1
            flips += calls == {"CTC", "leukocyte"}
            if len(predictions) == 2:
                one, other = predictions
                largest = max(largest, abs(one.probability - other.probability))
    count = len(inputs)
    return Parity(count, round(1 - changed / count, 6), round(flips / count, 6), round(largest, 6))


def golden_difference(classifier: Classifier) -> float | None:
    """Largest difference of a probability from the golden outputs; None where there are none."""
    try:
        return round(max_difference(classifier), 6)
    except ModelError:
        return None


def cpu_parity(
    classifier: Classifier, settings: DecisionSettings, inputs: NDArray[np.uint8]
) -> Parity | None:
    """Comparison with the CPU; None where the classifier runs there itself."""
    if classifier.engine.provider == "cpu":
        return None
    return compare(classifier, Classifier.open(classifier.model, "cpu", settings), inputs)
