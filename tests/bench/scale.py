"""Whether speed holds in large folders, how long a start takes there, and how soon a watch calls.

    python -m tests.bench.scale FOLDER --count 200000

FOLDER, new and on the disk to be measured, gets crops and sidecars: 3 GB for 200,000 crops. Prints
a table.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ctcedge.model.folder import load_model
from tests.bench.crops import write_crops

HERE = Path(__file__).parent
SMALL = 10_000
DRAWN = 2_000
ARRIVALS = 200
EVERY = 0.1
"""Seconds from one arrival to the next."""


def fill(folder: Path, drawn: Path, count: int) -> None:
    """Copy the drawn crops, one sample after the other, until there are so many."""
    files = sorted(drawn.glob("*/*.png"))
    shutil.copy(drawn / "ctcedge.toml", folder)
    for start in range(0, count, len(files)):
        sample = folder / f"sample-{start // len(files):04d}"
        sample.mkdir()
        for number, file in enumerate(files[: count - start]):
            shutil.copyfile(file, sample / f"{number:05d}_BF.png")


def steady(crops: Path, out: Path) -> float:
    """Crops a second of `classify`, start-up left out."""
    command = [sys.executable, f"{HERE}/peers/run_ctcedge.py"]
    command += [str(crops), str(load_model().folder), str(out)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["images_per_s"])


def again(crops: Path, out: Path) -> tuple[float, float]:
    """Seconds and MB of a whole `classify` that finds all done."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "ctcedge", "classify", crops, "--out", out, "--provider", "cpu"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"classify failed: {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def arrivals(crops: Path, out: Path, drawn: Path) -> dict[str, Any]:
    """Watch a folder whose crops are done, and see how long each new crop takes, one at a time.

    Returns:
        `median` and `p99`, ms from the moment the file is closed to its sidecar, and `mb` in use.
    """
    command = [sys.executable, "-m", "ctcedge", "watch", crops, "--out", out, "--provider", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        taken = list(_arrive(crops, out, sorted(drawn.glob("*/*.png"))))
        status = Path(f"/proc/{process.pid}/status").read_text()
    finally:
        process.terminate()
        process.wait()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return {
        "median": statistics.median(taken),
        "p99": float(np.percentile(taken, 99)),
        "mb": int(peak.split()[1]) / 1024,
    }


def _arrive(crops: Path, out: Path, files: list[Path]) -> Iterator[float]:
    place = crops / "arriving"
    place.mkdir(exist_ok=True)
    for number in range(ARRIVALS + 1):
        name = f"{number:06d}_BF.png"
        (place / name).write_bytes(files[number % len(files)].read_bytes())
        start = time.perf_counter()
        sidecar = out / "arriving" / f"{name}.ctc.json"
        while not sidecar.exists():
            time.sleep(0.0005)
            if time.perf_counter() - start > 120:
                raise SystemExit("the watch does not call what arrives")
        if number:  # before the first, the watch starts
            yield 1000 * (time.perf_counter() - start)
        time.sleep(EVERY)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="new")
    parser.add_argument("--count", type=int, default=200_000)
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    folder.mkdir(parents=True)
    os.environ["CTCEDGE_STATE"] = str(folder / "state")
    drawn = folder / "drawn"
    write_crops(drawn, DRAWN)
    counts = sorted({min(SMALL, asked.count), asked.count})
    for count in counts:
        (folder / f"{count}").mkdir()
        fill(folder / f"{count}", drawn, count)
    rows: list[tuple[str, ...]] = [("", *(f"{count:,} crops" for count in counts))]
    rates, starts, rereads, peaks, watched = [], [], [], [], []
    for count in counts:
        crops, out = folder / f"{count}", folder / f"{count}-out"
        rates.append(steady(crops, out))
        seconds, mb = min(again(crops, out) for _ in range(3))
        starts.append(seconds)
        watched.append(arrivals(crops, out, drawn))
        shutil.rmtree(folder / "state")
        seconds, more = again(crops, out)
        rereads.append(seconds)
        peaks.append(max(mb, more))
    rows += [
        ("crops a second, file to sidecar", *(f"{each:,.0f}" for each in rates)),
        ("start where all is done, s", *(f"{each:.1f}" for each in starts)),
        ("the same without the index, s", *(f"{each:.1f}" for each in rereads)),
        ("most memory of these, MB", *(f"{each:.0f}" for each in peaks)),
        ("watch: closed file to sidecar, median, ms", *(f"{w['median']:.1f}" for w in watched)),
        ("99 of 100 within, ms", *(f"{w['p99']:.1f}" for w in watched)),
        ("most memory of the watch, MB", *(f"{w['mb']:.0f}" for w in watched)),
    ]
    head, *body = rows
    print(f"| {' | '.join(head)} |\n|---|{'---:|' * len(counts)}")
    for row in body:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
