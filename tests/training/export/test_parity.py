"""The parity check, and that it can fail."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs

from ctcedge.model.spec import DecisionThresholds
from train.export.parity import ParityLimits, measure_parity

DECISION = DecisionThresholds(threshold=0.5, review=(0.4, 0.6))
POSITIVE = np.array([True, False, True, False])
EXPECTED = np.array([0.9, 0.1, 0.7, 0.3])


def test_compared_by_hand():
    found = measure_parity(np.array([0.9, 0.7, 0.59, 0.3]), EXPECTED, POSITIVE, DECISION)
    assert found.cells == 4
    assert found.auc == 0.75
    assert found.auc_loss == 0.25
    assert found.largest_difference == pytest.approx(0.6)
    assert found.mean_difference == pytest.approx(0.1775)
    assert found.changed_calls == 0.5
    assert found.flips == 0.25


@pytest.mark.parametrize("variant", ["fp32", "fp16", "int8"])
def test_the_same_answers_are_accepted(variant):
    assert (
        ParityLimits().violations(variant, measure_parity(EXPECTED, EXPECTED, POSITIVE, DECISION))
        == []
    )


@pytest.mark.parametrize(
    ("variant", "change", "what"),
    [
        ("fp32", {"largest_difference": 0.0011}, "largest probability difference 0.0011"),
        ("fp16", {"largest_difference": 0.006}, "largest probability difference 0.006"),
        ("int8", {"auc_loss": 0.0051}, "loss of AUC 0.0051, limit 0.005"),
        ("int8", {"changed_calls": 0.03}, "fraction of other calls 0.03"),
        ("int8", {"mean_difference": 0.03}, "mean probability difference 0.03"),
    ],
)
def test_what_differs_too_much_is_named(variant, change, what):
    same = structs.replace(measure_parity(EXPECTED, EXPECTED, POSITIVE, DECISION), cells=1000)
    (text,) = ParityLimits().violations(variant, structs.replace(same, **change))
    assert text.startswith(f"{variant}: {what}")


def test_what_is_aimed_at_counts_flips_apart():
    same = structs.replace(measure_parity(EXPECTED, EXPECTED, POSITIVE, DECISION), cells=5000)
    assert ParityLimits().above_target(structs.replace(same, changed_calls=0.01, flips=0.001)) == ""
    flipped = ParityLimits().above_target(structs.replace(same, changed_calls=0.01, flips=0.002))
    assert flipped == "0.20% flip between CTC and leukocyte, target 0.1%"
    both = ParityLimits().above_target(structs.replace(same, changed_calls=0.015, flips=0.002))
    assert both == f"1.50% of the calls differ, target 1.0% and {flipped}"
    # Three cells tell no share.
    few = structs.replace(same, cells=300, changed_calls=0.01, flips=0.01)
    assert ParityLimits().above_target(few) == ""


@pytest.mark.parametrize("variant", ["fp32", "fp16", "int8"])
def test_a_graph_that_answers_nan_is_refused(variant):
    found = measure_parity(np.full(4, np.nan), EXPECTED, POSITIVE, DECISION)
    assert ParityLimits().violations(variant, found)
