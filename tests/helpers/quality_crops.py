"""Simulated crops for the tests of the quality checks, kept in tests/data/quality_crops.npz.

    python -m tests.helpers.quality_crops

simulates them again. Beside the crops, the file holds those with a second cell, which need the
simulator; `defects.add_defect` puts in all other defects.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctcedge.images.decode import GreyImage
from tests.helpers.defects import Crop, add_defect, simulated

PATH = Path(__file__).parents[1] / "data" / "quality_crops.npz"
PAIRS = ("multiple-objects", "overlap", "cluster")
"""Codes of the defects that add a second cell."""
COUNT, SEED = 80, 8000


def simulate(count: int = COUNT) -> dict[str, list[Crop]]:
    """Simulate whole single cells under `cells`, and pairs under their codes."""
    crops = simulated(count, seed=SEED)
    return {"cells": crops, **{code: list(add_defect(crops, code)) for code in PAIRS}}


def load() -> dict[str, list[Crop]]:
    """Return what `simulate` returned when the file was made, without origins."""
    with np.load(PATH) as arrays:
        return {
            name: _unpacked({key: arrays[f"{name}_{key}"] for key in _KEYS})
            for name in ("cells", *PAIRS)
        }


_KEYS = ("pixels", "shape", "bits", "um_per_px", "diameter")


def _packed(crops: Sequence[Crop]) -> dict[str, np.ndarray]:
    stored = b"".join(crop.pixels.astype(_dtype(crop.bits)).tobytes() for crop in crops)
    return {
        "pixels": np.frombuffer(stored, np.uint8),
        "shape": np.array([crop.pixels.shape for crop in crops], np.uint16),
        "bits": np.array([crop.bits for crop in crops], np.uint8),
        "um_per_px": np.array([crop.um_per_px for crop in crops], np.float64),
        "diameter": np.array([crop.diameter for crop in crops], np.float64),
    }


def _unpacked(arrays: dict[str, np.ndarray]) -> list[Crop]:
    crops = []
    start = 0
    stored = arrays["pixels"].tobytes()
    for (height, width), bits, um_per_px, diameter in zip(
        *(arrays[key].tolist() for key in _KEYS[1:]), strict=True
    ):
        dtype = _dtype(bits)
        pixels: GreyImage = np.frombuffer(stored, dtype, height * width, start)
        start += pixels.nbytes
        crops.append(Crop(pixels.reshape(height, width).copy(), um_per_px, bits, diameter))
    return crops


def _dtype(bits: int) -> np.dtype[Any]:
    return np.dtype(np.uint8 if bits == 8 else np.uint16)


def main() -> None:
    """Simulate the crops and write the file."""
    arrays: dict[str, Any] = {
        f"{name}_{key}": array
        for name, crops in simulate().items()
        for key, array in _packed(crops).items()
    }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_bytes(file.getvalue())


if __name__ == "__main__":
    main()
