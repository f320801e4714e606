from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ctcedge.classification.classifier import Classifier
from tests.helpers.drawn_cells import cell, save
from tests.helpers.sidecar_files import sidecar, sidecars
from tests.unit.pipeline.bench import Bench, done


def save_all(bench: Bench) -> None:
    for number in range(9):
        save(bench.folder / f"{number}_BF.png", cell(8 + 3 * number))


def test_another_decision_runs_no_network_and_says_what_a_fresh_run_would(
    bench: Bench, other: Classifier, idle: Callable[[], Any]
) -> None:
    save_all(bench)
    first = bench.run()
    with idle():
        assert set(done(bench.run(classifier=other))) == {"written"}
        rescored = sidecars(bench.folder)
        assert set(done(bench.run(classifier=other))) == {"current"}
    for outcome in first:
        sidecar(bench.folder / outcome.crop.path).unlink()
    bench.run(classifier=other)
    fresh = sidecars(bench.folder)
    assert {record["operating_point"] for record in fresh.values()} == {"screening"}
    assert len({record["call"] for record in fresh.values()}) == 3
    for outcome in first:
        assert outcome.record
        found, wanted = rescored[outcome.crop.path], fresh[outcome.crop.path]
        (entry,) = found["history"]
        assert (entry["call"], entry["score"]) == (outcome.record.call, found["score"])
        assert (entry["operating_point"], entry["prior"]) == (None, 0.5)
        ignored = {"created": None, "history": None, "chain": None}
        assert json.dumps(found | ignored) == json.dumps(wanted | ignored)


def test_a_new_decision_keeps_what_computed_the_score(bench: Bench, other: Classifier) -> None:
    save(bench.folder / "1_BF.png", cell())
    bench.run()
    path = bench.folder / "1_BF.png.ctc.json"
    path.write_text(path.read_text().replace('"cpu"', '"cuda"').replace('"int8"', '"fp16"'))
    bench.run(classifier=other)
    (record,) = sidecars(bench.folder).values()
    assert (record["software"]["provider"], record["model"]["variant"]) == ("cuda", "fp16")


@pytest.mark.parametrize(
    "change",
    [
        {"score": None},
        {"quality": None},
        {"inference_sha256": "0" * 64},
        {"model": {"name": "x", "version": "1", "sha256": "0" * 64, "variant": "int8"}},
    ],
    ids=["score", "quality", "settings", "model"],
)
def test_what_does_not_hold_enough_is_inferred_again(bench: Bench, change: dict[str, Any]) -> None:
    save(bench.folder / "1_BF.png", cell())
    (first,) = bench.run()
    path = bench.folder / "1_BF.png.ctc.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | change | {"settings_sha256": "0" * 64}))
    (second,) = bench.run()
    assert first.record and second.record
    assert second.record.score == first.record.score
    assert second.record.inference_sha256 == first.record.inference_sha256


def test_force_runs_the_network_even_where_a_decision_would_do(
    bench: Bench, other: Classifier, idle: Callable[[], Any]
) -> None:
    save(bench.folder / "1_BF.png", cell())
    bench.run()
    before = sidecars(bench.folder)
    with idle(), pytest.raises(AssertionError, match="the network ran"):
        bench.run(classifier=other, force=True)
    assert sidecars(bench.folder) == before
