"""Memory, file handles and threads do not grow over a long stream of crops."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from _pytest.mark import ParameterSet

from tests.fault.service import Service
from tests.helpers.cli_runner import Process

MIB = 2**20
_PER_CROP = 1024  # bytes that the watch may keep per crop
_SLACK = 8 * MIB  # of the allocators


class Use(NamedTuple):
    """Resources of a process."""

    memory: int
    handles: int
    threads: int


def use(running: Process) -> Use:
    proc = Path("/proc", str(running.popen.pid))
    fields = dict(
        line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line
    )
    memory = int(fields["VmRSS"].split()[0]) * 1024
    return Use(memory, len(os.listdir(proc / "fd")), int(fields["Threads"]))


def keep(folder: Path) -> None:
    """The lab leaves its crops in place."""


def clear(folder: Path) -> None:
    """The lab removes finished crops."""
    for below in list(folder.iterdir()):
        shutil.rmtree(below)


def soak(*arguments: object) -> ParameterSet:
    return pytest.param(*arguments, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])


@pytest.mark.parametrize(
    ("crops", "afterwards"), [(60, clear), soak(1000, keep), soak(1000, clear)]
)
def test_flat_from_n_crops_to_ten_times_as_many(
    service: Service, crops: int, afterwards: Callable[[Path], None]
) -> None:
    with service.watching("--rescan-interval", 0.5) as running:
        service.put_many(max(500, crops), "warm-up/", first=10 * crops)
        service.wait_until_done(running)
        uses = []
        for turn in range(10):
            afterwards(service.folder)
            below = f"S{turn}"
            service.put_many(crops, f"{below}/", first=turn * crops)
            service.wait_until_done(running, below)
            uses.append(use(running))
        print(*uses, sep="\n")
        service.stop(running)
    first, last = uses[0], uses[-1]
    assert last.memory - first.memory < 9 * crops * _PER_CROP + _SLACK
    assert last.threads <= first.threads
    assert last.handles <= first.handles
