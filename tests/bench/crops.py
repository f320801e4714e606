"""Write many distinct simulated crops, as one instrument would export them.

    python -m tests.bench.crops FOLDER --count 10000

A few hundred simulated cells are resampled to one pixel size. Each file is one of them, rotated,
cropped to the size of its sample's crops and with new noise, so that no two files are the same. The
same seed gives the same files; a smaller count gives the first ones.
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
MIN_SIDE, MAX_SIDE = 96, 128
"""Range of the side of crops, pixels. All crops of a sample have one size, as nearly all have in
both collections of real crops that the project was measured on."""

CELLS_PER_SAMPLE = 500
_BASE_CELLS = 300
_NOISE_LEVELS = 1.5


def crops(seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield crops without end, (side, side) uint8; those of a sample have the same size."""
    rng = np.random.default_rng(seed)
    base = list(itertools.islice(_large_cells(seed), _BASE_CELLS))
    while True:
        side = int(rng.integers(MIN_SIDE, MAX_SIDE + 1))
        large = [cell for cell in base if len(cell) >= side]
        for _ in range(CELLS_PER_SAMPLE):
            whole = large[rng.integers(len(large))]
            margin = len(whole) - side
            top, left = (margin // 2 + rng.integers(-1, 2, 2)).clip(0, margin)
            part = np.rot90(whole[top : top + side, left : left + side], int(rng.integers(4)))
            noise = _NOISE_LEVELS * rng.standard_normal(part.shape, np.float32)
            yield np.rint(part + noise).clip(0, 255).astype(np.uint8)


def write_crops(folder: Path, count: int, seed: int = 1) -> None:
    """Write crops as `<sample>/<cell>_BF.png`, and `ctcedge.toml` with their um/px.

    Args:
        folder: folder to create.
        count: number of crops.
        seed: random seed.

    Raises:
        FileExistsError: the folder exists.
    """
    folder.mkdir(parents=True)
    (folder / "ctcedge.toml").write_text(f"[images]\num_per_px = {UM_PER_PX}\n", encoding="utf-8")
    for number, pixels in enumerate(itertools.islice(crops(seed), count)):
        sample, cell = divmod(number, CELLS_PER_SAMPLE)
        sample_folder = folder / f"sample-{sample:03d}"
        if cell == 0:
            sample_folder.mkdir()
        if not cv2.imwrite(str(sample_folder / f"{cell:05d}_BF.png"), pixels):
            raise OSError(f"cannot write into {sample_folder}")


def _large_cells(seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield square cells with the field of view of the smallest crop, at one um/px, 8 bits."""
    cells = simulate_cells(hospitals=1000, samples=1, cells=10, seed=seed, channels=("BF",))
    for cell in cells:
        pixels = _levels(cell)
        side = round(min(pixels.shape) * cell.um_per_px / UM_PER_PX)
        if side >= MIN_SIDE and pixels.shape[0] == pixels.shape[1]:
            yield cv2.resize(pixels, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float32)


def _levels(cell: Cell) -> NDArray[np.float32]:
    """Return a cell's bright field in 8-bit levels, with its background at mid-grey."""
    pixels = cell.images["BF"].astype(np.float32)
    return pixels * (128 / np.float32(max(float(np.median(pixels)), 1.0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder to create")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    try:
        write_crops(arguments.folder, arguments.count, arguments.seed)
    except FileExistsError:
        parser.error(f"{arguments.folder} exists; give a new folder")
    print(f"{arguments.count:,} crops in {arguments.folder}")


if __name__ == "__main__":
    main()
