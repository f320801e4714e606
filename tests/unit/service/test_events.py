from __future__ import annotations

import logging
import os
import queue
from pathlib import Path

import pytest

from ctcedge.service.events import POLL, FolderEvents


@pytest.fixture
def wakes() -> queue.SimpleQueue[object]:
    return queue.SimpleQueue()


def test_events_arrive(tmp_path: Path, wakes: queue.SimpleQueue[object]) -> None:
    events = FolderEvents(tmp_path, wakes, 60)  # type: ignore[arg-type]
    events.start()
    try:
        assert events.interval == 60
        (tmp_path / "1_BF.png").write_bytes(b"x")
        assert wakes.get(timeout=60) is not None
    finally:
        events.stop()


@pytest.mark.parametrize("kind", ["cifs", "nfs4", "fuse.bindfs", "fuseblk"])
def test_a_silent_file_system_is_polled_and_said_once(
    tmp_path: Path,
    wakes: queue.SimpleQueue[object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    monkeypatch.setattr("ctcedge.service.events.file_system", lambda folder: kind)
    events = FolderEvents(tmp_path, wakes, 60)  # type: ignore[arg-type]
    events.start()
    events.start()
    assert events.interval == POLL
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert kind in caplog.text


def test_a_warning_of_lost_events_wakes_for_a_full_look(
    tmp_path: Path, wakes: queue.SimpleQueue[object], caplog: pytest.LogCaptureFixture
) -> None:
    events = FolderEvents(tmp_path, wakes, 60)  # type: ignore[arg-type]
    events.start()
    try:
        for _ in range(3):
            logging.getLogger("watchdog.observers.inotify").warning("Inotify queue overflowed")
        assert events.lost
        assert wakes.get(timeout=60) is None
        assert caplog.text.count("file events were lost") == 1
        events.start()
        assert not events.lost
    finally:
        events.stop()


def test_a_replaced_folder_is_watched_anew(
    tmp_path: Path, wakes: queue.SimpleQueue[object]
) -> None:
    folder = tmp_path / "S"
    folder.mkdir()
    events = FolderEvents(folder, wakes, 60)  # type: ignore[arg-type]
    events.start()
    try:
        folder.rename(tmp_path / "old")
        with pytest.raises(FileNotFoundError):
            events.start()
        folder.mkdir()
        events.start()
        while not wakes.empty():
            wakes.get()
        (folder / "1_BF.png").write_bytes(b"x")
        event = wakes.get(timeout=60)
        assert os.fspath(event.src_path).startswith(str(folder))  # type: ignore[attr-defined]
    finally:
        events.stop()
