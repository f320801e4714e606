"""Independent random streams, one for each thing that is drawn."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a random stream is used for; streams never share draws."""

    HOSPITAL = 0
    SAMPLE = 1
    LABEL = 2
    SCENE = 3
    TEXTURE = 4
    FOCUS = 5
    STAIN = 6
    BF = 7
    DAPI = 8
    PE = 9
    APC = 10


def generator(seed: int, stream: Stream, *index: int) -> np.random.Generator:
    """Return the generator of one stream of one hospital, sample or cell.

    Args:
        seed: the seed of the whole simulation.
        stream: what the generator is for.
        index: hospital, then sample, then cell, as far as they apply.

    Returns:
        A generator that depends on these arguments alone, so that no cell depends on how many
        other cells, or which channels, were asked for.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(stream), *index)))


def between(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """Draw a positive value of which about seven in eight lie within the limits.

    A normal draw around their middle, cut at a third of a range outside them: neighbouring
    ranges overlap in their tails, as biology does.
    """
    low, high = limits
    width = high - low
    value = rng.normal((low + high) / 2, width / 3)
    return float(min(max(value, low - width / 3), high + width / 3))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a value whose logarithm is uniform between those of the limits."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
