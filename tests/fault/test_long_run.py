"""Memory, file handles and threads stay flat over a long stream of crops."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from support import Process

from fault.service import Service

MIB = 2**20
_PER_CROP = 2048  # bytes that the watch may remember of each crop


class Use(NamedTuple):
    """What a process holds."""

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


def leave(folder: Path) -> None:
    """The lab keeps what it has."""


def clear(folder: Path) -> None:
    """The lab moves away what is done."""
    for below in list(folder.iterdir()):
        shutil.rmtree(below)


@pytest.mark.parametrize("afterwards", [leave, clear])
@pytest.mark.parametrize(
    "crops",
    [
        pytest.param(100, id="short"),
        pytest.param(1000, id="whole", marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_flat_from_n_crops_to_ten_times_as_many(
    service: Service, crops: int, afterwards: Callable[[Path], None]
) -> None:
    with service.watching() as running:
        uses = []
        for turn in range(10):
            below = f"S{turn}"
            service.put_many(crops, f"{below}/", first=turn * crops)
            service.settles(running, below)
            uses.append(use(running))
            afterwards(service.folder)
        print(*uses, sep="\n")
        service.ends(running)
    first, last = uses[0], uses[-1]
    assert last.memory - first.memory < 9 * crops * _PER_CROP + 16 * MIB
    assert last.threads <= first.threads
    assert last.handles <= first.handles
