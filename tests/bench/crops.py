"""Write many distinct simulated crops, as one instrument would export them.

    python -m tests.bench.crops FOLDER --count 10000

A few hundred simulated cells are brought to one pixel size, and each file is one of them, turned,
cut to the size of its sample's crops and given fresh noise, so that no two files are the same. The
same seed gives the same files, and fewer files are the first of more.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from train.simulate import Cell, simulate_cells

UM_PER_PX = 0.3
SMALLEST, LARGEST = 96, 128
"""Pixels of a side of a sample's crops, which have one size, as nearly all have in both collections
of real crops that the project was measured on."""

CELLS_OF_A_SAMPLE = 500
_BASE_CELLS = 300
_NOISE_LEVELS = 1.5


def crops(seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield crops, (side, side), without end; those of a sample are alike."""
    rng = np.random.default_rng(seed)
    base = list(itertools.islice(_large_cells(seed), _BASE_CELLS))
    while True:
        side = int(rng.integers(SMALLEST, LARGEST + 1))
        large = [cell for cell in base if len(cell) >= side]
        for _ in range(CELLS_OF_A_SAMPLE):
            whole = large[rng.integers(len(large))]
            room = len(whole) - side
            top, left = (room // 2 + rng.integers(-1, 2, 2)).clip(0, room)
            part = np.rot90(whole[top : top + side, left : left + side], int(rng.integers(4)))
            noise = _NOISE_LEVELS * rng.standard_normal(part.shape, np.float32)
            yield np.rint(part + noise).clip(0, 255).astype(np.uint8)


def write_crops(folder: Path, count: int, seed: int = 1) -> None:
    """Write crops as `<sample>/<cell>_BF.png`, and `ctcedge.toml` with their um/px.

    Args:
        folder: new.
        count: of the crops.
        seed: of all randomness.

    Raises:
        FileExistsError: the folder is there already.
    """
    folder.mkdir(parents=True)
    (folder / "ctcedge.toml").write_text(f"[images]\num_per_px = {UM_PER_PX}\n", encoding="utf-8")
    for number, pixels in enumerate(itertools.islice(crops(seed), count)):
        sample, cell = divmod(number, CELLS_OF_A_SAMPLE)
        place = folder / f"sample-{sample:03d}"
        if cell == 0:
            place.mkdir()
        if not cv2.imwrite(str(place / f"{cell:05d}_BF.png"), pixels):
            raise OSError(f"cannot write into {place}")


def _large_cells(seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield cells whose field of view fills the smallest crop, square, at one um/px, 8 bits."""
    cells = simulate_cells(hospitals=1000, samples=1, cells=10, seed=seed, channels=("BF",))
    for cell in cells:
        pixels = _levels(cell)
        side = round(min(pixels.shape) * cell.um_per_px / UM_PER_PX)
        if side >= SMALLEST and pixels.shape[0] == pixels.shape[1]:
            yield cv2.resize(pixels, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float32)


def _levels(cell: Cell) -> NDArray[np.float32]:
    """Return a cell's bright field in levels of 8 bits, its background in the middle."""
    pixels = cell.images["BF"].astype(np.float32)
    return pixels * (128 / np.float32(max(float(np.median(pixels)), 1.0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="new; what is there already is not touched")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    try:
        write_crops(asked.folder, asked.count, asked.seed)
    except FileExistsError:
        parser.error(f"{asked.folder} exists; give a new folder")
    print(f"{asked.count:,} crops in {asked.folder}")


if __name__ == "__main__":
    main()
