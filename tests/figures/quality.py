"""Measure the quality gate: how often each defect is found, and ordinary crops are gated.

    python tests/figures/quality.py
    python tests/figures/quality.py --real ../shared/data/jurkat 0.5 --real ../shared/data/breast

Rows are crops as they are, then with each defect put in; columns are shares with each reason, with
the flag `cluster`, and with any reason. Then the CPU time of a crop, beside that of making the
network's input.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from defects import DEFECTS, Crop, real, simulated, spoilt

from ctcedge.preprocess import InputSpec, network_input
from ctcedge.quality import Quality, assess
from train.presets import PRESETS

SPEC = PRESETS["cpu"].input


def judged(crop: Crop, spec: InputSpec = SPEC) -> Quality:
    window = network_input(crop.pixels, crop.um_per_px, spec)
    return assess(crop.pixels, window, crop.um_per_px, spec, crop.bits)


def row(name: str, crops: Iterable[Crop]) -> str:
    found: Counter[str] = Counter()
    number = 0
    for crop in crops:
        quality = judged(crop)
        found.update(quality.reasons)
        found.update(["cluster"] * quality.cluster + ["any"] * bool(quality.reasons))
        number += 1
    shares = " ".join(f"{100 * found[code] / number:14.1f}" for code in (*DEFECTS, "any"))
    return f"{name:14} {shares}"


def table(name: str, crops: Sequence[Crop], defective: Sequence[Crop]) -> None:
    print(f"\n{name}: {len(crops)} crops, {len(defective)} of them also with each defect; %")
    print(" " * 14, " ".join(f"{code:>14}" for code in (*DEFECTS, "any")))
    print(row("as they are", crops), flush=True)
    for code in DEFECTS:
        print(row(code, spoilt(defective, code)), flush=True)


def microseconds(work: Callable[[Crop], object], crops: Sequence[Crop]) -> float:
    """Least CPU time of a pass over the crops, for each of them."""
    passes = []
    for _ in range(20):
        start = time.process_time()
        for crop in crops:
            work(crop)
        passes.append(time.process_time() - start)
    return 1e6 * min(passes) / len(crops)


def cost(name: str, crops: Sequence[Crop]) -> None:
    def prepare(crop: Crop) -> object:
        return network_input(crop.pixels, crop.um_per_px, SPEC)

    prepared, whole = microseconds(prepare, crops), microseconds(judged, crops)
    print(f"{name}: {whole - prepared:.0f} us a crop; the network's input {prepared:.0f} us")


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
