"""Unlabelled crops in batches of two views each.

The randomness of a step depends on its number and the seed only, so that a checkpoint needs no
random states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctcedge.images.preprocess import BACKGROUND_LEVEL

from ..fit.augment import Draw, smooth
from ..fit.batches import seeded_generator
from ..fit.distributed import ProcessGroup
from .crops import Crops
from .settings import PretrainSettings, ViewSettings

_RUN = 16
"""Crops of one sample that follow each other in a batch, where negatives are of the sample."""
_SQUARE = 8
"""The images are hidden in squares of an eighth of their side."""


@dataclass(frozen=True, slots=True)
class ViewBatch:
    """Two views of each of n crops, the first views of all before the second ones.

    Attributes:
        bright: (2n, 1, side, side) float32, contrast units, as the network sees it.
        whole: the same with nothing hidden; the same tensor where nothing is.
        hidden: (2n, 1, side, side) bool, the hidden pixels; None where nothing is hidden.
        stains: (2n, k, side, side) float32, each stain with the geometry of the view; k is 0 where
            no objective uses them.
        has_stain: (2n, k) bool.
        sample: (n,) number of each crop's sample.
    """

    bright: Tensor
    whole: Tensor
    hidden: Tensor | None
    stains: Tensor
    has_stain: Tensor
    sample: Tensor


class ViewLoader:
    """Loads crops in batches of views; see `train.fit.loop.Batches`.

    Attributes:
        count: steps per epoch.
    """

    def __init__(
        self,
        crops: Crops,
        settings: PretrainSettings,
        gain: float,
        processes: ProcessGroup,
        memory_format: torch.memory_format,
    ) -> None:
        """Move the crops to the device.

        Args:
            crops: at least two.
            settings: of the pretraining.
            gain: input levels of one contrast unit, as in the input's spec.
            processes: among which each step is divided.
            memory_format: of the images, as of the network.
        """
        device = processes.device
        images = crops.bright[:, None]
        if settings.needs_stains:
            images = np.concatenate((images, crops.stains), 1)
        self._settings, self._gain, self._processes = settings, gain, processes
        self._memory_format = memory_format
        self._images = torch.from_numpy(images).to(device)
        self._has_stain = torch.from_numpy(crops.has_stain).to(device)
        self._member = np.unique(crops.sample, return_inverse=True)[1]
        self._sample = torch.from_numpy(self._member).to(device)
        # Steps of equal size: no crop is alone in a process.
        self.count = max(1, len(crops) // settings.batch_size)

    def __len__(self) -> int:
        """Crops per epoch."""
        return len(self._images)

    def order(self, epoch: int) -> list[NDArray[np.intp]]:
        """Return the rows of each step of an epoch, in nearly equal numbers."""
        rng = np.random.default_rng((self._settings.seed, epoch))
        rows = rng.permutation(len(self))
        if self._settings.negatives == "sample":
            rows = _in_runs(rows, self._member, rng)
        return np.array_split(rows, self.count)

    def batch(self, rows: NDArray[np.intp], step: int) -> ViewBatch:
        """Return the views of this process's part of the crops of a step."""
        settings, processes = self._settings, self._processes
        generator = seeded_generator((settings.seed, step, processes.rank), processes.device)
        mine = torch.from_numpy(rows[processes.rank :: processes.size]).to(processes.device)
        levels = (self._images[mine].float() - BACKGROUND_LEVEL).repeat(2, 1, 1, 1)
        bright, stains = _views(levels, settings.views, generator)
        whole = (bright / self._gain).contiguous(memory_format=self._memory_format)
        seen, hidden = whole, None
        if "masked" in settings.objectives:
            hidden = _squares(whole, settings.views.masked, generator)
            seen = whole.masked_fill(hidden, 0.0)
        return ViewBatch(
            bright=seen,
            whole=whole,
            hidden=hidden,
            stains=stains / self._gain,
            has_stain=self._has_stain[mine].repeat(2, 1)[:, : stains.shape[1]],
            sample=self._sample[mine],
        )


def _in_runs(
    rows: NDArray[np.intp], member: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.intp]:
    """Reorder rows so that crops of one sample follow each other in runs of `_RUN` or more."""
    rows = rows[np.argsort(member[rows], kind="stable")]
    samples = np.split(rows, np.flatnonzero(np.diff(member[rows])) + 1)
    runs = [run for each in samples for run in np.array_split(each, max(1, len(each) // _RUN))]
    return np.concatenate([runs[index] for index in rng.permutation(len(runs))])


def _views(
    levels: Tensor, settings: ViewSettings, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return augmented bright field, and the stains with the same geometry and nothing else."""
    augmentation = settings.augmentation
    moved = replace(augmentation, illumination=False, noise=False)(levels, generator)
    bright, stains = moved[:, :1], moved[:, 1:]
    draw = Draw(bright.shape[:2], generator)
    # Between no blur and the largest, in passes of which the last is a partial one.
    defocus = draw.uniform(0, settings.defocus)
    for number in range(math.ceil(settings.defocus)):
        blurred = smooth(smooth(bright, 2), 3)
        bright = torch.lerp(bright, blurred, (defocus - number).clamp(0, 1))
    bright = replace(augmentation, geometry=False)(bright, generator)
    offset = draw.uniform(-settings.offset, settings.offset)
    return (bright + offset).clamp(-128, 127), stains


def _squares(images: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Draw which pixels are hidden, in squares; (n, 1, side, side) bool."""
    n, _, side, _ = images.shape
    chance = torch.rand(n, 1, _SQUARE, _SQUARE, generator=generator, device=images.device)
    hidden = (chance < fraction).float()
    return torch.nn.functional.interpolate(hidden, size=(side, side), mode="nearest") > 0
