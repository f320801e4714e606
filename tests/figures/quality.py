"""Measure the quality gate: how often each defect is found, ordinary crops are gated, and the cost.

    python tests/figures/quality.py
    python tests/figures/quality.py --real ../shared/data/jurkat 0.5 --real ../shared/data/breast

Rows are crops as they are, then with each defect put in; columns are shares with each reason, with
the flag `cluster`, with any reason, and with more than one cell told of. A second cell is left out
where a person would not see it clearly. Then the CPU time of a crop, beside that of making the
network's input: the two take turns, so that other work on the machine meets both alike.
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

from ctcedge.images.preprocess import InputSpec, network_inputs
from ctcedge.quality.checks import Quality, assess
from tests.helpers.defects import DEFECTS, Crop, real, simulated, spoilt
from train.fit.presets import PRESETS

SPEC = PRESETS["cpu"].input
COLUMNS = *DEFECTS, "any", "several"


def judged(crop: Crop, spec: InputSpec = SPEC) -> Quality:
    windows = network_inputs([crop.pixels], crop.um_per_px, spec)
    (quality,) = assess([(crop.pixels, crop.bits)], windows, crop.um_per_px, spec)
    return quality


def row(name: str, crops: Iterable[Crop]) -> str:
    found: Counter[str] = Counter()
    number = 0
    for crop in crops:
        quality = judged(crop)
        found.update(quality.reasons)
        found.update(["cluster"] * quality.cluster + ["any"] * bool(quality.reasons))
        found.update(["several"] * (quality.measures["cells"] > 1))
        number += 1
    shares = " ".join(f"{100 * found[code] / number:14.1f}" for code in COLUMNS)
    return f"{name:14} {shares} {number:6}"


def table(name: str, crops: Sequence[Crop], defective: Sequence[Crop]) -> None:
    print(f"\n{name}: shares of crops, in %, and how many crops they are of")
    print(" " * 14, " ".join(f"{code:>14}" for code in COLUMNS), " crops")
    print(row("as they are", crops), flush=True)
    for code in DEFECTS:
        print(row(code, spoilt(defective, code)), flush=True)


def cost(name: str, crops: Sequence[Crop], passes: int = 40) -> None:
    """Print CPU times of a crop, in handfuls of 64: the median over passes, and the least."""
    um_per_px = crops[0].um_per_px
    images = [(crop.pixels, crop.bits) for crop in crops]
    handfuls = [images[start : start + 64] for start in range(0, len(images), 64)]
    preparing, gating = [], []
    for _ in range(passes):
        start = time.thread_time()
        inputs = [network_inputs([each for each, _ in some], um_per_px, SPEC) for some in handfuls]
        middle = time.thread_time()
        for some, windows in zip(handfuls, inputs, strict=True):
            assess(some, windows, um_per_px, SPEC)
        gating.append(1e6 * (time.thread_time() - middle) / len(crops))
        preparing.append(1e6 * (middle - start) / len(crops))
    gate, prepared = median(gating), median(preparing)
    print(
        f"{name}: gate {gate:.0f} us a crop (least {min(gating):.0f}), network's input "
        f"{prepared:.0f} us (least {min(preparing):.0f}), {gate / prepared:.2f} to one"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=300, help="simulated, and of each folder")
    parser.add_argument("--seed", type=int, default=7000)
    parser.add_argument(
        "--real", nargs="+", action="append", default=[], metavar=("FOLDER", "UM_PER_PX")
    )
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    sets = {"simulated": simulated(asked.crops, asked.seed)}
    for folder, *scale in asked.real:
        um_per_px = float(scale[0]) if scale else None
        sets[Path(folder).name] = real(Path(folder), um_per_px, asked.crops)
    for name, crops in sets.items():
        # A defect of what cannot be seen cannot be seen.
        table(name, crops, [crop for crop in crops if crop.diameter > 0])
    print()
    for name, crops in sets.items():
        cost(name, crops[:100])


if __name__ == "__main__":
    main()
