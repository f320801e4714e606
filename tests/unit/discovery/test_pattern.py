"""Patterns that would not end are ended, and named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ctcedge.discovery.naming import Crop, Naming, Skipped
from ctcedge.discovery.pattern import MAX_MATCH_S, NamePattern, PatternTimeoutError
from ctcedge.errors import SettingsError

ENDLESS = r"(?P<cell>([a-z0-9]+_?)+)_BF\.png"
NAME = "a" * 40 + ".txt"


def test_one_name_is_left_out_after_a_while_and_at_once_the_second_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    naming = Naming(ENDLESS)
    started = time.monotonic()
    found = naming.read(NAME, "S")
    assert time.monotonic() - started < 20 * MAX_MATCH_S
    assert isinstance(found, Skipped)
    assert "takes too long" in found.reason
    assert ENDLESS.replace("\\", "\\\\") in caplog.text
    assert NAME not in caplog.text
    assert isinstance(naming.read("1_BF.png", "S"), Crop)
    started = time.monotonic()
    assert isinstance(naming.read(NAME, "S"), Skipped)
    assert time.monotonic() - started < MAX_MATCH_S
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_many_such_names_are_an_error_of_the_set_up() -> None:
    naming = Naming(ENDLESS)
    with pytest.raises(SettingsError, match="takes too long"):
        for number in range(100):
            naming.read(f"{'a' * 40}{number}.txt", "S")


@pytest.mark.parametrize("pattern", [r"(?P<cell>.*.*.*.*.*.*.*x)", r"(?P<cell>(a|a)*b)\.png"])
def test_other_kinds_of_backtracking(pattern: str) -> None:
    with pytest.raises(PatternTimeoutError):
        NamePattern(pattern).fullmatch("a" * 250)


def test_busy_threads_are_not_taken_for_a_slow_pattern() -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        pattern = NamePattern(r"(?P<cell>\d+)\.png")
        assert all(pattern.fullmatch(f"{number}.png") for number in range(500))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_another_thread_may_match() -> None:
    found: list[object] = []
    thread = threading.Thread(
        target=lambda: found.append(Naming(r"(?P<cell>\d+)\.png").read("1.png", "S"))
    )
    thread.start()
    thread.join()
    assert isinstance(found[0], Crop)


def test_a_pattern_of_the_export_stops_no_command(tmp_path: Path) -> None:
    (tmp_path / "ctcedge.toml").write_text(f"[images]\npattern = '{ENDLESS}'\n")
    for number in range(3):
        (tmp_path / f"{'a' * 40}{number}.txt").write_bytes(b"")
    words = [sys.executable, "-m", "ctcedge", "inspect", os.fspath(tmp_path), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "takes too long for this name" in done.stdout
    assert "([a-z0-9]+_?)+" in done.stderr
