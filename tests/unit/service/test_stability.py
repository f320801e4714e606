from __future__ import annotations

import pytest

from ctcedge.fs.files import Signature
from ctcedge.service.stability import FileStabilityTracker


class Disk:
    """Signatures of files that a test sets."""

    def __init__(self) -> None:
        self.files: dict[str, Signature] = {}

    def look(self, path: str) -> Signature | None:
        return self.files.get(path)


def taken(tracker: FileStabilityTracker, now: float) -> list[tuple[str, Signature]]:
    return [(file.path, file.signature) for file in tracker.take_stable_files(now, 99)]


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def tracker(disk: Disk) -> FileStabilityTracker:
    return FileStabilityTracker(1.0, disk.look)


def test_a_file_is_taken_once_it_no_longer_changes(
    disk: Disk, tracker: FileStabilityTracker
) -> None:
    disk.files["a"] = (1,)
    tracker.track("a", 10.0)
    assert tracker.take_stable_files(10.9, 99) == []
    assert tracker.next_due() == 11.0
    assert taken(tracker, 11.0) == [("a", (1,))]
    assert tracker.take_stable_files(99.0, 99) == []
    assert tracker.pending_count == 0
    assert tracker.next_due() is None


def test_each_change_restarts_the_wait(disk: Disk, tracker: FileStabilityTracker) -> None:
    for step in range(5):
        disk.files["a"] = (step,)
        tracker.track("a", 10.0 + 0.9 * step)
        assert tracker.take_stable_files(10.0 + 0.9 * step, 99) == []
    assert tracker.take_stable_files(14.5, 99) == []
    assert taken(tracker, 14.7) == [("a", (4,))]


def test_a_repeated_event_without_a_change_does_not_restart_it(
    disk: Disk, tracker: FileStabilityTracker
) -> None:
    disk.files["a"] = (1,)
    tracker.track("a", 10.0)
    tracker.track("a", 10.9)
    assert taken(tracker, 11.0) == [("a", (1,))]


def test_a_change_without_an_event_is_noticed(disk: Disk, tracker: FileStabilityTracker) -> None:
    disk.files["a"] = (1,)
    tracker.track("a", 10.0)
    disk.files["a"] = (2,)
    assert tracker.take_stable_files(11.0, 99) == []
    assert tracker.take_stable_files(11.9, 99) == []
    assert taken(tracker, 12.0) == [("a", (2,))]


def test_a_closed_file_is_taken_at_once(disk: Disk, tracker: FileStabilityTracker) -> None:
    disk.files["a"] = (1,)
    tracker.track("a", 10.0)
    tracker.complete("a", 10.1)
    assert taken(tracker, 10.1) == [("a", (1,))]


def test_a_closed_file_that_is_written_to_again_waits(
    disk: Disk, tracker: FileStabilityTracker
) -> None:
    disk.files["a"] = (1,)
    tracker.complete("a", 10.0)
    disk.files["a"] = (2,)
    assert tracker.take_stable_files(10.0, 99) == []
    assert taken(tracker, 11.0) == [("a", (2,))]


def test_a_file_that_disappears_is_forgotten(disk: Disk, tracker: FileStabilityTracker) -> None:
    disk.files["a"] = (1,)
    tracker.track("a", 10.0)
    del disk.files["a"]
    assert tracker.take_stable_files(11.0, 99) == []
    assert tracker.pending_count == 0


def test_a_retry_comes_when_it_is_due(disk: Disk, tracker: FileStabilityTracker) -> None:
    disk.files["a"] = (1,)
    tracker.retry("a", 15.0)
    assert tracker.take_stable_files(14.9, 99) == []
    assert taken(tracker, 15.0) == [("a", (1,))]


def test_files_are_taken_in_sorted_order(disk: Disk, tracker: FileStabilityTracker) -> None:
    for path in ("b", "c", "a"):
        disk.files[path] = (1,)
        tracker.complete(path, 10.0)
    assert [path for path, _ in taken(tracker, 10.0)] == ["a", "b", "c"]


def test_at_most_max_files_are_taken_in_the_order_of_arrival(
    disk: Disk, tracker: FileStabilityTracker
) -> None:
    for path in ("c", "a", "b"):
        disk.files[path] = (1,)
        tracker.complete(path, 10.0)
    assert [each.path for each in tracker.take_stable_files(10.0, 2)] == ["a", "c"]
    assert [each.path for each in tracker.take_stable_files(10.0, 2)] == ["b"]
    assert tracker.take_stable_files(10.0, 2) == []
