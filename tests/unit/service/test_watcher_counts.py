from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ctcedge.classification.ood import DomainShift, OodScore, RunFeatures
from ctcedge.discovery.naming import Crop
from ctcedge.model.session import Engine
from ctcedge.pipeline.outcome import Outcome, TallyKey
from ctcedge.pipeline.run import open_run
from ctcedge.results.summary import Summary
from ctcedge.service.watcher import Watcher
from ctcedge.settings import ImageSettings, Settings, WatchSettings
from ctcedge.sidecars.index import IndexEntry
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, cell, encoded, save
from tests.helpers.image_builder import png
from tests.helpers.sidecar_files import sidecars
from tests.unit.service.watches import without_events


def test_crops_that_come_back_are_not_counted_again(
    tmp_path: Path, watcher: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_events(monkeypatch)
    folder, away = tmp_path / "S", tmp_path / "away"
    os.utime(save(folder / "P" / "1_BF.png", cell(CTC)), (0, 0))
    watching, summary = watcher(), Summary()
    for outcome in watching.outcomes():
        summary.add(outcome)
        if outcome.crop.path == "other_BF.png":  # found by a full look without the first
            away.rename(folder / "P")
            save(folder / "P" / "2_BF.png", cell(LEUKOCYTE))
        elif outcome.crop.path == "P/1_BF.png" and not away.exists() and summary.done.total() == 1:
            (folder / "P").rename(away)
            save(folder / "other_BF.png", cell(LEUKOCYTE))
        elif summary.done.total() == 3:
            watching.stop()
    assert +summary.tally.calls == {"CTC": 1, "leukocyte": 2}


def test_a_crop_that_was_first_unreadable_counts_for_the_domain_shift_of_its_sample() -> None:
    crop, summary = Crop("1_BF.png", "S", "1", "BF"), Summary()
    known = IndexEntry("CTC", (), False, None, [0.1, 0.2])
    summary.add(Outcome(crop, "written", error="unreadable"))
    for _ in range(2):
        before = TallyKey("written") if not summary._features else TallyKey("current", "CTC")
        summary.add(Outcome(crop, "current", index_entry=known, replaces=before))
    assert summary._features["S"].crops == 1


def test_the_summary_counts_a_crop_once_however_often_it_is_classified(
    tmp_path: Path, watcher: Callable[..., Watcher]
) -> None:
    path, good = tmp_path / "S" / "1_BF.png", encoded(cell(CTC))
    contents = [encoded(cell(LEUKOCYTE)), png(4, 4), good, good]
    watching, summary = watcher(), Summary()
    path.write_bytes(good)
    for outcome in watching.outcomes():
        summary.add(outcome)
        assert summary.done.total() == 1
        assert summary.tally.calls.total() + len(summary.unclassified) == 1
        if contents:
            path.write_bytes(contents.pop(0))
        else:
            watching.stop()
    assert +summary.tally.calls == {"CTC": 1}
    assert +summary.done == {"current": 1}


class Flat:
    """An OOD detector for which images without a cell are out of distribution."""

    feature_count = 1

    def score(self, inputs: np.ndarray, features: object) -> list[OodScore]:
        return [OodScore(1.0, 0.5, (float(each.min()),)) for each in inputs]

    def domain_shift(self, run: RunFeatures) -> DomainShift:
        if run.crops < 2:
            return DomainShift("insufficient", run.crops, None)
        distance = float(run.mean()[0]) / 100
        return DomainShift("shifted" if distance > 1 else "in-distribution", run.crops, distance)


@pytest.fixture
def with_ood_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' model, with features and an OOD detector."""
    monkeypatch.setattr("ctcedge.classification.classifier.OodDetector.load", lambda model: Flat())
    answer = Engine.infer
    monkeypatch.setattr(
        Engine,
        "infer",
        lambda self, inputs: replace(answer(self, inputs), features=np.zeros((len(inputs), 1))),
    )


def test_the_latest_crops_are_compared_with_the_training_data(
    tmp_path: Path,
    model_folder: Path,
    with_ood_detector: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("ctcedge.service.progress.DRIFT_WINDOW", 3)
    monkeypatch.setattr("ctcedge.service.watcher.BUSY_HEARTBEAT_S", 0.0)
    folder = tmp_path / "S"
    folder.mkdir()
    settings = Settings(ImageSettings(), WatchSettings(0.0, 0.001), str(model_folder), "cpu")
    states = []
    with open_run(folder, settings) as run, caplog.at_level("INFO", "ctcedge.service.progress"):
        summary = Summary(ood_detector=run.classifier.ood_detector)
        watching = Watcher(run, publish=lambda state: states.append(state.domain_shift))
        # The network sees disks go down to some 80, and flat fields at 128.
        flat = np.full((64, 64), 100, np.uint8)
        images = [cell(CTC), cell(CTC), flat, flat, flat, cell(CTC), cell(CTC), cell(CTC)]
        save(folder / "0_BF.png", images[0])
        for outcome in watching.outcomes():
            summary.add(outcome)
            if outcome.done == "written" and (came := summary.tally.calls.total()) < len(images):
                save(folder / f"{came}_BF.png", images[came])
            elif outcome.done == "written":
                watching.stop()
    shifts = [shift.state for shift in states if shift is not None]
    changes = [state for i, state in enumerate(shifts) if i == 0 or shifts[i - 1] != state]
    assert changes == ["insufficient", "in-distribution", "shifted", "in-distribution"]
    assert max(each.crops for each in states if each is not None) == 3
    warned = [record for record in caplog.records if "domain shift" in record.getMessage()]
    assert [record.levelname for record in warned] == ["WARNING"]
    assert (
        sum("are like the training data again" in record.getMessage() for record in caplog.records)
        == 1
    )
    assert {sample: each.crops for sample, each in summary.domain_shift().samples.items()} == {
        "S": 8
    }
    calls = {name: record["call"] for name, record in sidecars(folder).items()}
    assert calls["7_BF.png"] == calls["0_BF.png"] == "CTC"
