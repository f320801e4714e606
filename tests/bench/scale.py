"""Speed in large folders: throughput, time of a start, and latency of a watch.

    python -m tests.bench.scale FOLDER --count 200000

FOLDER is created on the disk to be measured and holds crops and sidecars: 3 GB for 200,000 crops.
Prints a table.
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
DISTINCT = 2_000
ARRIVALS = 200
ARRIVAL_INTERVAL = 0.1
"""Seconds between two arrivals."""


def fill(folder: Path, distinct: Path, count: int) -> None:
    """Copy the distinct crops, sample by sample, up to a number of crops."""
    files = sorted(distinct.glob("*/*.png"))
    shutil.copy(distinct / "ctcedge.toml", folder)
    for start in range(0, count, len(files)):
        sample = folder / f"sample-{start // len(files):04d}"
        sample.mkdir()
        for number, file in enumerate(files[: count - start]):
            shutil.copyfile(file, sample / f"{number:05d}_BF.png")


def throughput(crops: Path, out: Path) -> float:
    """Crops per second of `classify`, without its start."""
    command = [sys.executable, f"{HERE}/peers/run_ctcedge.py"]
    command += [str(crops), str(load_model().folder), str(out)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["images_per_s"])


def restart(crops: Path, out: Path) -> tuple[float, float]:
    """Seconds and MB of a whole `classify` of crops that are all done."""
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


def arrivals(crops: Path, out: Path, distinct: Path) -> dict[str, Any]:
    """Watch a folder of done crops, and measure the latency of new crops, one at a time.

    Returns:
        `median` and `p99`, ms from closing the file to its sidecar, and peak memory `mb`.
    """
    command = [sys.executable, "-m", "ctcedge", "watch", crops, "--out", out, "--provider", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        taken = list(_arrive(crops, out, sorted(distinct.glob("*/*.png"))))
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
    folder = crops / "arriving"
    folder.mkdir(exist_ok=True)
    for number in range(ARRIVALS + 1):
        name = f"{number:06d}_BF.png"
        (folder / name).write_bytes(files[number % len(files)].read_bytes())
        start = time.perf_counter()
        sidecar = out / "arriving" / f"{name}.ctc.json"
        while not sidecar.exists():
            time.sleep(0.0005)
            if time.perf_counter() - start > 120:
                raise SystemExit("the watch does not classify new crops")
        if number:  # the first includes the start of the watch
            yield 1000 * (time.perf_counter() - start)
        time.sleep(ARRIVAL_INTERVAL)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder to create")
    parser.add_argument("--count", type=int, default=200_000)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True)
    os.environ["CTCEDGE_STATE"] = str(folder / "state")
    distinct = folder / "distinct"
    write_crops(distinct, DISTINCT)
    counts = sorted({min(SMALL, arguments.count), arguments.count})
    for count in counts:
        (folder / f"{count}").mkdir()
        fill(folder / f"{count}", distinct, count)
    rows: list[tuple[str, ...]] = [("", *(f"{count:,} crops" for count in counts))]
    rates, starts, rereads, peaks, watched = [], [], [], [], []
    for count in counts:
        crops, out = folder / f"{count}", folder / f"{count}-out"
        rates.append(throughput(crops, out))
        seconds, mb = min(restart(crops, out) for _ in range(3))
        starts.append(seconds)
        watched.append(arrivals(crops, out, distinct))
        shutil.rmtree(folder / "state")
        seconds, more = restart(crops, out)
        rereads.append(seconds)
        peaks.append(max(mb, more))
    rows += [
        ("crops per second, file to sidecar", *(f"{each:,.0f}" for each in rates)),
        ("start where all crops are done, s", *(f"{each:.1f}" for each in starts)),
        ("the same without the index, s", *(f"{each:.1f}" for each in rereads)),
        ("peak memory of these, MB", *(f"{each:.0f}" for each in peaks)),
        ("watch: closed file to sidecar, median, ms", *(f"{w['median']:.1f}" for w in watched)),
        ("99th percentile, ms", *(f"{w['p99']:.1f}" for w in watched)),
        ("peak memory of the watch, MB", *(f"{w['mb']:.0f}" for w in watched)),
    ]
    head, *body = rows
    print(f"| {' | '.join(head)} |\n|---|{'---:|' * len(counts)}")
    for row in body:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
