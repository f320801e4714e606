"""Let single calls of the real commands fail: a preload library, and a process that forks each try.

The process has imported ctcedge and is forked for each command, so that a try takes a fraction of
the time of a start.
"""

from __future__ import annotations

import enum
import errno
import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

_HEAD = struct.Struct("=6i1q14q")
_ROOT_SIZE, _WHERE_SIZE = 1000, 3000
_SIZE = _HEAD.size + _ROOT_SIZE + _WHERE_SIZE
_TIMEOUT = 60.0  # seconds

KILL = -1
"""Effect of a fault: the process is killed instead of the call."""
SHORT = -2
"""Effect of a fault: half as much is read or written as was asked for."""


class Call(enum.IntEnum):
    """Kinds of calls, in the order of `enum call` in call_faults.c."""

    OPEN = 0
    CREATE = 1
    READ = 2
    WRITE = 3
    RENAME = 4
    LINK = 5
    UNLINK = 6
    MKDIR = 7
    FSYNC = 8
    STAT = 9
    CLOSE = 10
    LIST = 11
    LOCK = 12
    ATTRIBUTE = 13


class Fault(NamedTuple):
    """What happens to one call, or to all of its kind from that one on."""

    call: Call
    number: int
    effect: int
    sticky: bool = False

    def __str__(self) -> str:
        names = {KILL: "kill", SHORT: "short"}
        effect = names.get(self.effect) or errno.errorcode[self.effect]
        return f"{self.call.name.lower()} {self.number}{'+' * self.sticky} {effect}"


class Ended(NamedTuple):
    """A command that ended.

    Attributes:
        code: exit code; negative where a signal ended it; None where it did not end.
        output: standard output.
        errors: standard error.
        where: path of the call that failed; None where none did.
        counts: number of calls of each kind.
    """

    code: int | None
    output: str
    errors: str
    where: str | None
    counts: dict[Call, int]


def library(folder: Path) -> Path:
    """Build the preload library; the test is skipped where that is impossible."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler (cc)")
    built = folder / "call_faults.so"
    source = Path(__file__).with_name("call_faults.c")
    words = [compiler, "-O1", "-shared", "-fPIC", "-o", built, source, "-ldl"]
    done = subprocess.run(words, capture_output=True, encoding="utf-8")
    if done.returncode:
        pytest.skip(f"the preload library cannot be built: {done.stderr.strip()[-500:]}")
    return built


class Forker:
    """Runs commands, each in a fork of one process, with faults below a folder.

    Args:
        root: the folder; the calls on files below it are counted.
        built: the library.
        scratch: an existing folder elsewhere.
        environment: variables of the commands.
    """

    def __init__(self, root: Path, built: Path, scratch: Path, environment: dict[str, str]) -> None:
        self._scratch = scratch
        control = scratch / "control"
        control.write_bytes(b"\0" * _SIZE)
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), _SIZE)
        text = os.fsencode(root.resolve()) + b"/"
        assert len(text) < _ROOT_SIZE
        self._control[_HEAD.size : _HEAD.size + len(text)] = text
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.forked"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                **environment,
                "OPENBLAS_NUM_THREADS": "1",
                "LD_PRELOAD": str(built),
                "FAULT_CONTROL": str(control),
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
        )
        assert self._answer() == {"ready": 1}

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=_TIMEOUT)
        self._control.close()

    def run(
        self,
        words: Sequence[object],
        fault: Fault | None = None,
        stop_when: Callable[[], bool] | None = None,
    ) -> Ended:
        """Run a command.

        Args:
            words: its arguments.
            fault: what fails; None for nothing.
            stop_when: SIGTERM is sent as soon as this holds.
        """
        for name in ("output", "errors"):  # those of the run before would be taken for this one's
            (self._scratch / name).write_bytes(b"")
        self._arm(fault)
        self._send({"words": [str(word) for word in words], "folder": str(self._scratch)})
        pid = int(self._answer()["pid"])
        deadline = time.monotonic() + _TIMEOUT
        stopped = overdue = False
        waited = stop_when is not None
        while waited and not _ended(pid):
            assert stop_when is not None
            if not stopped and stop_when():
                os.kill(pid, signal.SIGTERM)
                stopped = True
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                overdue = True
                break
            time.sleep(0.01)
        self._send({"timeout": _TIMEOUT})
        answer = self._answer()
        overdue = overdue or bool(answer["overdue"])
        armed = _HEAD.unpack_from(self._control)
        where = self._control[_HEAD.size + _ROOT_SIZE : _SIZE].split(b"\0")[0]
        texts = [
            (self._scratch / name).read_text(encoding="utf-8", errors="backslashreplace")
            for name in ("output", "errors")
        ]
        return Ended(
            None if overdue else int(answer["code"]),
            *texts,
            os.fsdecode(where) if armed[4] else None,
            dict(zip(Call, armed[7:], strict=True)),
        )

    def errors(self) -> str:
        """Standard error of the latest command, as far as it has been written."""
        return (self._scratch / "errors").read_text(encoding="utf-8", errors="backslashreplace")

    def _arm(self, fault: Fault | None) -> None:
        call, number, effect, sticky = fault or (0, 0, 0, False)
        head = _HEAD.pack(1, call, effect, sticky, 0, 0, number, *(0 for _ in Call))
        self._control[: _HEAD.size] = head
        self._control[_HEAD.size + _ROOT_SIZE : _SIZE] = b"\0" * _WHERE_SIZE

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, int]:
        assert self._process.stdout is not None
        answer: dict[str, int] = json.loads(self._process.stdout.readline())
        return answer


def _ended(pid: int) -> bool:
    try:
        status = Path("/proc", str(pid), "stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"
