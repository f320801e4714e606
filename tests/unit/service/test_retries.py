from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ctcedge.fs.unfinished import UnfinishedFile
from ctcedge.results.summary import Summary
from ctcedge.service.stability import StableFile
from ctcedge.service.watcher import Watcher
from tests.helpers.cli_runner import no_disk
from tests.helpers.drawn_cells import CTC, cell, encoded, save
from tests.helpers.sidecar_files import sidecars, stray
from tests.unit.service.watches import Clock, collected


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
    monkeypatch.setattr("ctcedge.pipeline.loader.read_file", no_disk)
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


def test_an_image_whose_age_the_file_system_does_not_tell_is_tried_again(
    tmp_path: Path, watcher: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "S" / "1_BF.png").write_bytes(encoded(cell(CTC))[:100])
    trying = watcher()
    monkeypatch.setattr(trying, "_image_signature", lambda path: ())
    monkeypatch.setattr(trying._tracker, "_get_signature", lambda path: ())
    monkeypatch.setattr("ctcedge.service.watcher._DECODE_RETRY_S", 0.01)
    assert [outcome.done for outcome in collected(trying, 2)] == ["deferred"] * 2


def test_writing_is_retried_while_the_disk_is_full(
    tmp_path: Path, watcher: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(save(tmp_path / "S" / "1_BF.png", cell()), (0, 0))
    create, failures = UnfinishedFile.create, [1, 2]

    def full(file: UnfinishedFile, name: str) -> None:
        if failures:
            failures.pop()
            raise OSError(28, "No space left on device")
        create(file, name)

    monkeypatch.setattr(UnfinishedFile, "create", full)
    (outcome,) = collected(watcher(), 1)
    assert outcome.done == "written"
    assert failures == []
    assert set(sidecars(tmp_path / "S")) == {"1_BF.png"}
    assert stray(tmp_path / "S") == []


@pytest.mark.parametrize("full", [False, True])
def test_crops_that_a_stop_left_are_pending_and_a_full_disk_stays_the_problem(
    tmp_path: Path, watcher: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    for number in range(3):
        os.utime(save(tmp_path / "S" / f"{number}_BF.png", cell()), (0, 0))

    def no_space(file: UnfinishedFile, name: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if full:
        monkeypatch.setattr(UnfinishedFile, "create", no_space)
    monkeypatch.setattr("ctcedge.service.watcher._WRITE_RETRY_S", 0.01)
    trying = watcher()
    take, passes = trying._tracker.take_stable_files, []

    def take_and_stop(now: float, max_files: int) -> list[StableFile]:
        if files := take(now, max_files):
            passes.append(len(files))
            if len(passes) == 1 + full:
                trying.stop()
        return files

    monkeypatch.setattr(trying._tracker, "take_stable_files", take_and_stop)
    assert list(trying.outcomes()) == []
    assert passes[0] == 3
    assert trying.pending == 3
    assert ("No space left" in (trying.state.problem or "")) == full


def test_a_crop_whose_folder_cannot_be_written_is_tried_again_alone_ever_later(
    tmp_path: Path, watcher: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = UnfinishedFile.write
    os.utime(save(tmp_path / "S" / "a" / "1_BF.png", cell()), (0, 0))
    os.utime(save(tmp_path / "S" / "b" / "2_BF.png", cell()), (0, 0))
    delays: list[float] = []

    def refusing(file: UnfinishedFile, data: bytes) -> None:
        if os.readlink(f"/proc/self/fd/{file._directory}").endswith("/a"):
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        write(file, data)

    monkeypatch.setattr(UnfinishedFile, "write", refusing)
    monkeypatch.setattr("ctcedge.service.watcher._MIN_RETRY_S", 0.01)
    trying = watcher()
    trying._settings = msgspec.structs.replace(trying._settings, rescan_interval=0.04)
    written = []
    for outcome in trying.outcomes():
        if outcome.done == "written":
            written.append(outcome.crop.path)
        if outcome.done == "not-written":
            delays.append(trying._not_written["a/1_BF.png"].delay)
        if len(delays) == 5 and outcome.done == "not-written":
            trying._set_not_written()
            assert trying.state.problem is not None
            assert "such as a/1_BF.png: sidecar cannot be written" in trying.state.problem
            monkeypatch.setattr(UnfinishedFile, "write", write)
        if len(written) == 2:
            trying.stop()
    assert written == ["b/2_BF.png", "a/1_BF.png"]
    assert delays[:5] == [0.01, 0.02, 0.04, 0.04, 0.04]
    assert trying.state.problem is None
