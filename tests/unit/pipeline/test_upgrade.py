from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.ood import OodScore
from ctcedge.sidecars.json_schema import read_schema
from tests.helpers.drawn_cells import CTC, cell, save
from tests.helpers.sidecar_files import sidecar, sidecars, state, stray
from tests.unit.pipeline.bench import REVIEWED, Bench, done


def test_a_sidecar_of_schema_1_is_current_no_longer_and_its_call_is_kept(bench: Bench) -> None:
    save(bench.folder / "1_BF.png", cell())
    bench.run()
    path = bench.folder / "1_BF.png.ctc.json"
    record = json.loads(path.read_text())
    known = read_schema(1)["required"]
    old = {key: value for key, value in record.items() if key in known}
    path.write_text(json.dumps(old | {"schema": "ctcedge/sidecar/1", "settings_sha256": "0" * 64}))
    assert done(bench.run()) == ["written"]
    (again,) = sidecars(bench.folder).values()
    assert [entry["score"] for entry in again["history"]] == [None]
    assert again["score"] == record["score"]


def in_schema_2(path: Path, **changes: Any) -> dict[str, Any]:
    """Rewrite a sidecar as an earlier version wrote it; return its new content."""
    record = json.loads(path.read_text())
    ood = record.pop("ood")
    if ood is not None:
        ood = {"distance": ood["distance"], "p": ood["p_value"], "traits": ood["features"]}
    record |= {"schema": "ctcedge/sidecar/2", "unlike": ood, **changes}
    path.write_text(json.dumps(record))
    return record


def test_a_current_sidecar_of_schema_2_is_upgraded_and_nothing_else_changes(
    bench: Bench, idle: Callable[[], Any]
) -> None:
    for number in range(3):
        save(bench.folder / f"{number}_BF.png", cell(CTC))
    (bench.folder / "3_BF.png").write_bytes(b"no image")
    bench.run(force=True)
    bench.run(force=True)
    before = sidecars(bench.folder)
    for name in before:
        in_schema_2(sidecar(bench.folder / name), review=REVIEWED)
    with idle():
        assert set(done(bench.run(retry_later=lambda *_: False))) == {"upgraded"}
    after = sidecars(bench.folder)
    assert after == {name: record | {"review": REVIEWED} for name, record in before.items()}
    assert len(after["0_BF.png"]["history"]) == 1
    touched = state(bench.folder)
    assert set(done(bench.run())) == {"current"}
    assert state(bench.folder) == touched


def test_reasons_of_schema_2_are_renamed_by_the_upgrade(bench: Bench) -> None:
    path = save(bench.folder / "1_BF.png", cell(CTC, side=18))
    bench.run()
    old = in_schema_2(sidecar(path))
    codes = {"multiple-objects": "neighbour", "low-resolution": "too-few-pixels"}
    reasons = [codes.get(reason, reason) for reason in old["reasons"]]
    assert "too-few-pixels" in reasons
    quality = old["quality"] | {"reasons": reasons}
    in_old_words = old | {"reasons": reasons, "quality": quality}
    sidecar(path).write_text(json.dumps(in_old_words))
    (outcome,) = bench.run()
    assert outcome.done == "upgraded"
    assert "low-resolution" in outcome.tally_key.reasons
    (record,) = sidecars(bench.folder).values()
    assert "low-resolution" in record["reasons"]
    assert record["quality"]["reasons"] == record["reasons"]


def test_another_decision_on_schema_2_needs_no_inference_and_writes_schema_3(
    bench: Bench, other: Classifier, idle: Callable[[], Any]
) -> None:
    path = save(bench.folder / "1_BF.png", cell())
    bench.run()
    in_schema_2(sidecar(path), review=REVIEWED)
    with idle():
        (outcome,) = bench.run(classifier=other)
    assert (outcome.done, outcome.rescored) == ("written", True)
    (record,) = sidecars(bench.folder).values()
    assert (record["schema"], record["review"]) == ("ctcedge/sidecar/3", REVIEWED)
    assert len(record["history"]) == 1


def test_an_upgrade_that_is_refused_leaves_the_sidecar_current(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(bench.folder / "1_BF.png", cell())
    bench.run()
    in_schema_2(sidecar(path))
    before = sidecar(path).read_bytes()

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ctcedge.sidecars.store.os.replace", refuse)
    (outcome,) = bench.run()
    assert (outcome.done, outcome.call) == ("current", "CTC")
    assert sidecar(path).read_bytes() == before
    assert stray(bench.folder) == []


def test_the_calls_in_a_damaged_sidecar_are_kept(bench: Bench) -> None:
    path = save(bench.folder / "1_BF.png", cell())
    bench.run()
    record = json.loads(sidecar(path).read_text())
    record["image"]["um_per_px"] = 1e308
    sidecar(path).write_text(json.dumps(record | {"review": REVIEWED}))
    (outcome,) = bench.run()
    assert (outcome.done, outcome.kept_aside) == ("written", None)
    (again,) = sidecars(bench.folder).values()
    assert (again["review"], len(again["history"])) == (REVIEWED, 1)


def test_a_sidecar_whose_review_cannot_be_read_is_kept_and_named(bench: Bench) -> None:
    path = save(bench.folder / "1_BF.png", cell())
    bench.run()
    record = json.loads(sidecar(path).read_text())
    damaged = json.dumps(record | {"review": REVIEWED | {"time": "2026-01-03T00:00:00"}})
    sidecar(path).write_text(damaged)
    (outcome,) = bench.run()
    assert (outcome.done, outcome.kept_aside) == ("written", "1_BF.png.ctc.json.damaged-1")
    assert (bench.folder / "1_BF.png.ctc.json.damaged-1").read_text() == damaged
    (again,) = sidecars(bench.folder).values()
    assert (again["review"], len(again["history"])) == (None, 1)
    assert done(bench.run()) == ["current"]


@pytest.mark.parametrize("features", [[], [1.0], [1.0, 2.0, 3.0]])
def test_ood_features_of_another_length_are_computed_again(
    bench: Bench, classifier: Classifier, monkeypatch: pytest.MonkeyPatch, features: list[float]
) -> None:
    class Detector:
        feature_count = 2

        def score(self, inputs: Any, features: Any) -> list[OodScore]:
            return [OodScore(1.5, 0.5, (1.0, -2.5))]

    answer = type(classifier.engine).infer
    monkeypatch.setattr(
        type(classifier.engine),
        "infer",
        lambda self, inputs: dataclasses.replace(
            answer(self, inputs), features=np.zeros((len(inputs), 2), np.float32)
        ),
    )
    save(bench.folder / "1_BF.png", cell())
    used = dataclasses.replace(classifier, ood_detector=Detector())  # type: ignore[arg-type]
    bench.run(classifier=used)
    path = bench.folder / "1_BF.png.ctc.json"
    record = json.loads(path.read_text())
    record["ood"]["features"] = features
    path.write_text(json.dumps(record))
    (outcome,) = bench.run(classifier=used)
    assert (outcome.done, outcome.rescored) == ("written", False)
    assert outcome.ood_features == (1.0, -2.5)
    assert done(bench.run(classifier=used)) == ["current"]
