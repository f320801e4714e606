from __future__ import annotations

import math

import pytest

from ctcedge.decide import decide, probability
from ctcedge.model import Calibration, Decision

DECISION = Decision(0.5, (0.4, 0.6))


@pytest.mark.parametrize(
    ("value", "call", "reasons"),
    [
        (0.0, "leukocyte", ()),
        (0.399999, "leukocyte", ()),
        (0.4, "review", ("near-threshold",)),
        (0.5, "review", ("near-threshold",)),
        (0.599999, "review", ("near-threshold",)),
        (0.6, "CTC", ()),
        (1.0, "CTC", ()),
    ],
)
def test_calls(value: float, call: str, reasons: tuple[str, ...]) -> None:
    verdict = decide(value, DECISION)
    assert (verdict.call, verdict.probability, verdict.reasons) == (call, value, reasons)


@pytest.mark.parametrize(("value", "call"), [(0.499999, "leukocyte"), (0.5, "CTC")])
def test_without_a_review_band_the_threshold_decides(value: float, call: str) -> None:
    assert decide(value, Decision(0.5, (0.5, 0.5))).call == call


@pytest.mark.parametrize("logit", [-1e30, -800, -3, 0, 0.1, 3, 800, 1e30])
def test_the_probability_is_the_calibrated_sigmoid(logit: float) -> None:
    found = probability(logit, Calibration(2.0, 1.0))
    exact = 1 / (1 + math.exp(-max(-700, min(700, 2 * logit + 1))))
    assert found == pytest.approx(exact, abs=1e-6)
    assert 0 <= found <= 1
