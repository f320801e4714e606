"""Ultralytics `classify`: `run_ultralytics.py CROPS COUNT BATCH THREADS`, in its environment.

THREADS 0 leaves PyTorch the threads that Ultralytics gives it.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import ultralytics
from steady import report

SIZE = 96


def classified(folder: Path, count: int, batch: int, threads: int) -> Iterator[int]:
    model = ultralytics.YOLO("yolov8-cls-resnet50.yaml")
    options = {"imgsz": SIZE, "batch": batch, "device": "cpu", "stream": True, "verbose": False}
    source = str(folder / "**" / "*.png")
    for _ in itertools.islice(model.predict(source, **options), batch):
        pass
    if threads:
        torch.set_num_threads(threads)
    for _ in itertools.islice(model.predict(source, **options), count):
        yield 1


def main() -> None:
    folder = Path(sys.argv[1])
    count, batch, threads = (int(word) for word in sys.argv[2:])
    report(
        classified(folder, count, batch, threads),
        versions=f"Ultralytics {ultralytics.__version__}, PyTorch {torch.__version__}",
    )


if __name__ == "__main__":
    main()
