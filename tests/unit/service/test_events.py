from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
from pathlib import Path

import pytest

from ctcedge.service.events import POLL_INTERVAL, FolderEvents


@pytest.fixture
def received() -> queue.SimpleQueue[object]:
    return queue.SimpleQueue()


def test_events_arrive(tmp_path: Path, received: queue.SimpleQueue[object]) -> None:
    events = FolderEvents(tmp_path, received, 60)  # type: ignore[arg-type]
    events.start()
    try:
        assert events.scan_interval == 60
        (tmp_path / "1_BF.png").write_bytes(b"x")
        assert received.get(timeout=60) is not None
    finally:
        events.stop()


@pytest.mark.parametrize("kind", ["cifs", "nfs4", "fuse.bindfs", "fuseblk"])
def test_a_file_system_without_events_is_polled_and_logged_once(
    tmp_path: Path,
    received: queue.SimpleQueue[object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    monkeypatch.setattr("ctcedge.service.events.file_system", lambda folder: kind)
    events = FolderEvents(tmp_path, received, 60)  # type: ignore[arg-type]
    events.start()
    events.start()
    assert events.scan_interval == POLL_INTERVAL
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert kind in caplog.text


def test_lost_events_are_logged_once_and_wake_the_watcher(
    tmp_path: Path, received: queue.SimpleQueue[object], caplog: pytest.LogCaptureFixture
) -> None:
    events = FolderEvents(tmp_path, received, 60)  # type: ignore[arg-type]
    events.start()
    try:
        for _ in range(3):
            logging.getLogger("watchdog.observers.inotify").warning("Inotify queue overflowed")
        assert events.lost
        assert received.get(timeout=60) is None
        assert caplog.text.count("file events were lost") == 1
        events.start()
        assert not events.lost
    finally:
        events.stop()


def test_a_replaced_folder_is_observed_again(
    tmp_path: Path, received: queue.SimpleQueue[object]
) -> None:
    folder = tmp_path / "S"
    folder.mkdir()
    events = FolderEvents(folder, received, 60)  # type: ignore[arg-type]
    events.start()
    try:
        folder.rename(tmp_path / "old")
        with pytest.raises(FileNotFoundError):
            events.start()
        folder.mkdir()
        events.start()
        while not received.empty():
            received.get()
        (folder / "1_BF.png").write_bytes(b"x")
        event = received.get(timeout=60)
        assert os.fspath(event.src_path).startswith(str(folder))  # type: ignore[attr-defined]
    finally:
        events.stop()


def test_a_share_below_the_folder_is_polled_from_when_it_is_mounted(
    tmp_path: Path,
    received: queue.SimpleQueue[object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mounted: list[str] = []
    monkeypatch.setattr("ctcedge.service.events.remote_below", lambda folder: list(mounted))
    monkeypatch.setattr("ctcedge.service.events._CHECK_INTERVAL", 0.0)
    events = FolderEvents(tmp_path, received, 60)  # type: ignore[arg-type]
    events.start()
    try:
        events.check()
        assert not events.lost
        mounted.append("cifs")
        events.check()
        assert events.lost  # a scan is due
        events.start()
        events.check()
        assert not events.lost
        assert events.scan_interval == POLL_INTERVAL
        assert "a cifs file system below the folder" in caplog.text
        mounted.clear()
        events.check()
        events.start()
        assert events.scan_interval == 60
    finally:
        events.stop()


def test_files_that_no_event_announced_teach_it_to_poll(
    tmp_path: Path,
    received: queue.SimpleQueue[object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("ctcedge.service.events._CHECK_INTERVAL", 0.0)
    events = FolderEvents(tmp_path, received, 60)  # type: ignore[arg-type]
    events.start()
    try:
        events.found_by_scan("first")  # the first scan finds whatever is there
        events.check()
        assert not events.lost
        events.start()
        events.found_by_scan("announced")
        events.announced("announced")
        events.check()
        assert not events.lost
        events.found_by_scan("unannounced")
        events.check()
        assert events.lost
        events.start()
        assert events.scan_interval == POLL_INTERVAL
        assert "without file events" in caplog.text
    finally:
        events.stop()


def test_a_scan_after_a_loss_of_events_teaches_nothing(
    tmp_path: Path, received: queue.SimpleQueue[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctcedge.service.events._CHECK_INTERVAL", 0.0)
    events = FolderEvents(tmp_path, received, 60)  # type: ignore[arg-type]
    events.start()
    try:
        events.start()
        events.report_loss()
        events.start()
        events.found_by_scan("unannounced")
        events.check()
        assert not events.lost
        assert events.scan_interval == 60
    finally:
        events.stop()


def test_folders_too_deep_for_events_are_polled(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    events = FolderEvents(tmp_path, queue.SimpleQueue(), 60.0)
    try:
        for _ in range(2):
            events.start()
            assert events.scan_interval == (POLL_INTERVAL if sys.version_info < (3, 12) else 60.0)
    finally:
        events.stop()
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # deeper than pytest can remove
