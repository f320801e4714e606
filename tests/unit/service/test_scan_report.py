"""What a watch logs of files that it does not classify."""

from __future__ import annotations

import logging

import pytest

from ctcedge.discovery.ignore import BIN_REASON
from ctcedge.discovery.naming import Crop, Naming, Skipped
from ctcedge.pipeline.outcome import Outcome
from ctcedge.service.progress import Progress
from ctcedge.service.scan_report import ScanReport
from ctcedge.service.watch_state import WatchState


@pytest.fixture
def report(caplog: pytest.LogCaptureFixture) -> ScanReport:
    caplog.set_level(logging.INFO, "ctcedge")
    return ScanReport(WatchState("cpu", "m 1", "0" * 64, started=0.0), Naming())


def scan(report: ScanReport, *unmatched: str, crops: frozenset[str] = frozenset()) -> None:
    report.begin()
    for path in unmatched:
        report.add(Skipped(path, "unmatched", "the name does not fit the pattern"))
    report.finish(crops)


def test_images_are_named_once_and_again_where_they_are_twice_as_many(
    report: ScanReport, caplog: pytest.LogCaptureFixture
) -> None:
    crops = frozenset({"S/1_BF.png"})
    for _ in range(3):
        scan(report, "S/7.png", "S/1_XYZ.png", "S/notes.txt", crops=crops)
    (record,) = caplog.records
    assert "not understood: 1 (S/7.png)" in record.getMessage()
    assert report._state.not_understood == 1
    scan(report, "S/7.png", "S/8.png", "S/9.jpg", "S/10.png", crops=crops)
    assert len(caplog.records) == 2
    assert "4 (S/7.png, S/8.png, S/9.jpg, ...)" in caplog.text
    scan(report, crops=crops)
    assert report._state.not_understood == 0


def test_a_folder_without_crops_is_mentioned_once(
    report: ScanReport, caplog: pytest.LogCaptureFixture
) -> None:
    scan(report, "notes.txt")
    scan(report, "notes.txt")
    assert [record.getMessage() for record in caplog.records] == [
        "no bright-field crop in the folder yet"
    ]


def test_where_no_name_matches_the_images_are_named(
    report: ScanReport, caplog: pytest.LogCaptureFixture
) -> None:
    scan(report, "34.png")
    assert "not understood: 1 (34.png)" in caplog.text
    assert "not understood by name" in str(report._state)


def test_entries_passed_over_are_counted(
    report: ScanReport, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        report.begin()
        report.add(Skipped("#recycle", "ignored", BIN_REASON))
        report.add(Skipped("locked", "unreadable", "no permission"))
        report.finish({"1_BF.png"})
    assert len(caplog.records) == 1
    assert "'ignore'): 1" in caplog.text
    assert report.unreadable_folders == 1


def test_only_a_scan_that_read_every_folder_is_complete(report: ScanReport) -> None:
    assert not report.complete
    report.begin()
    report.finish({"1_BF.png"})
    assert report.complete
    report.begin()
    report.add(Skipped("locked", "unreadable", "no permission"))
    report.finish({"1_BF.png"})
    assert not report.complete
    report.begin()
    report.finish({"1_BF.png"})
    report.begin()
    assert report.complete, "a scan under way does not take it back"
    report.fail()
    assert not report.complete


def test_a_file_that_is_tried_ten_times_is_one_crop(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ctcedge")
    state = WatchState("cpu", "m 1", "0" * 64, started=0.0)
    progress = Progress(state, None, lambda state: None, lambda: 0.0)
    crop = Crop("S/1_BF.png", "S", "1", "BF")
    for _ in range(10):
        progress.count(Outcome(crop, "deferred", error="truncated"), 0.0)
    progress.log_counts()
    assert "since the last such line: 1 to be tried again" in caplog.text
    assert state.done["deferred"] == 10
