"""Measure the quality check: detection rates of defects, false alarms, and its CPU time.

    python -m tests.figures.quality
    python -m tests.figures.quality --real FOLDER 0.5 --real OTHER_FOLDER

Rows are crops without change, then with each defect added. Columns are percentages of crops with
each reason, with the flag `cluster`, with any reason, and with more than one cell counted. A second
cell is left out where a person would not see it clearly. Then follows the CPU time per crop, beside
that of preparing the network's input; both are measured in turns, so that background load affects
them equally.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import cv2

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from ctcedge.images.decode import CropImage
from ctcedge.images.preprocess import InputSpec, network_inputs
from ctcedge.quality.checks import Quality, assess
from tests.helpers.defects import DEFECTS, Crop, add_defect, real, simulated
from train.fit.presets import PRESETS

SPEC = PRESETS["cpu"].input
COLUMNS = *DEFECTS, "any", "several"


def check_one(crop: Crop, spec: InputSpec = SPEC) -> Quality:
    windows = network_inputs([crop.pixels], crop.um_per_px, spec)
    (quality,) = assess(
        [CropImage(crop.pixels, crop.bits, crop.is_colour)], windows, crop.um_per_px, spec
    )
    return quality


def row(name: str, crops: Iterable[Crop]) -> str:
    counts: Counter[str] = Counter()
    total = 0
    for crop in crops:
        quality = check_one(crop)
        counts.update(quality.reasons)
        counts.update(["cluster"] * quality.cluster + ["any"] * bool(quality.reasons))
        counts.update(["several"] * (quality.measures["cells"] > 1))
        total += 1
    percentages = " ".join(f"{100 * counts[code] / total:16.1f}" for code in COLUMNS)
    return f"{name:14} {percentages} {total:6}"


def table(name: str, crops: Sequence[Crop], defective: Sequence[Crop]) -> None:
    print(f"\n{name}: % of crops, and number of crops")
    print(" " * 14, " ".join(f"{code:>16}" for code in COLUMNS), " crops")
    print(row("unchanged", crops), flush=True)
    for code in DEFECTS:
        print(row(code, add_defect(defective, code)), flush=True)


def cost(name: str, crops: Sequence[Crop], passes: int = 40) -> None:
    """Print CPU times per crop in chunks of 64: median and minimum over the passes."""
    um_per_px = crops[0].um_per_px
    images = [CropImage(crop.pixels, crop.bits) for crop in crops]
    chunks = [images[start : start + 64] for start in range(0, len(images), 64)]
    preparing, checking = [], []
    for _ in range(passes):
        start = time.thread_time()
        inputs = [
            network_inputs([pixels for pixels, _ in chunk], um_per_px, SPEC) for chunk in chunks
        ]
        middle = time.thread_time()
        for chunk, windows in zip(chunks, inputs, strict=True):
            assess(chunk, windows, um_per_px, SPEC)
        checking.append(1e6 * (time.thread_time() - middle) / len(crops))
        preparing.append(1e6 * (middle - start) / len(crops))
    check, prepare = median(checking), median(preparing)
    print(
        f"{name}: quality check {check:.0f} us per crop (min {min(checking):.0f}), network's input"
        f" {prepare:.0f} us (min {min(preparing):.0f}), ratio {check / prepare:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--crops", type=int, default=300, help="number of simulated crops, and per folder"
    )
    parser.add_argument("--seed", type=int, default=7000)
    parser.add_argument(
        "--real", nargs="+", action="append", default=[], metavar=("FOLDER", "UM_PER_PX")
    )
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    sets = {"simulated": simulated(arguments.crops, arguments.seed)}
    for folder, *scale in arguments.real:
        um_per_px = float(scale[0]) if scale else None
        sets[Path(folder).name] = real(Path(folder), um_per_px, arguments.crops)
    for name, crops in sets.items():
        # A defect of an invisible cell is invisible.
        table(name, crops, [crop for crop in crops if crop.diameter > 0])
    print()
    for name, crops in sets.items():
        cost(name, crops[:100])


if __name__ == "__main__":
    main()
