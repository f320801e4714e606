"""The status line of a watch: its text, how it is drawn, and a watch on a real terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ctcedge.cli.status_line import StatusLine, describe
from ctcedge.results.summary import Summary
from ctcedge.service.watch_state import WatchState
from tests.helpers.cli_runner import DEADLINE, command
from tests.helpers.drawn_cells import cell, save

CLEAR = "\r\x1b[J"


@pytest.fixture
def state() -> WatchState:
    state = WatchState("cpu", "m 1", "0" * 64, started=0.0)
    state.tally.calls.update(CTC=3, review=7)
    state.statuses.update(classified=10, unreadable=2)
    return state


@pytest.fixture
def summary() -> Summary:
    summary = Summary(ood_detector=None)
    summary.tally.calls.update(CTC=4, leukocyte=1200, review=30)
    summary.unclassified["bad_BF.png"] = "unreadable"
    return summary


class Terminal(io.StringIO):
    """What was written to a terminal of a width."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> None:
        super().__init__()
        self.columns = columns
        monkeypatch.setattr(
            os, "get_terminal_size", lambda descriptor: os.terminal_size((self.columns, 24))
        )

    def fileno(self) -> int:
        return 2

    def taken(self) -> str:
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


def test_new_and_total_counts_are_kept_apart(state: WatchState, summary: Summary) -> None:
    assert describe(state, summary, scanned=True, width=120) == (
        "waiting | new: 3 CTC, 7 review, 2 without a call"
        " | total: 4 CTC, 1,200 leukocyte, 30 review, 1 without a call"
    )


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (79, "waiting | new: 3 CTC, 7 review, 2 without a call | total: 1,235"),
        (60, "waiting | new: 12 (3 CTC) | total: 1,235 (4 CTC)"),
        (40, "waiting | 12 new | 1,235 total"),
        (20, "waiting | 12 new"),
        (3, "waiting"),
    ],
)
def test_it_fits_a_narrow_terminal(
    state: WatchState, summary: Summary, width: int, line: str
) -> None:
    assert describe(state, summary, scanned=True, width=width) == line


def test_it_begins_with_what_the_watch_does(state: WatchState, summary: Summary) -> None:
    def activity(*, scanned: bool = True) -> str:
        return describe(state, summary, scanned=scanned, width=120).partition(" | ")[0]

    assert activity() == "waiting"
    assert activity(scanned=False) == "reading the folder"
    state.pending = 1200
    assert activity() == "1,200 pending"
    state.problem = "no space left for S1/AnnaExample"
    assert activity() == "problem, trying again"


def test_the_cursor_stays_at_the_start_of_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then clearing from there removes it, however a narrower terminal has wrapped it."""
    terminal = Terminal(monkeypatch)
    line = StatusLine(terminal)
    line.show("waiting")
    assert terminal.taken() == f"{CLEAR}waiting\r"
    line.show("waiting")
    assert terminal.taken() == ""
    line.show("1 pending")
    assert terminal.taken() == f"{CLEAR}1 pending\r"
    line.clear()
    line.clear()
    assert terminal.taken() == CLEAR


def test_log_lines_appear_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch)
    line = StatusLine(terminal)
    line.write("before\n")
    assert terminal.taken() == f"{CLEAR}before\n"
    line.show("waiting")
    terminal.taken()
    line.write("a log line\n")
    assert terminal.taken() == f"{CLEAR}a log line\n{CLEAR}waiting\r"


def test_log_lines_are_wrapped_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, columns=20)
    StatusLine(terminal).write("the path is /long/path/that/stays/whole here\n")
    assert terminal.taken() == f"{CLEAR}the path is\n  /long/path/that/stays/whole\n  here\n"


def test_it_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, columns=10)
    line = StatusLine(terminal)
    line.show("x" * 30)
    assert terminal.taken() == f"{CLEAR}{'x' * 9}\r"
    terminal.columns = 0  # not known
    line.show("x" * 100)
    assert terminal.taken() == f"{CLEAR}{'x' * 79}\r"


class Shown:
    """A command on a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self.process, self._terminal = process, terminal
        self.text = ""

    def until(self, pattern: str) -> None:
        """Read what is shown until it contains a match."""
        end = time.monotonic() + DEADLINE
        while not re.search(pattern, self.text):
            assert time.monotonic() < end, f"no {pattern} in {self.text}"
            if select.select([self._terminal], [], [], 1)[0]:
                try:
                    self.text += os.read(self._terminal, 65536).decode()
                except OSError:  # its other end was closed
                    raise AssertionError(self.text) from None


@contextmanager
def on_a_terminal(*words: object) -> Iterator[Shown]:
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            command(*words),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        ) as process:
            os.close(theirs)
            try:
                yield Shown(process, ours)
            finally:
                process.kill()
    finally:
        os.close(ours)


def test_a_watch_on_a_terminal(model_folder: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    save(folder / "S" / "1_BF.png", cell())
    words = ["watch", folder, "--out", out, "--model", model_folder, "--provider", "cpu"]
    with on_a_terminal(*words, "--stability-delay", 0.1, "--decode-timeout", 0) as shown:
        shown.until(r"waiting \| new: 1 CTC \| total: 1 CTC\r")
        assert re.search(
            rf"Watching\s+{folder};\s+sidecars\s+are\s+written\s+to\s+{out}", shown.text
        )
        (folder / "S" / "2_BF.png").write_bytes(b"not an image")
        shown.until(r"no call:\s+S/2_BF.png:\s+unreadable")
        shown.until(r"waiting \| new: 1 CTC, 1 without a call \| total: 1 CTC, 1 without a call\r")
        shown.process.send_signal(signal.SIGWINCH)
        shown.process.send_signal(signal.SIGINT)
        shown.until("Sidecars: ")
        assert shown.process.wait(DEADLINE) == 0
    assert "waiting |" not in shown.text[shown.text.index("stopped;") :]
    assert "since the last such line" not in shown.text
