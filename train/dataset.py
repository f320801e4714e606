"""Labelled images as the network sees them, and their split into sides that share no group."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctcedge.preprocess import InputSpec, network_input
from train.simulate import Cell

BRIGHT_FIELD = "BF"
POSITIVE_LABEL = "CTC"

Group: TypeAlias = Literal["hospital", "sample"]


class LeakError(ValueError):
    """One hospital or sample stands on both sides of a split."""


@dataclass(frozen=True, slots=True)
class Images:
    """Images of cells, one a row; a cell with two channels has two rows.

    Attributes:
        inputs: (n, size, size) uint8, made by `ctcedge.preprocess.network_input`.
        positive: (n,) bool, true for a CTC.
        hospital: (n,) text.
        sample: (n,) text, `hospital/sample`.
        channel: (n,) text.
        diameter_um: (n,) the true diameter, um; NaN where nobody knows it.
    """

    inputs: NDArray[np.uint8]
    positive: NDArray[np.bool_]
    hospital: NDArray[np.str_]
    sample: NDArray[np.str_]
    channel: NDArray[np.str_]
    diameter_um: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.inputs)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Images:
        """Return the rows of a mask or of indices."""
        return Images(*(getattr(self, field.name)[rows] for field in fields(self)))

    def of(self, channel: str) -> Images:
        """Return the rows of one channel."""
        return self.select(self.channel == channel)

    def groups(self, by: Group) -> NDArray[np.str_]:
        """Return each row's hospital or sample."""
        return self.hospital if by == "hospital" else self.sample


def prepare(
    cells: Iterable[Cell],
    spec: InputSpec,
    channels: Collection[str],
    each: Callable[[], object] = lambda: None,
) -> Images:
    """Bring cells to the network's input through the runtime's own preprocessing.

    Args:
        cells: simulated cells, or those of an export folder.
        spec: the network's expectations.
        channels: which of a cell's images to take.
        each: called after each cell.

    Raises:
        ValueError: there is no image of these channels.
    """
    rows = []
    for cell in cells:
        for channel in channels:
            if channel in cell.images:
                pixels = network_input(cell.images[channel], cell.um_per_px, spec)
                rows.append((pixels, cell, channel))
        each()
    if not rows:
        raise ValueError(f"no image of channel {' or '.join(channels)}")
    inputs, owners, names = zip(*rows, strict=True)
    return Images(
        inputs=np.stack(inputs),
        positive=np.array([cell.label == POSITIVE_LABEL for cell in owners]),
        hospital=np.array([cell.hospital for cell in owners]),
        sample=np.array([f"{cell.hospital}/{cell.sample}" for cell in owners]),
        channel=np.array(names),
        diameter_um=np.array([cell.diameter_um for cell in owners], dtype=np.float64),
    )


def split(
    images: Images, *, by: Group, validation: int, test: int
) -> tuple[Images, Images, Images]:
    """Split into training, validation and test by whole groups, never by cell.

    The groups are taken in the order of their names: the last `test` of them are the test, the
    `validation` before them the validation.

    Raises:
        ValueError: too few groups.
    """
    names = np.unique(images.groups(by))
    training = len(names) - validation - test
    if training < 1:
        raise ValueError(f"{len(names)} {by}s are too few for {validation} + {test} held out")
    parts = np.split(names, [training, training + validation])
    sides = [images.select(np.isin(images.groups(by), part)) for part in parts]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        refuse_leak(sides[one], sides[other], by=by)
    return sides[0], sides[1], sides[2]


def refuse_leak(one: Images, other: Images, *, by: Group) -> None:
    """Check that two sides share no group.

    Raises:
        LeakError: naming a group that stands on both.
    """
    shared = np.intersect1d(one.groups(by), other.groups(by))
    if shared.size:
        raise LeakError(f"{by} '{shared[0]}' stands on both sides; split by {by}, never by cell")


def thin(images: Images, channel: str, share: float, seed: int) -> Images:
    """Keep all rows but those of one channel, and of these a random share."""
    kept = np.random.default_rng(seed).random(len(images)) < share
    return images.select((images.channel != channel) | kept)


def draw_by_sample(images: Images, count: int, seed: int) -> Images:
    """Draw up to `count` rows, as evenly as possible from every sample."""
    order = np.random.default_rng(seed).permutation(len(images))
    sample = images.sample[order]
    turn = np.empty(len(order), dtype=np.intp)
    for name in np.unique(sample):
        mine = sample == name
        turn[mine] = np.arange(mine.sum())
    return images.select(np.sort(order[np.argsort(turn, kind="stable")[:count]]))
