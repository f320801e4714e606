from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.decision import DecisionRule
from ctcedge.settings import DecisionSettings
from ctcedge.sidecars.schema import ReviewRecord, Sidecar
from ctcedge.sidecars.store import SidecarStore
from tests.helpers.drawn_cells import LEUKOCYTE, REVIEW, cell, save
from tests.helpers.sidecar_files import as_dict, sidecars
from tests.unit.pipeline.bench import REVIEWED, Bench, done


def reviewed(record: Sidecar) -> Sidecar:
    """The sidecar with a review."""
    review = msgspec.convert(REVIEWED, ReviewRecord)
    return msgspec.structs.replace(record, review=review)


@pytest.mark.parametrize("again", ["forced", "decision", "image", "bad image"])
def test_a_review_outlives_what_ctcedge_writes(
    bench: Bench, classifier: Classifier, again: str
) -> None:
    path = save(bench.folder / "1_BF.png", cell(LEUKOCYTE))
    bench.run()
    (crop,) = bench.crops()
    SidecarStore(bench.folder).amend(crop, reviewed)
    assert done(bench.run()) == ["current"]
    if again == "image":
        save(path, cell(REVIEW))
    elif again == "bad image":
        path.write_bytes(b"")
    elif again == "decision":
        policy = DecisionRule.of(classifier.model.spec, DecisionSettings(prevalence=0.01))
        classifier = dataclasses.replace(classifier, rule=policy)
    (outcome,) = bench.run(force=again == "forced", classifier=classifier)
    (record,) = sidecars(bench.folder).values()
    assert outcome.done == "written"
    assert as_dict(outcome.record) == record
    assert record["review"] == REVIEWED
    assert len(record["history"]) == 1


def test_a_review_that_comes_while_a_crop_is_classified_is_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(bench.folder / "1_BF.png", cell())
    bench.run()
    (crop,) = bench.crops()
    infer = type(bench.classifier).infer

    def reviewed_meanwhile(self: Any, inputs: Any) -> Any:
        SidecarStore(bench.folder).amend(crop, reviewed)
        return infer(self, inputs)

    monkeypatch.setattr(type(bench.classifier), "infer", reviewed_meanwhile)
    bench.run(force=True)
    (record,) = sidecars(bench.folder).values()
    assert record["review"] == REVIEWED
    assert len(record["history"]) == 1
