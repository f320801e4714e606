"""Operating point, prevalence, and what the summary prints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ctcedge.classification.ood import DomainShift, OodScore, RunFeatures
from ctcedge.model.session import Engine
from ctcedge.quality.checks import Quality
from tests.helpers.cli_runner import call
from tests.helpers.disk_model import EditableModel
from tests.helpers.sidecar_files import sidecars
from tests.integration.cli import MODEL_CALLS, POINTS


def test_an_operating_point_and_a_prevalence(crops: Path, model_copy: EditableModel) -> None:
    model_copy.edit(lambda spec: spec.update(operating_points=POINTS))
    plain = call("classify", crops, "--model", model_copy.folder)
    for words in (
        "Decision: the model's own: CTC from 0.6, review from 0.4",
        "assume a CTC fraction of 0.5, as in training",
        "0.9 at one in 2 is 0.0018 at one in 5,000",
    ):
        assert words in plain.stderr
    before = sidecars(crops)
    done = call(
        *("classify", crops, "--model", model_copy.folder, "--json"),
        *("--operating-point", "screening", "--prevalence", 0.0002),
    )
    summary = json.loads(done.stdout)
    for words in (
        f"Operating point screening: CTC from {summary['threshold']:g}, review from",
        "sensitivity 96.2% (93.0% to 98.0%), false positives per 10,000 negatives 812 (700 to 950)",
        "a CTC fraction of 0.0002 (one in 5,000), as given: 0.9 at the training fraction of 0.5",
        "is 0.0018 here; calls do not change",
    ):
        assert words in done.stderr
    assert (summary["operating_point"], summary["prior"]) == ("screening", 0.0002)
    assert summary["threshold"] == pytest.approx(0.31 / 0.69 / 4999, rel=1e-3)
    assert summary["written"] == summary["rescored"] == 4
    for name, record in sidecars(crops).items():
        assert record["operating_point"] == "screening"
        assert record["score"] == before[name]["score"]
        assert record["history"][0]["call"] == before[name]["call"]


def test_a_decision_in_the_settings_file(
    crops: Path, model_copy: EditableModel, tmp_path: Path
) -> None:
    model_copy.edit(lambda spec: spec.update(operating_points=POINTS))
    config = tmp_path / "c.toml"
    config.write_text('[decision]\noperating_point = "screening"\nprevalence = 0.001\n')
    call("classify", crops, "--model", model_copy.folder, "--config", config)
    assert {(r["operating_point"], r["prior"]) for r in sidecars(crops).values()} == {
        ("screening", 0.001)
    }


def test_an_operating_point_that_is_not_there_is_exit_2_and_says_what_is(
    crops: Path, model_copy: EditableModel
) -> None:
    words = ("classify", crops, "--model", model_copy.folder, "--operating-point", "confirm")
    assert "nobody measured any" in call(*words, code=2).stderr
    model_copy.edit(lambda spec: spec.update(operating_points=POINTS))
    message = call(*words, code=2).stderr
    assert "could not support it" in message
    assert "it has screening" in message
    assert sidecars(crops) == {}
    assert "'best' is not one of" in call(*words[:-1], "best", code=2).stderr


def test_the_summary_states_why_review_and_clusters_and_what_is_unknown(
    crops: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = iter([Quality((), True, {}), Quality(("debris",), False, {}), Quality((), True, {})])
    monkeypatch.setattr(
        "ctcedge.classification.classifier.assess",
        lambda images, *_: [next(looked, Quality((), False, {})) for _ in images],
    )
    output = call("classify", crops, "--model", model_folder).stdout
    assert "clusters (1 CTC, 1 leukocyte, 0 review)" in output
    assert "Review reasons: debris (1), near-threshold (1)" in output
    assert "Expected false positives in a run of this size without CTCs: unknown" in output
    assert "Domain shift: unknown, as the model has no feature statistics" in output
    summary = json.loads(call("classify", crops, "--model", model_folder, "--json").stdout)
    assert summary["clusters"] == {"CTC": 1, "leukocyte": 1, "review": 0}
    assert summary["review_reasons"] == {"debris": 1, "near-threshold": 1}
    assert summary["expected_false_positives"] is None
    assert summary["domain_shift"] == {"samples": {}, "overall": None}
    output = call("status", crops).stdout
    assert "clusters (1 CTC, 1 leukocyte, 0 review)" in output
    assert "Review reasons: debris (1), near-threshold (1)" in output


@pytest.mark.parametrize("least", [1, 2, 4, 9])
def test_a_domain_shift_is_warned_of(
    crops: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    class Stranger:
        feature_count = 1

        def score(self, inputs: np.ndarray, features: object) -> list[OodScore]:
            return [OodScore(9.0, 0.5, (1.0,)) for _ in inputs]

        def domain_shift(self, run: RunFeatures) -> DomainShift:
            if run.crops < least:
                return DomainShift("insufficient", run.crops, None)
            return DomainShift("shifted", run.crops, 3.5)

    answer = Engine.infer
    monkeypatch.setattr(
        "ctcedge.classification.classifier.OodDetector.load", lambda model: Stranger()
    )
    monkeypatch.setattr(
        Engine,
        "infer",
        lambda self, inputs, *_: replace(answer(self, inputs), features=np.zeros((len(inputs), 1))),
    )
    done = call("classify", crops, "--model", model_folder)
    summary = json.loads(call("classify", crops, "--model", model_folder, "--json").stdout)
    states = {sample: each["state"] for sample, each in summary["domain_shift"]["samples"].items()}
    warned = " from the model's training images (domain shift, distance 3.5"
    if least == 2:  # S1 holds three crops, S2 one
        assert f"Sample S1 differs{warned}" in done.stderr
        assert states == {"S1": "shifted", "S2": "insufficient"}
    elif least == 1:
        assert "2 samples differ from the model's training images" in done.stderr
        assert "\n  S1: 3.5\n  S2: 3.5\n" in done.stderr
    elif least == 4:
        assert f"All crops together differ{warned}" in done.stderr
        assert summary["domain_shift"]["overall"] == {
            "state": "shifted",
            "crops": 4,
            "distance": 3.5,
        }
    else:
        assert "training images" not in done.stderr
    assert summary["calls"] == MODEL_CALLS
