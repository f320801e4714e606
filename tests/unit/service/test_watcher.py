from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from watchdog.events import DirCreatedEvent

from ctcedge.classification.ood import DomainShift, OodScore, RunFeatures
from ctcedge.discovery.naming import Crop
from ctcedge.model.session import Engine
from ctcedge.pipeline.outcome import Outcome, TallyKey
from ctcedge.pipeline.run import open_run
from ctcedge.results.summary import Summary
from ctcedge.service.watcher import Watcher
from ctcedge.settings import ImageSettings, Settings, WatchSettings
from ctcedge.sidecars.index import IndexEntry
from tests.helpers.support import (
    CTC,
    LEUKOCYTE,
    Process,
    cell,
    encoded,
    load,
    no_disk,
    png,
    process,
    run,
    save,
    sidecar,
    sidecars,
    state,
    stray,
)


class Place:
    """A watched folder with its sidecars elsewhere."""

    def __init__(self, root: Path, model: Path) -> None:
        self.folder, self.out, self.root, self.model = root / "in", root / "out", root, model
        self.folder.mkdir()

    @contextmanager
    def watching(self, *words: object, ready: bool = True) -> Iterator[Process]:
        arguments = ["watch", self.folder, "--out", self.out, "--model", self.model]
        arguments += ["--provider", "cpu", "--stability-delay", 0.2, *words]
        if ready:
            os.utime(save(self.folder / "ready_BF.png", cell()), (0, 0))
        with process(*arguments, log=self.root / "log") as running:
            if ready:
                self.waits_for(running, "ready_BF.png")
            yield running

    def record(self, name: str) -> dict[str, Any] | None:
        path = self.out / (name + ".ctc.json")
        return load(path) if path.exists() else None

    def waits_for(self, running: Process, *names: str, **fields: Any) -> None:
        def there() -> bool:
            found = [self.record(name) for name in names]
            return all(r and {k: r[k] for k in fields} == fields for r in found)

        running.until(there, f"{names} {fields}")


@pytest.fixture
def place(tmp_path: Path, model_folder: Path) -> Place:
    return Place(tmp_path, model_folder)


def copied(folder: Path) -> list[str]:
    save(folder / "1_BF.png", cell(CTC))
    save(folder / "2_BF.tif", cell(LEUKOCYTE))
    return ["1_BF.png", "2_BF.tif"]


def renamed_into_place(folder: Path) -> list[str]:
    path = folder / "1_BF.png.part"
    path.write_bytes(encoded(cell()))
    path.rename(folder / "1_BF.png")
    return ["1_BF.png"]


def moved_in_from_elsewhere(folder: Path) -> list[str]:
    save(folder.parent / "elsewhere" / "1_BF.png", cell()).rename(folder / "1_BF.png")
    return ["1_BF.png"]


def a_new_folder(folder: Path) -> list[str]:
    names = [f"P7/a b/{number}_BF.png" for number in range(20)]
    for name in names:
        save(folder / name, cell())
    return names


def a_folder_moved_in_whole(folder: Path) -> list[str]:
    for name in ("1_BF.png", "deep/2_BF.png"):
        save(folder.parent / "elsewhere" / name, cell())
    (folder.parent / "elsewhere").rename(folder / "P9")
    return ["P9/1_BF.png", "P9/deep/2_BF.png"]


def a_folder_renamed(folder: Path) -> list[str]:
    save(folder / ".making" / "1_BF.png", cell())
    (folder / ".making").rename(folder / "P8")
    return ["P8/1_BF.png"]


def hard_links(folder: Path) -> list[str]:
    os.link(save(folder.parent / "first.png", cell()), folder / "1_BF.png")
    return ["1_BF.png"]


def odd_names(folder: Path) -> list[str]:
    names = ["a b_BF.png", "[red]\x1b[1m_BF.png", "a\nb_BF.png", "é_BF.png"]
    for name in names:
        save(folder / name, cell())
    return names


def an_old_mtime(folder: Path) -> list[str]:
    os.utime(save(folder / "1_BF.png", cell()), (0, 0))
    return ["1_BF.png"]


def a_future_mtime(folder: Path) -> list[str]:
    os.utime(save(folder / "1_BF.png", cell()), (4e9, 4e9))
    return ["1_BF.png"]


ARRIVALS = [
    copied,
    renamed_into_place,
    moved_in_from_elsewhere,
    a_new_folder,
    a_folder_moved_in_whole,
    a_folder_renamed,
    hard_links,
    odd_names,
    an_old_mtime,
    a_future_mtime,
]


def test_each_way_of_arriving(place: Place) -> None:
    """Events alone bring each: the next full look is an hour away."""
    with place.watching("--rescan-interval", 3600) as running:
        for arrive in ARRIVALS:
            folder = place.folder / arrive.__name__
            folder.mkdir()
            expected = [f"{arrive.__name__}/{name}" for name in arrive(folder)]
            place.waits_for(running, *expected, status="classified")
        code, _ = running.stop()
    assert code == 0
    assert stray(place.root) == []
    assert all(record["history"] == [] for record in sidecars(place.out).values())


def test_existing_crops_are_classified_and_ctrl_c_exits_with_0(place: Place) -> None:
    names = copied(place.folder)
    (place.folder / "labels.csv").touch()
    with place.watching(ready=False) as running:
        place.waits_for(running, *names, status="classified")
        code, output = running.stop(signal.SIGINT)
    assert code == 0
    assert output == ""  # the table is for terminals; the log has the counts
    assert set(sidecars(place.out)) == set(names)


def test_an_empty_folder_is_watched(place: Place) -> None:
    with place.watching("--rescan-interval", 0.2, ready=False) as running:
        running.until(lambda: "Model disks" in running.stderr)
        place.waits_for(running, *copied(place.folder), status="classified")
        assert running.stop()[0] == 0


def test_a_second_watch_does_nothing_again(place: Place) -> None:
    names = copied(place.folder)
    with place.watching() as running:
        place.waits_for(running, *names)
        running.stop()
    before = state(place.out)
    with place.watching("--json", ready=False) as running:
        save(place.folder / "new_BF.png", cell())
        place.waits_for(running, "new_BF.png")
        running.stop()
    assert {name: state(place.out)[name] for name in before} == before


def test_a_file_written_slowly_is_taken_whole(place: Place) -> None:
    data = encoded(cell(CTC, side=200))
    with place.watching("--stability-delay", 3600, "--rescan-interval", 0.1) as running:
        with (place.folder / "1_BF.png").open("wb", buffering=0) as file:
            for number, start in enumerate(range(0, len(data), len(data) // 4 + 1)):
                file.write(data[start : start + len(data) // 4 + 1])
                save(place.folder / f"other{number}_BF.png", cell())
                place.waits_for(running, f"other{number}_BF.png")
                assert place.record("1_BF.png") is None
        place.waits_for(running, "1_BF.png", status="classified")
        running.stop()
    assert sidecars(place.out)["1_BF.png"]["history"] == []


def test_an_image_that_stays_bad_is_unreadable_until_it_changes(place: Place) -> None:
    path = place.folder / "1_BF.png"
    with place.watching("--decode-timeout", 0) as running:
        path.write_bytes(b"")
        place.waits_for(running, "1_BF.png", status="unreadable")
        save(path, cell(CTC))
        place.waits_for(running, "1_BF.png", status="classified", call="CTC")
        save(path, cell(LEUKOCYTE))
        place.waits_for(running, "1_BF.png", status="classified", call="leukocyte")
        running.stop()
    record = sidecars(place.out)["1_BF.png"]
    assert [entry["call"] for entry in record["history"]] == ["CTC"]


def test_a_deleted_sidecar_is_written_again_by_the_next_rescan(place: Place) -> None:
    with place.watching("--rescan-interval", 0.1) as running:
        sidecar(place.out / "ready_BF.png").unlink()
        place.waits_for(running, "ready_BF.png", status="classified")
        running.stop()


def test_a_sidecar_that_disappears_at_once_is_written_again(
    tmp_path: Path, watcher: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "S" / "1_BF.png", cell())
    os.utime(path, (0, 0))
    remember, lost = Watcher._record_outcome, []

    def lose_first(self: Watcher, outcome: Outcome, *others: Any) -> None:
        if not lost:
            sidecar(path).unlink()
            lost.append(outcome)
        remember(self, outcome, *others)

    monkeypatch.setattr(Watcher, "_record_outcome", lose_first)
    assert [each.done for each in collected(watcher(), 2)] == ["written", "written"]
    assert set(sidecars(tmp_path / "S")) == {"1_BF.png"}


def test_beside_the_images_too(tmp_path: Path, model_folder: Path) -> None:
    folder = tmp_path / "S"
    first = save(folder / "1_BF.png", cell())
    words = ("watch", folder, "--model", model_folder, "--stability-delay", 0.2)
    with process(*words, log=tmp_path / "log") as running:
        running.until(lambda: sidecar(first).exists())
        second = save(folder / "2_BF.png", cell())
        running.until(lambda: sidecar(second).exists())
        assert running.stop()[0] == 0
    assert set(sidecars(folder)) == {"1_BF.png", "2_BF.png"}
    assert stray(folder) == []


def test_the_folder_may_vanish_and_come_back(place: Place) -> None:
    with place.watching("--rescan-interval", 0.1) as running:
        place.folder.rename(place.root / "away")
        running.until(lambda: "cannot be read" in running.stderr)
        place.folder.mkdir()
        running.until(lambda: "working again" in running.stderr)
        place.waits_for(running, *copied(place.folder), status="classified")
        assert running.stop()[0] == 0


def test_a_second_watcher_is_refused_and_the_lock_ends_with_its_process(place: Place) -> None:
    words = ("classify", place.folder, "--out", place.out, "--model", place.model)
    with place.watching() as running:
        assert "another ctcedge is writing" in run(*words, code=2).stderr
        running.popen.kill()
        running.popen.wait()
    run(*words)
    assert set(sidecars(place.out)) == {"ready_BF.png"}


def test_no_sample_or_cell_names_in_the_log(place: Place) -> None:
    with place.watching("--decode-timeout", 0) as running:
        (place.folder / "Smith").mkdir()
        save(place.folder / "Smith" / "John_BF.png", cell())
        (place.folder / "Smith" / "Jane_BF.png").write_bytes(b"")
        place.waits_for(running, "Smith/John_BF.png", "Smith/Jane_BF.png")
        running.popen.send_signal(signal.SIGKILL)
        running.popen.wait()
    for name in ("Smith", "John", "Jane"):
        assert name not in running.stderr


class Clock:
    """A clock that a test advances, and that advances a little with each reading."""

    now = 1000.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


@pytest.fixture
def watcher(tmp_path: Path, model_folder: Path) -> Iterator[Callable[..., Watcher]]:
    folder = tmp_path / "S"
    folder.mkdir()
    settings = Settings(ImageSettings(), WatchSettings(1.0, 0.001, 30.0), str(model_folder), "cpu")
    with open_run(folder, settings) as opened:
        yield lambda **options: Watcher(opened, **options)


def collected(watcher: Watcher, count: int) -> list[Outcome]:
    """A number of outcomes; then the watcher is stopped."""
    outcomes = []
    for outcome in watcher.outcomes():
        outcomes.append(outcome)
        if len(outcomes) == count:
            watcher.stop()
    return outcomes


def without_events(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_events(*arguments: object, **options: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("watchdog.observers.api.BaseObserver.schedule", no_events)


def test_force_applies_once(tmp_path: Path, watcher: Callable[..., Watcher]) -> None:
    for number in range(3):
        os.utime(save(tmp_path / "S" / f"{number}_BF.png", cell()), (0, 0))
    assert {o.done for o in collected(watcher(), 3)} == {"written"}
    assert {o.done for o in collected(watcher(), 3)} == {"current"}
    forced = watcher(force=True)
    outcomes = []
    for outcome in forced.outcomes():
        outcomes.append(outcome.done)
        if len(outcomes) == 3:
            save(tmp_path / "S" / "new_BF.png", cell())
        elif len(outcomes) > 3:
            forced.stop()
    assert outcomes[:3] == ["written"] * 3
    histories = [len(r["history"]) for name, r in sidecars(tmp_path / "S").items() if name != "new"]
    assert sorted(histories) == [0, 1, 1, 1]


def test_a_half_written_file_is_tried_again_until_it_is_whole(
    tmp_path: Path, watcher: Callable[..., Watcher]
) -> None:
    path, data = tmp_path / "S" / "1_BF.png", encoded(cell(CTC))
    path.write_bytes(data[:100])
    trying = watcher()
    outcomes = []
    for outcome in trying.outcomes():
        outcomes.append(outcome.done)
        if outcome.done == "deferred":
            assert sidecars(tmp_path / "S") == {}
            with path.open("r+b") as file:
                file.seek(100)
                file.write(data[100:])
        else:
            trying.stop()
    assert outcomes == ["deferred", "written"]
    (record,) = sidecars(tmp_path / "S").values()
    assert (record["status"], record["history"]) == ("classified", [])


def test_an_image_is_unreadable_after_the_decode_timeout(
    tmp_path: Path, watcher: Callable[..., Watcher]
) -> None:
    clock = Clock()
    (tmp_path / "S" / "1_BF.png").write_bytes(encoded(cell(CTC))[:100])
    trying = watcher(clock=clock)
    outcomes = []
    for outcome in trying.outcomes():
        outcomes.append(outcome.done)
        clock.now += 10
        if outcome.done == "written":
            trying.stop()
    assert outcomes[:2] == ["deferred"] * 2
    assert clock.now > 1030
    (record,) = sidecars(tmp_path / "S").values()
    assert record["status"] == "unreadable"


def test_an_image_that_could_not_be_read_is_read_once_it_can_be(
    tmp_path: Path, watcher: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, summary = Clock(), Summary()
    os.utime(save(tmp_path / "S" / "1_BF.png", cell(CTC)), (0, 0))
    monkeypatch.setattr("ctcedge.images.read.read_limited", no_disk)
    trying = watcher(clock=clock)
    outcomes = []
    for outcome in trying.outcomes():
        summary.add(outcome)
        outcomes.append(outcome.done)
        clock.now += 10
        if outcome.done == "current":
            monkeypatch.undo()
        elif outcomes.count("written") == 2:
            trying.stop()
    assert outcomes[-3:] == ["written", "current", "written"]
    assert set(outcomes[:-3]) == {"deferred"}
    assert trying.state.done == {"deferred": len(outcomes) - 3, "written": 2}
    assert (+summary.tally.calls, summary.unclassified) == ({"CTC": 1}, {})


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


def test_stop_before_the_start_ends_at_once(
    tmp_path: Path, watcher: Callable[..., Watcher]
) -> None:
    save(tmp_path / "S" / "1_BF.png", cell())
    stopped = watcher()
    stopped.stop()
    assert list(stopped.outcomes()) == []


def test_files_in_a_new_folder_are_tracked_also_without_events(
    tmp_path: Path, watcher: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    looking = watcher(clock=clock)
    monkeypatch.setattr("ctcedge.service.watcher.iter_entries", lambda folder, naming: iter(()))
    save(tmp_path / "S" / "P1" / "deep" / "1_BF.png", cell())
    looking._queue.put(DirCreatedEvent(str(tmp_path / "S" / "P1")))
    (outcome,) = collected(looking, 1)
    assert (outcome.crop.path, outcome.done) == ("P1/deep/1_BF.png", "written")


def test_without_events_the_rescan_finds_new_crops(
    tmp_path: Path, watcher: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_events(monkeypatch)
    os.utime(save(tmp_path / "S" / "1_BF.png", cell()), (0, 0))
    polling = watcher()
    names = []
    for outcome in polling.outcomes():
        names.append(outcome.crop.path)
        if len(names) == 1:
            os.utime(save(tmp_path / "S" / "2_BF.png", cell()), (0, 0))
        else:
            polling.stop()
    assert names == ["1_BF.png", "2_BF.png"]


def test_crops_of_an_earlier_run_are_known_without_reading_them(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctcedge.sidecars.index.TIMESTAMP_GRANULARITY", 0.0)
    monkeypatch.setattr("ctcedge.sidecars.index.MIN_WRITE", 1)
    folder = tmp_path / "S"
    for number in range(5):
        os.utime(save(folder / f"{number}_BF.png", cell()), (0, 0))
    settings = Settings(ImageSettings(), WatchSettings(1.0, 0.001, 30.0), str(model_folder), "cpu")
    with open_run(folder, settings) as opened:
        collected(Watcher(opened), 5)
    with open_run(folder, settings) as opened:
        watching, summary, outcomes = Watcher(opened), Summary(), []
        for outcome in watching.outcomes():
            summary.add(outcome)
            outcomes.append(outcome)
            if len(outcomes) == 5:
                assert [each.done for each in outcomes] == ["current"] * 5
                assert all(each.index_entry and each.index_entry.call == "CTC" for each in outcomes)
                assert watching._tracker.pending_count == 0
                os.utime(save(folder / "new_BF.png", cell()), (0, 0))
            elif len(outcomes) == 6:
                sidecar(folder / "3_BF.png").unlink()
            elif len(outcomes) == 7:
                watching.stop()
    assert [(each.crop.path, each.done) for each in outcomes[5:]] == [
        ("new_BF.png", "written"),
        ("3_BF.png", "written"),
    ]
    assert +summary.done == {"current": 4, "written": 2}
    assert +summary.tally.calls == {"CTC": 6}


def test_force_classifies_again_crops_in_the_index(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctcedge.sidecars.index.TIMESTAMP_GRANULARITY", 0.0)
    monkeypatch.setattr("ctcedge.sidecars.index.MIN_WRITE", 1)
    os.utime(save(tmp_path / "S" / "1_BF.png", cell()), (0, 0))
    settings = Settings(ImageSettings(), WatchSettings(), str(model_folder), "cpu")
    for force, done in ((False, "written"), (False, "current"), (True, "written")):
        with open_run(tmp_path / "S", settings) as opened:
            (outcome,) = collected(Watcher(opened, force=force), 1)
            assert outcome.done == done


def test_a_large_backlog_is_classified_in_batches(
    tmp_path: Path, watcher: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes meanwhile is noticed between two of them."""
    monkeypatch.setattr("ctcedge.service.watcher._MAX_BATCH", 4)
    monkeypatch.setattr("ctcedge.service.watcher._SCAN_BATCH", 3)
    for number in range(10):
        os.utime(save(tmp_path / "S" / f"{number}_BF.png", cell()), (0, 0))
    watching = watcher()
    names = [outcome.crop.path for outcome in collected(watching, 10)]
    assert names == [f"{number}_BF.png" for number in range(10)]
    assert watching.state.batches.counts[:2] == [0, 3]


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
def guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' model, with features and a guard."""
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
    guarded: None,
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


def test_writing_is_retried_while_the_disk_is_full(
    tmp_path: Path, watcher: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(save(tmp_path / "S" / "1_BF.png", cell()), (0, 0))
    replace, failures = os.replace, [1, 2]

    def full(*names: Any, **folders: Any) -> None:
        if failures:
            failures.pop()
            raise OSError(28, "No space left on device")
        replace(*names, **folders)

    monkeypatch.setattr(os, "replace", full)
    (outcome,) = collected(watcher(), 1)
    assert outcome.done == "written"
    assert failures == []
    assert set(sidecars(tmp_path / "S")) == {"1_BF.png"}
    assert stray(tmp_path / "S") == []
