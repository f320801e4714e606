"""Load the training cells in augmented batches.

The randomness of a step depends on its number and the seed only, so that a checkpoint needs no
random states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctcedge.images.preprocess import BACKGROUND_LEVEL

from .distributed import ProcessGroup
from .run import Run

MIN_CLASS_FRACTION = 0.1
"""A class with a smaller fraction of the training cells is oversampled to this fraction."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Augmented cells of one step, in contrast units.

    Attributes:
        bright: (n, 1, side, side) float32.
        nucleus: (n, 1, side, side) float32, zero where a cell has no DAPI image; None where the
            strategy needs none.
        has_nucleus: (n,) bool.
        target: (n,) float32, 1 for a CTC.
        positive_weight: weight of a CTC relative to a negative.
    """

    bright: Tensor
    nucleus: Tensor | None
    has_nucleus: Tensor
    target: Tensor
    positive_weight: Tensor


class BatchLoader:
    """Loads the training cells in batches.

    Attributes:
        count: steps per epoch.
    """

    def __init__(
        self,
        run: Run,
        channels: int,
        processes: ProcessGroup,
        memory_format: torch.memory_format,
    ) -> None:
        """Move the training split to the device.

        Args:
            run: with cells and settings.
            channels: 1 for bright field alone, 2 with DAPI.
            processes: among which each step is divided.
            memory_format: of the images, as of the network.
        """
        cells, device = run.subset("training"), processes.device
        images = (cells.bright, cells.nucleus)[:channels]
        self._settings, self._gain, self._team = run.settings, run.input.gain, processes
        self._memory_format = memory_format
        self._images = torch.from_numpy(np.stack(images, 1)).to(device)
        self._has_nucleus = torch.from_numpy(cells.has_nucleus).to(device)
        self._target = torch.from_numpy(cells.positive).float().to(device)
        self._rows = oversampled_rows(cells.positive)
        positives = int(cells.positive[self._rows].sum())
        self._positive_weight = torch.tensor((len(self) - positives) / positives, device=device)
        self.count = math.ceil(len(self) / run.settings.batch_size)

    def __len__(self) -> int:
        """Cells per epoch, counting repeated ones."""
        return len(self._rows)

    def order(self, epoch: int) -> list[NDArray[np.intp]]:
        """Return the rows of each step of an epoch, in nearly equal numbers."""
        rng = np.random.default_rng((self._settings.seed, epoch))
        return np.array_split(rng.permutation(self._rows), self.count)

    def batch(self, rows: NDArray[np.intp], step: int) -> Batch:
        """Return this process's part of the cells of a step, augmented."""
        settings, processes = self._settings, self._team
        generator = seeded_generator((settings.seed, step, processes.rank), processes.device)
        mine = torch.from_numpy(rows[processes.rank :: processes.size]).to(processes.device)
        levels = self._images[mine].float() - BACKGROUND_LEVEL
        scaled = settings.augmentation(levels, generator) / self._gain
        has_nucleus = self._has_nucleus[mine]
        return Batch(
            bright=scaled[:, :1].contiguous(memory_format=self._memory_format),
            nucleus=scaled[:, 1:] * has_nucleus.view(-1, 1, 1, 1) if scaled.shape[1] > 1 else None,
            has_nucleus=has_nucleus,
            target=self._target[mine],
            positive_weight=self._positive_weight,
        )


def oversampled_rows(positive: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the rows of an epoch, with a rare class oversampled to `MIN_CLASS_FRACTION`."""
    rare, common = sorted((np.flatnonzero(positive), np.flatnonzero(~positive)), key=len)
    minimum = math.ceil(len(common) * MIN_CLASS_FRACTION / (1 - MIN_CLASS_FRACTION))
    return np.sort(np.concatenate((common, np.resize(rare, max(len(rare), minimum)))))


def seeded_generator(numbers: tuple[int, ...], device: torch.device) -> torch.Generator:
    """Seed PyTorch's global state and return a generator, both from a few numbers."""
    seeds = np.random.SeedSequence(numbers).generate_state(2, np.uint64)
    number, own = (int(seed) for seed in seeds)
    torch.manual_seed(own)
    return torch.Generator(device).manual_seed(number)
