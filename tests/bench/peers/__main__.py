"""Compare `ctcedge classify` with its peers on the same crops, networks and two processor cores.

    python -m tests.bench.peers FOLDER --count 2000

FOLDER, on a disk with 13 GB to spare, gets crops, models and one virtual environment for each peer,
made by the peer's own documented command; what is there already is used again. Prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.crops import write_crops
from tests.bench.networks import NETWORKS, make_network

HERE = Path(__file__).parent
INSTALL = {"timm": ["install", "timm"], "ultralytics": ["install", "ultralytics"]}
"""Arguments of pip, as the peers' own documentation has them."""


@dataclass(slots=True)
class Row:
    """One way to classify the crops.

    Attributes:
        name: for the table.
        command: makes the command line of a run.
        ours: the row it is compared with; None for our own.
        runs: what the runs reported.
    """

    name: str
    command: Callable[[], list[str]]
    ours: Row | None = None
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        return [run["images_per_s"] for run in self.runs]

    def cells(self) -> tuple[str, str, str, str]:
        cost = statistics.median(run["processor_us_per_image"] for run in self.runs)
        ratio = ""
        if self.ours is not None:
            # Neighbours in time are compared, so that a machine that slows down favours no one.
            pairs = zip(self.ours.rates, self.rates, strict=True)
            ratio = f"{statistics.median(ours / theirs for ours, theirs in pairs):.1f}"
        rate = f"{statistics.median(self.rates):,.0f}"
        return self.name, rate, ratio, f"{cost:,.0f}"


def prepare(folder: Path, count: int) -> Path:
    """Make crops, models and environments where they are missing; return the crops' folder."""
    crops = folder / f"crops-{count}"
    if not crops.exists():
        unfinished = folder / ".crops.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        write_crops(unfinished, count)
        unfinished.rename(crops)
    for name in NETWORKS:
        if not (folder / "models" / name).exists():
            make_network(folder / "models", name)
    for peer, arguments in INSTALL.items():
        if not (folder / peer / "installed").exists():
            venv.create(folder / peer, clear=True, with_pip=True)
            subprocess.run([folder / peer / "bin" / "pip", *arguments], check=True)
            (folder / peer / "installed").touch()
    return crops


def rows(folder: Path, crops: Path, count: int, sidecars: Path) -> list[Row]:
    """List what is run in each round, in this order."""

    def ours(name: str, model: str) -> Row:
        def command() -> list[str]:
            # A folder that was emptied is slower to write into than a new one.
            out = tempfile.mkdtemp(dir=sidecars)
            model_folder = folder / "models" / model
            return [sys.executable, f"{HERE}/run_ctcedge.py", f"{crops}", f"{model_folder}", out]

        return Row(name, command)

    def peer(name: str, environment: str, ours: Row, *arguments: int) -> Row:
        python, script = folder / environment / "bin" / "python", HERE / f"run_{environment}.py"
        words = [str(python), str(script), str(crops), *map(str, arguments)]
        return Row(name, lambda: words, ours)

    few = max(200, count // 5)  # it is slow
    small = ours("`ctcedge classify`, ResNet-18, INT8", "resnet18-96")
    large = ours("`ctcedge classify`, ResNet-50, INT8", "resnet50-96")
    return [
        small,
        peer("timm and `DataLoader`, ResNet-18", "timm", small, count, 0),
        peer("timm and `DataLoader` with two workers, ResNet-18", "timm", small, count, 2),
        large,
        peer("Ultralytics at its defaults, ResNet-50", "ultralytics", large, few, 1, 0),
        peer("Ultralytics, batches of 64, ResNet-50", "ultralytics", large, few, 64, 0),
        peer("Ultralytics, batches of 64, two threads", "ultralytics", large, few, 64, 2),
    ]


def run(row: Row, environment: dict[str, str]) -> None:
    """Run once, and keep what the last line of the output reports."""
    done = subprocess.run(row.command(), env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{row.name} failed with exit code {done.returncode}")
    row.runs.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{row.name}: {row.rates[-1]:,.0f} images a second", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="for crops, models and environments")
    parser.add_argument("--count", type=int, default=2000, help="crops; Ultralytics gets a fifth")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    crops = prepare(folder, asked.count)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    # Ultralytics keeps its settings with its environment, and sends no usage reports.
    environment = os.environ | {"YOLO_CONFIG_DIR": f"{folder}/ultralytics", "YOLO_OFFLINE": "1"}
    with tempfile.TemporaryDirectory(dir=folder) as sidecars:
        compared = rows(folder, crops, asked.count, Path(sidecars))
        for _ in range(asked.rounds):
            for row in compared:
                run(row, environment)
    print("| | images a second | ctcedge is so many times as fast | processor time, us an image |")
    print("|---|---:|---:|---:|")
    for row in compared:
        print(f"| {' | '.join(row.cells())} |")
    print("\n" + "; ".join(dict.fromkeys(row.runs[-1]["versions"] for row in compared)))


if __name__ == "__main__":
    main()
