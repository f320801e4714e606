from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watchdog.events import DirCreatedEvent

from ctcedge.pipeline.outcome import Outcome
from ctcedge.pipeline.run import open_run
from ctcedge.results.summary import Summary
from ctcedge.service.watcher import Watcher
from ctcedge.settings import ImageSettings, Settings, WatchSettings
from tests.helpers.cli_runner import process, run
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, cell, encoded, save
from tests.helpers.sidecar_files import sidecar, sidecars, state, stray
from tests.unit.service.test_arrivals import copied
from tests.unit.service.watches import Clock, Place, collected, without_events


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


def test_a_watch_that_never_saw_its_folder_is_not_complete(place: Place) -> None:
    with place.watching("--rescan-interval", 0.1, "--json") as running:
        place.folder.rename(place.root / "away")
        running.until(lambda: "cannot be read" in running.stderr)
        code, output = running.stop()
    summary = json.loads(output)
    assert (code, summary["finished"], summary["complete"]) == (0, False, False)


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
