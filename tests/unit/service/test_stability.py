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


def taken(settling: FileStabilityTracker, now: float) -> list[tuple[str, Signature]]:
    return [(settled.path, settled.signature) for settled in settling.take_stable_files(now, 99)]


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def settling(disk: Disk) -> FileStabilityTracker:
    return FileStabilityTracker(1.0, disk.look)


def test_a_file_is_taken_once_it_stays_still(disk: Disk, settling: FileStabilityTracker) -> None:
    disk.files["a"] = (1,)
    settling.changed("a", 10.0)
    assert settling.take_stable_files(10.9, 99) == []
    assert settling.next_due() == 11.0
    assert taken(settling, 11.0) == [("a", (1,))]
    assert settling.take_stable_files(99.0, 99) == []
    assert len(settling) == 0
    assert settling.next_due() is None


def test_each_change_starts_the_wait_anew(disk: Disk, settling: FileStabilityTracker) -> None:
    for step in range(5):
        disk.files["a"] = (step,)
        settling.changed("a", 10.0 + 0.9 * step)
        assert settling.take_stable_files(10.0 + 0.9 * step, 99) == []
    assert settling.take_stable_files(14.5, 99) == []
    assert taken(settling, 14.7) == [("a", (4,))]


def test_a_repeated_event_without_a_change_does_not(
    disk: Disk, settling: FileStabilityTracker
) -> None:
    disk.files["a"] = (1,)
    settling.changed("a", 10.0)
    settling.changed("a", 10.9)
    assert taken(settling, 11.0) == [("a", (1,))]


def test_a_change_that_no_event_told_of_is_seen(disk: Disk, settling: FileStabilityTracker) -> None:
    disk.files["a"] = (1,)
    settling.changed("a", 10.0)
    disk.files["a"] = (2,)
    assert settling.take_stable_files(11.0, 99) == []
    assert settling.take_stable_files(11.9, 99) == []
    assert taken(settling, 12.0) == [("a", (2,))]


def test_a_closed_file_is_taken_at_once(disk: Disk, settling: FileStabilityTracker) -> None:
    disk.files["a"] = (1,)
    settling.changed("a", 10.0)
    settling.complete("a", 10.1)
    assert taken(settling, 10.1) == [("a", (1,))]


def test_a_closed_file_that_is_written_to_again_waits(
    disk: Disk, settling: FileStabilityTracker
) -> None:
    disk.files["a"] = (1,)
    settling.complete("a", 10.0)
    disk.files["a"] = (2,)
    assert settling.take_stable_files(10.0, 99) == []
    assert taken(settling, 11.0) == [("a", (2,))]


def test_a_file_that_goes_is_forgotten(disk: Disk, settling: FileStabilityTracker) -> None:
    disk.files["a"] = (1,)
    settling.changed("a", 10.0)
    del disk.files["a"]
    assert settling.take_stable_files(11.0, 99) == []
    assert len(settling) == 0


def test_a_retry_comes_when_it_is_due(disk: Disk, settling: FileStabilityTracker) -> None:
    disk.files["a"] = (1,)
    settling.retry("a", 15.0)
    assert settling.take_stable_files(14.9, 99) == []
    assert taken(settling, 15.0) == [("a", (1,))]


def test_files_are_taken_in_sorted_order(disk: Disk, settling: FileStabilityTracker) -> None:
    for path in ("b", "c", "a"):
        disk.files[path] = (1,)
        settling.complete(path, 10.0)
    assert [path for path, _ in taken(settling, 10.0)] == ["a", "b", "c"]


def test_no_more_are_taken_than_asked_for_and_the_first_first(
    disk: Disk, settling: FileStabilityTracker
) -> None:
    for path in ("c", "a", "b"):
        disk.files[path] = (1,)
        settling.complete(path, 10.0)
    assert [each.path for each in settling.take_stable_files(10.0, 2)] == ["a", "c"]
    assert [each.path for each in settling.take_stable_files(10.0, 2)] == ["b"]
    assert settling.take_stable_files(10.0, 2) == []
