"""Memory, file handles and threads do not grow over a long stream of crops."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from _pytest.mark import ParameterSet

from tests.fault.service import Service
from tests.helpers.cli_runner import Process

MIB = 2**20
_PER_CROP = 1024  # bytes that the watch may keep per crop
_SLACK = 8 * MIB  # of the allocators


_READS = 5  # of the open files, of which only those that stay open count


class Use(NamedTuple):
    """Resources of a process; handles are the files that stay open, and how often each is open."""

    memory: int
    handles: Counter[str]
    threads: int


def use(running: Process) -> Use:
    proc = Path("/proc", str(running.popen.pid))
    handles, threads = [], []
    for read in range(_READS):
        time.sleep(0.02 if read else 0)
        fields = dict(
            line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line
        )
        threads.append(int(fields["Threads"]))
        handles.append(Counter(_open_files(proc / "fd")))
    memory = int(fields["VmRSS"].split()[0]) * 1024
    lasting = handles[0]
    for other in handles[1:]:
        lasting &= other
    return Use(memory, lasting, min(threads))


def _open_files(folder: Path) -> Iterator[str]:
    """What each descriptor refers to, without the numbers of pipes."""
    for descriptor in os.listdir(folder):
        try:
            yield re.sub(r":\[\d+\]", "", os.readlink(folder / descriptor))
        except FileNotFoundError:  # closed since it was listed
            continue


def grown(first: Use, last: Use) -> Counter[str]:
    """Files that are open more often than at first.

    The index of done crops may be open twice: once the file was written in the background, SQLite
    keeps the writer's descriptor for the next writer, as closing it would drop the reader's locks.
    """
    more = last.handles - first.handles
    for name in list(more):
        if name.endswith(".sqlite") and last.handles[name] <= 2:
            del more[name]
    return more


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
    assert not grown(first, last)
