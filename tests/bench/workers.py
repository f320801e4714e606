"""Measure `ctcedge classify` with different numbers of worker processes, side by side.

    python -m tests.bench.workers CROPS --workers 1 2 --rounds 5
    python -m tests.bench.workers CROPS --workers 1 2 --instant

Rounds alternate between the numbers of workers, so that other load affects all. With `--instant`, a
network that answers at once takes the place of the shipped model: what remains is the work that
Python's lock bounds. Memory is the sum of the processes' proportional sets (PSS), in which what
they share counts once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.helpers import disk_model

_SAMPLE_S = 0.1


class Usage(NamedTuple):
    """What one run took: seconds, CPU seconds and MB."""

    wall: float
    cpu: float
    memory: float


def classify(crops: Path, workers: int, model: Path | None, scratch: Path) -> Usage:
    """Run `ctcedge classify` once, into a fresh folder."""
    shutil.rmtree(scratch / "out", ignore_errors=True)
    words = ["classify", crops, "--out", scratch / "out", "--workers", str(workers)]
    words += ["--um-per-px", "0.3"] + ([] if model is None else ["--model", model])
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "ctcedge", *words, "--provider", "cpu"],
        env={**os.environ, "CTCEDGE_STATE": str(scratch / "state")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    memory = 0.0
    while True:
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        memory = max(memory, sum(map(_pss_mb, _with_children(process.pid))))
        time.sleep(_SAMPLE_S)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 3):
        raise SystemExit(f"classify with {workers} workers ended with {process.returncode}")
    return Usage(time.perf_counter() - start, used.ru_utime + used.ru_stime, memory)


def _with_children(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children")
    try:
        return [process, *map(int, children.read_text().split())]
    except OSError:
        return [process]


def _pss_mb(process: int) -> float:
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return int(text.partition("\nPss:")[2].split()[0]) * 1024 / 1e6 if "\nPss:" in text else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("crops", type=Path, help="folder of crops, such as tests.bench.crops makes")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--instant", action="store_true", help="a network that answers at once")
    asked = parser.parse_args()
    count = sum(1 for _ in asked.crops.rglob("*_BF.*"))
    usages: dict[int, list[Usage]] = {workers: [] for workers in asked.workers}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        model = scratch / "disks" if asked.instant else None
        if model is not None:
            disk_model.build(model)
        for round_number in range(asked.rounds + 1):  # the first one fills the page cache
            for workers in asked.workers:
                usage = classify(asked.crops, workers, model, scratch)
                if round_number:
                    usages[workers].append(usage)
    print(f"{count:,} crops, median of {asked.rounds} rounds")
    print("workers   crops/s   times the first (range)   CPU us a crop   memory MB")
    first = usages[asked.workers[0]]
    for workers, runs in usages.items():
        ratios = [before.wall / run.wall for before, run in zip(first, runs, strict=True)]
        print(
            f"{workers:7}   {count / statistics.median(run.wall for run in runs):7.0f}"
            f"   {statistics.median(ratios):7.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            f"        {statistics.median(run.cpu for run in runs) / count * 1e6:10.0f}"
            f"   {statistics.median(run.memory for run in runs):9.0f}"
        )


if __name__ == "__main__":
    main()
