"""A folder of 300,000 crops: time and memory, the first time and when nothing is to be done."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.fault.service import Service
from tests.helpers.cli_runner import command
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, REVIEW, cell, encoded

CROPS = int(os.environ.get("CTCEDGE_SOAK_CROPS", "300000"))
_PER_FOLDER = 3000
_MIB = 2**20
_BASE, _PER_CROP = 400 * _MIB, 1024  # bytes of memory that a run may use


class Measured(NamedTuple):
    """A run of classify."""

    summary: dict[str, Any]
    seconds: float
    memory: int


def write_crops(folder: Path) -> None:
    """Write different images: a drawn cell each, and its number after the pixels."""
    drawn = [encoded(cell(diameter)) for diameter in (LEUKOCYTE, REVIEW, CTC)]
    for first in range(0, CROPS, _PER_FOLDER):
        below = folder / f"S{first // _PER_FOLDER:03}"
        below.mkdir()
        for number in range(first, min(first + _PER_FOLDER, CROPS)):
            data = drawn[number % 3] + number.to_bytes(4, "big")
            (below / f"{number:06}_BF.png").write_bytes(data)


def measured(service: Service) -> Measured:
    """Run classify; what it is told to do with memory counts for this process's children."""
    start = time.monotonic()
    words = command("classify", *service.words, "--um-per-px", 0.5, "--json")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdout is not None
        output = running.stdout.read()
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    assert running.returncode == 0
    found = Measured(json.loads(output), time.monotonic() - start, _peak(used))
    print(f"{CROPS:,} crops: {found.seconds:.0f} s, {found.memory / _MIB:.0f} MiB")
    return found


def _peak(used: resource.struct_rusage) -> int:
    return used.ru_maxrss * 1024


@pytest.mark.soak
@pytest.mark.timeout(2 * 3600)
def test_a_folder_of_300_000_crops(service: Service) -> None:
    write_crops(service.folder)
    first = measured(service)
    assert first.summary["written"] == CROPS
    assert first.summary["complete"]
    assert first.memory < _BASE + CROPS * _PER_CROP
    again = measured(service)
    assert again.summary["written"] == 0
    assert again.summary["calls"] == first.summary["calls"]
    assert again.memory < _BASE + CROPS * _PER_CROP
    assert again.seconds < first.seconds
