"""Independent random streams, one for each kind of draw."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """The use of a random stream; streams are independent of each other."""

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
        index: hospital, then sample, then cell, where they apply.

    Returns:
        A generator that depends on these arguments alone, so that a cell does not depend on the
        number of other cells or on the channels that are simulated.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(stream), *index)))


def between(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """Draw a value that is within the limits in about seven of eight draws.

    A normal draw around their middle, clipped at a third of the range outside them: the
    distributions of neighbouring ranges overlap in their tails.
    """
    low, high = limits
    width = high - low
    value = rng.normal((low + high) / 2, width / 3)
    return float(min(max(value, low - width / 3), high + width / 3))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a value whose logarithm is uniform between those of the limits."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
