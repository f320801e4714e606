"""Run the real command line, in this process or in one of its own."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from ctcedge.cli.app import main

DEADLINE = 60.0

TEST_WORKERS = "CTCEDGE_TEST_WORKERS"
"""Environment variable: number of worker processes that do all the work of a run, however small."""

# The real command line, where every chunk waits for a worker process.
_WITH_WORKERS = """
from ctcedge import environment
environment.prepare()
from ctcedge.pipeline import pipeline, worker_pool
pipeline.MIN_FOR_WORKERS = 0
pipeline.worker_count = lambda chosen: {workers}
worker_pool.START_WAIT_S = 60.0
from ctcedge.cli.app import main
main()
"""


def command(*arguments: object) -> list[str]:
    workers = int(os.environ.get(TEST_WORKERS, "0"))
    start = ["-c", _WITH_WORKERS.format(workers=workers)] if workers else ["-m", "ctcedge"]
    return [sys.executable, *start, *map(os.fspath, map(_plain, arguments))]


def _plain(argument: object) -> Any:
    return argument if isinstance(argument, str | bytes | os.PathLike) else str(argument)


def run(
    *arguments: object,
    code: int = 0,
    env: dict[str, str] | None = None,
    under: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run the real command line; no run may end in a traceback."""
    done = subprocess.run(
        [*under, *command(*arguments)],
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=180,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert done.returncode == code, f"exit {done.returncode}, not {code}:\n{done.stderr}"
    return done


def call(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, which is faster; an exception fails the test."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape") for _ in range(2)]
    words = command(*arguments)[3:]
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]), pytest.raises(SystemExit) as end:
        sys.argv, before = ["ctcedge", *words], sys.argv
        try:
            main()
        finally:
            sys.argv = before
    texts = []
    for stream in streams:
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8", "surrogateescape"))
    done = subprocess.CompletedProcess(words, int(end.value.code or 0), *texts)
    assert done.returncode == code, f"exit {done.returncode}, not {code}:\n{done.stderr}"
    return done


def classify(folder: Path, model: Path, *options: object, code: int = 0) -> None:
    words = ("--model", model, "--provider", "cpu", "--um-per-px", 0.5)
    call("classify", folder, *words, *options, code=code)


def no_disk(*arguments: object) -> bytes:
    """Replaces a function that reads a file: the disk fails."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait until something holds, however slow the machine."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what or condition}"
        time.sleep(0.01)


# The real command line, but reading takes so long that a test can strike in the middle.
_SLOWLY = """
import time
from ctcedge.pipeline import loader
from ctcedge.cli.app import main
decode = loader.decode
loader.decode = lambda data: (time.sleep(0.2), decode(data))[1]
main()
"""


class Process:
    """A running ctcedge."""

    def __init__(
        self,
        *arguments: object,
        log: Path,
        slowly: bool = False,
        under: tuple[str, ...] = (),
    ) -> None:
        self._log = log
        words = command(*arguments)
        if slowly:
            words[1:3] = ["-c", _SLOWLY]
        with open(log, "wb") as errors:
            self.popen = subprocess.Popen(
                [*under, *words],
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
            )

    @property
    def stderr(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def alive(self) -> bool:
        return self.popen.poll() is None

    def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait until something holds while the process runs."""

        def holds() -> object:
            assert self.alive() or condition(), f"ended early:\n{self.stderr}"
            return condition()

        until(holds, f"{what}\n{self.stderr}")

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and return exit code and standard output."""
        self.popen.send_signal(number)
        output, _ = self.popen.communicate(timeout=DEADLINE)
        assert "Traceback" not in self.stderr, self.stderr
        return self.popen.returncode, output.decode()


@contextmanager
def process(
    *arguments: object, log: Path, slowly: bool = False, under: tuple[str, ...] = ()
) -> Iterator[Process]:
    """A running ctcedge that does not outlive the test."""
    running = Process(*arguments, log=log, slowly=slowly, under=under)
    try:
        yield running
    finally:
        if running.alive():
            running.popen.kill()
        running.popen.communicate()
