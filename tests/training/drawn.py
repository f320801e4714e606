"""Drawn cells that a tiny network learns in seconds: CTCs are larger."""

from __future__ import annotations

import numpy as np

from ctcedge.images.preprocess import InputSpec
from train.data.dataset import Cells
from train.fit.fit import fit
from train.fit.presets import PRESETS

SETTINGS = PRESETS["tiny"].settings


def drawn_cells(input: InputSpec, groups: int = 12, size: int = 30, seed: int = 1) -> Cells:
    """Draw disks on noise, a third of them CTCs, in groups that differ in brightness."""
    chance = np.random.default_rng(seed)
    n = groups * size
    positive = chance.random(n) < 1 / 3
    group = np.repeat([f"group {number}" for number in range(groups)], size)
    radius = np.where(positive, 14, 8) + chance.normal(0, 2, n)
    level = np.repeat(chance.uniform(20, 60, groups), size)
    row, column = np.indices((input.size, input.size)) - input.size / 2
    inside = np.hypot(row, column) < radius[:, None, None]
    images = chance.normal(128, 12, inside.shape) + level[:, None, None] * inside
    bright = np.clip(images, 0, 255).astype(np.uint8)
    return Cells(
        bright=bright,
        nucleus=np.full_like(bright, 128),
        has_nucleus=np.zeros(n, bool),
        positive=positive,
        group=group,
        sample=group,
        cell=np.arange(n).astype("U"),
        stratum=np.where(positive, "CTC", "leukocyte"),
        digest=np.array([f"{seed:08x}{number:08x}" for number in range(n)]),
        diameter_um=np.full(n, np.nan),
    )


def sides_of(cells: Cells) -> np.ndarray:
    """Half of the groups to train on, a quarter each to validate and to test on."""
    _, group = np.unique(cells.group, return_inverse=True)
    return np.array(["training", "validation", "training", "test"])[group % 4]


def fitted(folder, input: InputSpec) -> None:
    """Fit a tiny network in a run folder."""
    cells = drawn_cells(input)
    fit(cells, sides_of(cells), SETTINGS, input, folder)
