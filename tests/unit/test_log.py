"""Log lines: where they go decides how they look."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from datetime import datetime
from pathlib import Path

import pytest

from ctcedge import log as logs
from tests.helpers.cli_runner import command, process, run, until
from tests.helpers.drawn_cells import cell, save
from tests.helpers.sidecar_files import sidecars

log = logging.getLogger("ctcedge.test")


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logged:
    return Logged(tmp_path / "stderr", monkeypatch)


class Logged:
    """The lines that a function logs to a standard error that is a file of its own."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = path
        self._env = monkeypatch

    def __call__(
        self,
        say: Callable[[], object],
        log_format: logs.LogFormat = "text",
        journal: str | None = "",
    ) -> list[str]:
        """Call the function; `journal` is JOURNAL_STREAM, None for the true one of that file."""
        with open(self._path, "w", encoding="utf-8", errors="backslashreplace") as stream:
            status = os.fstat(stream.fileno())
            true = f"{status.st_dev}:{status.st_ino}"
            self._env.setenv("JOURNAL_STREAM", true if journal is None else journal)
            with redirect_stderr(stream), logs.to_stderr(log_format):
                say()
        return self._path.read_text(encoding="utf-8").split("\n")[:-1]


def test_a_warning_of_python_is_one_line_without_its_text(logged: Logged) -> None:
    def warn() -> None:
        warnings.simplefilter("always")
        warnings.warn("watch of /in/PATIENT_Smith\nis overwritten", RuntimeWarning, stacklevel=1)

    (line,) = logged(warn)
    assert re.search(r" WARNING RuntimeWarning at test_log\.py:\d+$", line)
    (line,) = logged(warn, "json")
    assert json.loads(line)["event"] == "python-warning"


def test_in_a_file_a_line_has_time_and_level(logged: Logged) -> None:
    (line,) = logged(lambda: log.warning("%d crops", 3))
    time, rest = line.split(" ", 1)
    assert datetime.fromisoformat(time).tzinfo is not None
    assert rest == "WARNING 3 crops"


def test_in_the_journal_a_line_has_a_priority_and_no_time(logged: Logged) -> None:
    def say() -> None:
        for level in (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            log.log(level, "text")

    assert logged(say, journal=None) == ["<6>text", "<4>text", "<3>text", "<2>text"]


def test_json_in_the_journal_keeps_its_priority(logged: Logged) -> None:
    (line,) = logged(lambda: log.error("text"), "json", journal=None)
    assert line.startswith("<3>{")
    assert json.loads(line[3:])["level"] == "error"


@pytest.mark.parametrize("journal", ["1:1", "", "nonsense"])
def test_what_is_not_the_journal_gets_no_priority(logged: Logged, journal: str) -> None:
    (line,) = logged(lambda: log.info("text"), journal=journal)
    assert line.endswith(" INFO text")
    assert not line.startswith("<")


def test_a_stream_without_a_file_is_not_the_journal() -> None:
    stream = io.StringIO()
    with redirect_stderr(stream), logs.to_stderr("text"):
        log.info("text")
    assert stream.getvalue().endswith(" INFO text\n")


def test_json_holds_time_level_event_message_and_fields(logged: Logged) -> None:
    def say() -> None:
        log.info("2 CTC", extra=logs.event("progress", counts={"CTC": 2}))
        log.warning("plain")

    first, second = map(json.loads, logged(say, "json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {
        "level": "info",
        "event": "progress",
        "message": "2 CTC",
        "counts": {"CTC": 2},
    }
    assert (second["level"], second["event"], second["message"]) == ("warning", "note", "plain")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_whatever_a_text_holds_it_is_one_line_that_prints(
    logged: Logged, log_format: logs.LogFormat
) -> None:
    text = "a\nb\r\x1b[31m\0\u2028\x85" + os.fsdecode(b"\xff")
    (line,) = logged(lambda: log.error("%s", text), log_format)
    assert line.isprintable()
    if log_format == "json":
        line = json.loads(line)["message"]
    assert line.endswith(r"a\nb\r\x1b[31m\x00\u2028\x85\udcff")


def test_debug_is_not_said(logged: Logged) -> None:
    assert logged(lambda: log.debug("sample S1")) == []


def crash(action: Callable[[], object]) -> None:
    try:
        action()
    except Exception as error:
        logs.crash(error)


def test_a_crash_is_one_line_with_its_places(logged: Logged) -> None:
    (line,) = logged(lambda: crash(lambda: int("x")))
    assert "CRITICAL internal error: ValueError: invalid literal" in line
    assert re.search(r"\(test_log\.py:\d+ <lambda> < test_log\.py:\d+ crash\)$", line)


def test_a_crash_over_a_file_does_not_name_it(logged: Logged) -> None:
    (line,) = logged(lambda: crash(lambda: open("/no/Anna Example_BF.png")), "json")
    assert "Anna" not in line
    assert json.loads(line)["exception"] == "FileNotFoundError"


def test_a_dying_thread_is_logged(logged: Logged) -> None:
    def say() -> None:
        thread = threading.Thread(target=lambda: [][0])
        thread.start()
        thread.join()

    before = threading.excepthook
    (line,) = logged(say)
    assert "CRITICAL internal error: IndexError" in line
    assert threading.excepthook is before


def test_afterwards_nothing_is_left_behind(logged: Logged) -> None:
    logger = logging.getLogger("ctcedge")
    before = logger.level, list(logger.handlers)
    assert logged(lambda: None) == []
    assert (logger.level, logger.handlers) == before


def test_a_log_that_cannot_be_written_stops_nothing(crops: Path, model_folder: Path) -> None:
    words = command("watch", crops, "--model", model_folder)
    with open("/dev/full", "wb") as full, subprocess.Popen(words, stderr=full) as running:
        until(lambda: len(sidecars(crops)) == 4)
        running.terminate()
    assert running.returncode == 0


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_watch_logs_no_names(model_folder: Path, tmp_path: Path, log_format: str) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    save(folder / "AnnaExample" / "00077_BF.png", cell())
    (folder / "AnnaExample" / "00078_BF.png").write_bytes(b"broken")
    words = ["watch", folder, "--out", out, "--model", model_folder, "--decode-timeout", 0]
    with process(*words, "--log-format", log_format, log=tmp_path / "log") as running:
        running.until(lambda: len(list(out.rglob("*.ctc.json"))) == 2)
        assert running.stop() == (0, "")
    for name in ("AnnaExample", "00077", "00078"):
        assert name not in running.stderr
    lines = running.stderr.splitlines()
    assert "Model disks 1.0.0 (int8) on " in lines[0]
    assert "stopped; total: 1 CTC, 1 unclassified" in lines[-1]
    if log_format == "json":
        events = [json.loads(line) for line in lines]
        assert {event["event"] for event in events} >= {"opening", "stopped"}
        assert events[-1]["counts"] == {"CTC": 1, "unclassified": 1}


def test_watch_tells_of_wrong_setup_in_json_too(tmp_path: Path) -> None:
    done = run("watch", tmp_path / "missing", "--log-format", "json", code=2)
    (line,) = map(json.loads, done.stderr.splitlines())
    assert (line["level"], line["event"]) == ("error", "refused")
    assert "does not exist" in line["message"]


_CRASHING = """
from ctcedge.service import watcher as watch
from ctcedge.cli.app import main
watch.Watcher.outcomes = lambda self: [][0]
main()
"""


def test_watch_tells_of_a_crash_on_one_line(
    crops: Path, model_folder: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CRASHING, "watch", crops, "--model", model_folder],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "CRITICAL internal error: IndexError" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_progress_bar_is_for_terminals(crops: Path, model_folder: Path, terminal: bool) -> None:
    ours, theirs = pty.openpty() if terminal else os.pipe()
    env = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"}
    words = [sys.executable, "-m", "ctcedge", "classify", crops, "--model", model_folder]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=theirs, env=env) as running:
        os.close(theirs)
        text = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # a terminal's end
                break
            if not part:
                break
            text += part
    os.close(ours)
    assert running.returncode == 0
    assert (b"Classifying" in text) is terminal
