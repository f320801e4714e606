from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.decision import DecisionRule, probability
from ctcedge.classification.ood import OodScore
from ctcedge.pipeline.outcome import TallyKey
from ctcedge.quality.checks import Quality
from ctcedge.settings import DecisionSettings
from tests.helpers.drawn_cells import CTC, REVIEW, cell, save
from tests.helpers.sidecar_files import as_dict, sidecars
from tests.unit.pipeline.bench import Bench


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((64, 64), 128, np.uint8), "empty"),
        (cell(CTC, side=18), "low-resolution"),
    ],
)
def test_a_gated_crop_is_reviewed_and_keeps_its_probability(
    bench: Bench, pixels: np.ndarray, reason: str
) -> None:
    save(bench.folder / "1_BF.png", pixels)
    (outcome,) = bench.run()
    (record,) = sidecars(bench.folder).values()
    assert record["call"] == "review"
    assert reason in record["reasons"]
    assert reason in record["quality"]["reasons"]
    assert record["probability"] == probability(
        record["score"], bench.classifier.model.spec.calibration
    )
    assert outcome.tally_key.reasons == tuple(record["reasons"])


def set_quality(monkeypatch: pytest.MonkeyPatch, quality: Quality) -> None:
    monkeypatch.setattr(
        "ctcedge.classification.classifier.assess", lambda images, *_: [quality] * len(images)
    )


def test_all_reasons_are_recorded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    set_quality(
        monkeypatch, Quality(("debris", "multiple-objects"), False, {"cells": 2.0, "focus": np.nan})
    )
    save(bench.folder / "1_BF.png", cell(REVIEW))
    bench.run()
    (record,) = sidecars(bench.folder).values()
    assert record["reasons"] == ["debris", "multiple-objects", "near-threshold"]
    assert record["quality"] == {"reasons": ["debris", "multiple-objects"], "cells": 2.0}


def test_a_cluster_is_flagged_and_keeps_its_call(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_quality(monkeypatch, Quality((), True, {}))
    save(bench.folder / "1_BF.png", cell(CTC))
    (outcome,) = bench.run()
    (record,) = sidecars(bench.folder).values()
    assert (record["call"], record["cluster"]) == ("CTC", True)
    assert outcome.tally_key == TallyKey("written", "CTC", (), cluster=True)


def test_what_is_unlike_training_is_reviewed(
    bench: Bench, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Far:
        def score(self, inputs: Any, features: Any) -> list[OodScore]:
            return [OodScore(99.5, 0.0, (1.0, -2.5)), OodScore(1.5, 0.5, (0.0, 0.0))]

    answer = type(classifier.engine).infer
    monkeypatch.setattr(
        type(classifier.engine),
        "infer",
        lambda self, inputs: dataclasses.replace(
            answer(self, inputs), features=np.zeros((len(inputs), 2), np.float32)
        ),
    )
    for number in range(2):
        save(bench.folder / f"{number}_BF.png", cell(CTC))
    guarded = dataclasses.replace(classifier, ood_detector=Far())  # type: ignore[arg-type]
    outcomes = bench.run(classifier=guarded)
    far, near = sidecars(bench.folder).values()
    assert (far["call"], far["reasons"]) == ("review", ["out-of-distribution"])
    assert far["ood"] == {"distance": 99.5, "p_value": 0.0, "features": [1.0, -2.5]}
    assert (near["call"], near["reasons"]) == ("CTC", [])
    assert [as_dict(outcome.record) for outcome in outcomes] == [far, near]
    # And again from what is kept.
    policy = DecisionRule.of(classifier.model.spec, DecisionSettings(prevalence=0.01))
    bench.run(classifier=dataclasses.replace(classifier, rule=policy))
    again, _ = sidecars(bench.folder).values()
    assert (again["call"], again["ood"]) == ("review", far["ood"])
