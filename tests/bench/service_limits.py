"""Memory and threads of a watch under load, from which the limits of the service's unit are set.

    python -m tests.bench.service_limits FOLDER --count 20000

FOLDER is created and holds the crops. Each row is one watch: while it runs, many crops arrive at
once, reports are written beside it, and so on. Memory is what the watch and its child processes
have allocated (not the files that the kernel keeps in memory); threads are counted over all of
them. Prints a table.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ctcedge.images.types import MAX_PIXELS
from tests.bench.crops import write_crops
from tests.bench.scale import DISTINCT, fill

MAX_BATCH = 4096
SAMPLING_INTERVAL = 0.02
LARGE_IMAGES = 200
TIMEOUT = 1800
"""Seconds for one row."""


class Peaks(NamedTuple):
    """What a watch took at most."""

    mib: float
    threads: int
    processes: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder to create")
    parser.add_argument("--count", type=int, default=20_000)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True)
    os.environ["CTCEDGE_STATE"] = str(folder / "state")
    distinct, many, large = folder / "distinct", folder / "many", folder / "large"
    write_crops(distinct, DISTINCT)
    many.mkdir()
    fill(many, distinct, arguments.count)
    write_large(large)
    (folder / "small").mkdir()
    fill(folder / "small", distinct, 10)
    biggest = ("--batch-size", str(MAX_BATCH))
    rows = {
        "10 crops": measure(folder / "small", 10),
        f"{arguments.count:,} crops at once": measure(many, arguments.count),
        "the same, reports meanwhile": measure(many, arguments.count, "--report-idle", "0"),
        f"the same, batches of {MAX_BATCH:,}": measure(
            many, arguments.count, "--report-idle", "0", *biggest
        ),
        f"{LARGE_IMAGES} images of the largest size": measure(large, LARGE_IMAGES),
        f"these, batches of {MAX_BATCH:,}": measure(large, LARGE_IMAGES, *biggest),
    }
    print("| load | memory, MiB | threads | processes | s |\n|---|---:|---:|---:|---:|")
    for name, peaks in rows.items():
        print(
            f"| {name} | {peaks.mib:,.0f} | {peaks.threads} | {peaks.processes} |"
            f" {peaks.seconds:.0f} |"
        )


def write_large(folder: Path) -> None:
    """Images of as many pixels as are read, of 16 bits, which hardly compress."""
    sample = folder / "sample"
    sample.mkdir(parents=True)
    side = int(MAX_PIXELS**0.5)
    rng = np.random.default_rng(1)
    noise = rng.integers(20_000, 40_000, (side, side), dtype=np.uint16)
    for number in range(LARGE_IMAGES):
        noise[0, :2] = number + 20_000, 40_000 - number
        cv2.imwrite(str(sample / f"{number:05d}_BF.tif"), noise)


def measure(source: Path, count: int, *words: str) -> Peaks:
    """Watch an empty folder into which all crops of the source are copied at once."""
    place = source.with_name("place")
    watched, out = place / "in", place / "out"
    watched.mkdir(parents=True)
    command = [sys.executable, "-m", "ctcedge", "watch", watched, "--out", out, *words]
    command += ["--provider", "cpu", "--um-per-px", "0.3", "--stability-delay", "0.1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    start = time.monotonic()
    done = threading.Event()
    peaks: list[tuple[float, int, int]] = []
    sampler = threading.Thread(target=lambda: peaks.append(sample_peaks(process.pid, done)))
    sampler.start()
    try:
        while not out.exists():  # the watch has started
            _check(process, start)
        shutil.copytree(source, watched, dirs_exist_ok=True)
        while sum(len(files) for _, _, files in os.walk(out)) < count:
            _check(process, start)
        time.sleep(3)  # for a report
    finally:
        done.set()
        sampler.join()
        process.terminate()
        process.wait()
        shutil.rmtree(place)
    return Peaks(*peaks[0], time.monotonic() - start)


def _check(process: subprocess.Popen[bytes], start: float) -> None:
    if process.poll() is not None or time.monotonic() - start > TIMEOUT:
        raise SystemExit("the watch does not classify the crops")
    time.sleep(0.2)


def sample_peaks(pid: int, done: threading.Event) -> tuple[float, int, int]:
    """Largest memory in MiB, number of threads and of processes, of a process and its children."""
    memory, threads, processes = 0.0, 0, 0
    while not done.wait(SAMPLING_INTERVAL):
        family = list(_family(pid))
        states = [state for each in family if (state := _state(each))]
        memory = max(memory, sum(kib for kib, _ in states) / 1024)
        threads = max(threads, sum(number for _, number in states))
        processes = max(processes, len(states))
    return memory, threads, processes


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))


def _state(pid: int) -> tuple[int, int] | None:
    """Allocated memory in KiB and number of threads of a process; None where it has ended."""
    with suppress(OSError, KeyError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        values = dict(line.split(":", 1) for line in lines)
        return int(values["RssAnon"].split()[0]), int(values["Threads"])
    return None


if __name__ == "__main__":
    main()
