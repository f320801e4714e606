"""A training process that dies of a signal is reported in one line."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from train.util.progress import progress

CODE = """
import os, signal
from train.supervise import supervised
supervised(lambda: {body})
"""


def python(body: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", CODE.format(body=body)]
    return subprocess.Popen(words, stdout=-1, stderr=-1, text=True)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGKILL"])
def test_the_signal_is_named(name):
    process = python(f"os.kill(os.getpid(), signal.{name})")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + getattr(signal, name)
    (line,) = errors.splitlines()
    assert line.startswith(f"Error: the process died of {name}: ")


def test_exit_codes_and_output_are_those_of_the_command():
    process = python("print('done') or os._exit(7)")
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 7
    process = python("print('done')")
    assert process.communicate(timeout=60) == ("done\n", "")
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_reaches_the_command(number):
    process = python("print('ready', flush=True) or signal.pause()")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + number, "")


def test_a_command_does_not_outlive_its_parent():
    process = python("print('ready', flush=True) or signal.pause()")
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate(timeout=60)  # the child held the pipes open otherwise


def test_lines_without_a_terminal(capsys):
    with progress("Read", 1000) as advance:
        for _ in range(1000):
            advance()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1] == "Read: 1,000 of 1,000"
