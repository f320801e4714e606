from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctcedge.pipeline.run import Run, open_run
from ctcedge.service import sample_reports as module
from ctcedge.service.sample_reports import SampleReports, report_name
from ctcedge.settings import ImageSettings, Settings, WatchSettings
from tests.helpers.cli_runner import call, process, until
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, cell, save


class Clock:
    """A clock that a test advances."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def run(crops: Path, model_folder: Path, tmp_path: Path) -> Iterator[Run]:
    """Two samples, S1 and S2, opened with sidecars elsewhere."""
    out = tmp_path / "out"
    settings = Settings(
        ImageSettings(), WatchSettings(report_idle=60.0), str(model_folder), "cpu", str(out)
    )
    with open_run(crops, settings) as opened:
        yield opened


@pytest.fixture
def reports(run: Run, clock: Clock) -> Iterator[SampleReports]:
    made = SampleReports(run, 60.0, clock)
    yield made
    made.stop()


def classify(run: Run, reports: SampleReports, sample: str) -> None:
    """Classify the crops of a sample, as a watch would, and add their outcomes."""
    from ctcedge.sidecars.scan import CropScan

    crops = [crop for crop in CropScan(run.folder, run.naming) if crop.sample == sample]
    for outcome in run.pipeline.run(crops):
        reports.add(outcome)


def written(run: Run) -> set[str]:
    return {path.name for path in run.sidecars.root.glob("*.html")}


def finish(reports: SampleReports, clock: Clock) -> None:
    """Let everything that is due be written."""

    def idle() -> bool:
        reports.step()
        return reports._process is None

    until(idle, "the report to be written")


def test_a_report_whose_age_the_file_system_does_not_tell_is_written(
    run: Run, reports: SampleReports, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    classify(run, reports, "S1")
    clock.now += 60
    monkeypatch.setattr(module, "file_signature", lambda path: ())
    started: list[str] = []
    monkeypatch.setattr(reports, "_start", lambda name, path: started.append(name))
    reports.step()
    assert started == ["S1"]


def test_a_sample_without_new_crops_for_a_while_gets_a_report(
    run: Run, reports: SampleReports, clock: Clock
) -> None:
    classify(run, reports, "S1")
    assert reports.next_due() == 1060.0
    clock.now += 30
    classify(run, reports, "S2")
    clock.now += 29
    reports.step()
    assert reports._process is None
    clock.now += 1
    finish(reports, clock)
    assert written(run) == {"ctcedge-report-S1.html"}
    assert reports.next_due() == 1090.0
    clock.now += 30
    finish(reports, clock)
    assert written(run) == {"ctcedge-report-S1.html", "ctcedge-report-S2.html"}
    assert reports.next_due() is None
    text = (run.sidecars.root / "ctcedge-report-S2.html").read_text()
    assert "00034" in text
    assert "00001" not in text


def test_a_new_crop_postpones_it_and_the_report_is_written_again(
    run: Run, reports: SampleReports, clock: Clock
) -> None:
    classify(run, reports, "S1")
    clock.now += 50
    save(run.folder / "S1" / "00007_BF.png", cell(CTC))
    classify(run, reports, "S1")
    assert reports.next_due() == 1110.0
    clock.now += 60
    finish(reports, clock)
    place = run.sidecars.root / "ctcedge-report-S1.html"
    before = place.stat().st_mtime_ns
    save(run.folder / "S1" / "00008_BF.png", cell(LEUKOCYTE))
    classify(run, reports, "S1")
    clock.now += 60
    finish(reports, clock)
    assert place.stat().st_mtime_ns > before


def test_after_a_restart_only_missing_reports_are_written(
    run: Run, reports: SampleReports, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sample in ("S1", "S2"):
        classify(run, reports, sample)
    clock.now += 60
    finish(reports, clock)
    assert written(run) == {"ctcedge-report-S1.html", "ctcedge-report-S2.html"}
    (run.sidecars.root / "ctcedge-report-S2.html").unlink()
    again = SampleReports(run, 60.0, clock)
    begun = []
    monkeypatch.setattr(again, "_start", lambda sample, path: begun.append(sample))
    for sample in ("S1", "S2"):
        classify(run, again, sample)
    clock.now += 60
    again.step()
    again.step()
    assert begun == ["S2"]


def test_a_failed_report_is_logged_without_names_and_not_retried(
    run: Run, reports: SampleReports, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (run.sidecars.root / "ctcedge-report-S1.html").mkdir(parents=True)
    classify(run, reports, "S1")
    os.utime(run.sidecars.root / "ctcedge-report-S1.html", (0, 0))
    clock.now += 60
    with caplog.at_level(logging.INFO, "ctcedge.service.sample_reports"):
        finish(reports, clock)
    (line,) = caplog.records
    assert "cannot be written (it was refused)" in line.getMessage()
    assert "S1" not in line.getMessage()
    assert reports.next_due() is None


def test_a_process_that_cannot_be_started_is_logged(
    run: Run,
    reports: SampleReports,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    classify(run, reports, "S1")
    clock.now += 60

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(module.subprocess, "Popen", refuse)
    finish(reports, clock)
    assert "Resource temporarily unavailable" in caplog.text


def test_a_report_that_takes_too_long_is_cancelled(
    run: Run,
    reports: SampleReports,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\ncat >/dev/null\nexec sleep 300\n")
    slow.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(slow))
    classify(run, reports, "S1")
    clock.now += 60
    reports.step()
    assert reports._process is not None
    process = reports._process
    clock.now += 4000
    finish(reports, clock)
    assert process.poll() is not None
    assert "longer than 3600 s" in caplog.text


def test_no_two_samples_share_a_file() -> None:
    names = ["S1", "a/b", "a_b", "a b", "é", "\udcff", "x" * 300, "x" * 301, "..", "ctc\n"]
    made = [report_name(name) for name in names]
    assert made[0] == "ctcedge-report-S1.html"
    assert len(set(made)) == len(names)
    assert all("/" not in each and len(each) < 200 and each.isascii() for each in made)


def test_a_watch_writes_reports_by_itself(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("watch", crops, "--out", out, "--model", model_folder, "--provider", "cpu")
    with process(
        *words, "--stability-delay", 0.1, "--report-idle", 0.5, log=tmp_path / "log"
    ) as running:
        places = [out / f"ctcedge-report-{sample}.html" for sample in ("S1", "S2")]
        running.until(lambda: all(place.exists() for place in places), "the reports")
        assert running.stop()[0] == 0
    assert "the report on a finished sample was written" in running.stderr
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_classify_writes_a_report_on_request(
    crops: Path, model_folder: Path, tmp_path: Path
) -> None:
    words = ("classify", crops, "--model", model_folder, "--report")
    assert f"Report: {crops}/ctcedge-report.html" in call(*words).stdout
    assert (crops / "ctcedge-report.html").stat().st_size > 10_000
    done = call(*words, "--out", tmp_path / "out", "--json").stdout
    assert f'"report": "{tmp_path}/out/ctcedge-report.html"' in done
    assert (tmp_path / "out" / "ctcedge-report.html").exists()
    assert '"report": null' in call(*words[:-1], "--json").stdout


def test_a_report_that_cannot_be_written_is_exit_2_after_the_calls(
    crops: Path, model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "out" / "ctcedge-report.html").mkdir(parents=True)
    done = call(
        *("classify", crops, "--model", model_folder, "--out", tmp_path / "out", "--report"),
        code=2,
    )
    assert "is a folder" in done.stderr
    assert "newly written sidecars" in done.stdout
    assert len(list((tmp_path / "out").rglob("*.ctc.json"))) == 4
