"""Draw the anatomy of single cells and debris from the distributions of `populations`.

All lengths are in micrometres, refractive indices relative to their surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .populations import (
    DEFORMED_ELONGATION,
    DEFORMED_ROUGHNESS,
    FRAGMENT,
    REMAINS,
    Population,
    Range,
)
from .seeds import between

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex64]

HARMONICS = 5
"""Fourier terms of an outline: the orders 2 to 6."""
_TAIL_WEIGHTS = np.array([1.0, 0.85, 0.6, 0.35, 0.15])
"""Weights of the terms in a tail: falling, so that the rest of the outline hardly ripples."""


@dataclass(frozen=True, eq=False)
class Lobe:
    """A rough disc, such as a lobe of a nucleus, with coordinates from the cell's centre."""

    x: float
    y: float
    radius: float
    elongation: float
    angle: float
    outline: Complexes


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One cell or piece of debris, with everything that shows in an image.

    Attributes:
        body: the cell's outline.
        height: largest thickness.
        blebs: (n, 3) centre x, y and radius.
        index: refractive index of the cytoplasm, above the medium's.
        absorption: fraction of the optical path that is lost to absorption.
        nucleus: the lobes, none for debris.
        nucleus_index: refractive index of the nucleus, above the cytoplasm's.
        nucleus_height: thickness over diameter of the lobes.
        chromatin: grain of the chromatin.
        chromatin_contrast: relative variation of the chromatin's density.
        nucleoli: (n, 3) x, y and radius.
        granules: (n, 3) x, y and optical path; vacuoles are negative.
        granule: diameter of a granule.
        granule_depth: how far above the cell's middle most granules lie.
    """

    body: Lobe
    height: float
    blebs: Floats
    index: float
    absorption: float
    nucleus: tuple[Lobe, ...]
    nucleus_index: float
    nucleus_height: float
    chromatin: float
    chromatin_contrast: float
    nucleoli: Floats
    granules: Floats
    granule: float
    granule_depth: float

    @property
    def diameter(self) -> float:
        """Diameter of a disc of the cell's area, without blebs."""
        return 2.0 * self.body.radius


def draw_anatomy(rng: np.random.Generator, population: Population) -> Anatomy:
    """Draw one cell of a population."""
    radius = population.diameter / 2 * float(np.exp(rng.normal(0, population.spread)))
    if rng.random() < population.deformed:
        population = replace(
            population, elongation=DEFORMED_ELONGATION, roughness=DEFORMED_ROUGHNESS
        )
    body = _disc(rng, 0.0, 0.0, radius, population.elongation, between(rng, population.roughness))
    height = 2 * radius * min(between(rng, population.flatness), 1.0)
    nucleus = _nucleus(rng, population, radius)
    blebs = _blebs(rng, population.blebs, radius)
    if rng.random() < population.tailed:
        if rng.random() < 0.6:
            body = replace(body, outline=body.outline + _tail(rng))
        else:
            blebs = np.concatenate([blebs, _tuft(rng, radius)])
    return Anatomy(
        body=body,
        height=height,
        blebs=blebs,
        index=max(between(rng, population.index), 0.005),
        absorption=float(rng.exponential(0.015)),
        nucleus=nucleus,
        nucleus_index=between(rng, population.nucleus_index),
        nucleus_height=float(rng.uniform(0.6, 0.95)),
        chromatin=between(rng, population.chromatin),
        chromatin_contrast=max(between(rng, population.chromatin_contrast), 0.02),
        nucleoli=_nucleoli(rng, population.nucleoli, nucleus),
        granules=_granules(rng, population, radius),
        granule=max(between(rng, population.granule), 0.15),
        granule_depth=float(rng.normal(0, 0.3)) * radius,
    )


def draw_fragment(rng: np.random.Generator) -> Anatomy:
    """Draw a piece of debris: transparent remains of a cell, or a fragment, some of them dark."""
    if rng.random() < 0.5:
        return draw_anatomy(rng, REMAINS)
    return replace(draw_anatomy(rng, FRAGMENT), absorption=float(rng.choice((0.0, 0.2, 0.8))))


def draw_dead(rng: np.random.Generator, alive: Anatomy) -> Anatomy:
    """Return a dead form of a cell: shrunken, dense and blebbing, or pale and leaky."""
    if rng.random() < 0.3:
        return replace(
            alive,
            index=alive.index * rng.uniform(0.25, 0.6),
            nucleus_index=float(rng.uniform(0.005, 0.02)),
            granules=np.concatenate([alive.granules, _specks(rng, 30, alive.body.radius, 0.02)]),
        )
    shrinkage = float(rng.uniform(0.5, 1.0))
    radius = alive.body.radius * shrinkage
    body = replace(
        alive.body,
        radius=radius,
        elongation=alive.body.elongation * rng.uniform(1.0, 1.5),
        outline=_outline(rng, float(rng.uniform(0.01, 0.12))),
    )
    condensed = shrinkage * rng.uniform(0.5, 1.0)
    return replace(
        alive,
        body=body,
        height=alive.height * shrinkage,
        nucleus=_shrink_nucleus(alive.nucleus, condensed),
        nucleus_index=float(rng.uniform(0.0, 0.035)),
        chromatin_contrast=0.05,
        nucleoli=np.zeros((0, 3), np.float32),
        blebs=_blebs(rng, 3.0, radius),
        index=alive.index * rng.uniform(1.0, 1.9),
        granules=alive.granules * np.array([shrinkage, shrinkage, 1.0], np.float32),
    )


def draw_apoptotic(rng: np.random.Generator, alive: Anatomy) -> Anatomy:
    """Return an apoptotic form of a cell: shrunken, dense, and mostly in smooth lobes."""
    shrinkage = float(rng.uniform(0.55, 0.9))
    radius = alive.body.radius * shrinkage
    lobes = int(rng.integers(0, 5))
    sizes = radius * rng.uniform(0.35, 0.75, lobes)
    turns = rng.uniform(0, 2 * np.pi) + (np.arange(lobes) + rng.uniform(0, 0.8, lobes)) * 1.4
    distance = radius * rng.uniform(0.6, 1.0, lobes)
    smooth = float(rng.uniform(0.003, 0.03))
    return replace(
        alive,
        body=replace(alive.body, radius=radius, outline=_outline(rng, smooth)),
        height=alive.height * shrinkage,
        nucleus=_shrink_nucleus(alive.nucleus, shrinkage),
        blebs=_place_around(distance, turns, sizes),
        index=alive.index * rng.uniform(1.0, 1.7),
        nucleoli=alive.nucleoli[:0],
        granules=alive.granules * np.array([shrinkage, shrinkage, 1.0], np.float32),
    )


def _shrink_nucleus(nucleus: tuple[Lobe, ...], by: float) -> tuple[Lobe, ...]:
    """Scale a nucleus about the cell's centre."""
    return tuple(
        replace(lobe, x=lobe.x * by, y=lobe.y * by, radius=lobe.radius * by) for lobe in nucleus
    )


def _place_around(distance: Doubles, turns: Doubles, trait: Doubles) -> Floats:
    """Return (n, 3): x and y from the cell's centre, and a trait of each."""
    return np.stack([distance * np.cos(turns), distance * np.sin(turns), trait], 1).astype(
        np.float32
    )


def _outline(rng: np.random.Generator, roughness: float) -> Complexes:
    orders = np.arange(2, 2 + HARMONICS)
    parts = rng.normal(0, max(roughness, 0.0), (2, HARMONICS)) / (orders - 1) ** 0.7
    return np.asarray(parts[0] + 1j * parts[1], np.complex64)


def _disc(
    rng: np.random.Generator,
    x: float,
    y: float,
    radius: float,
    elongation: Range,
    roughness: float,
) -> Lobe:
    stretch = max(between(rng, elongation), 1.0)
    angle = float(rng.uniform(0, 2 * np.pi))
    return Lobe(x, y, radius, stretch, angle, _outline(rng, roughness))


def _nucleus(rng: np.random.Generator, population: Population, radius: float) -> tuple[Lobe, ...]:
    """Draw lobes along an arc, whose total area follows from the drawn ratio."""
    ratio = min(between(rng, population.nucleus_ratio), 0.95)
    if ratio <= 0:
        return ()
    lobes = int(rng.integers(population.lobes[0], population.lobes[1] + 1))
    gap = between(rng, population.lobe_gap)
    # Overlapping lobes cover less: grow them as the gap shrinks below two radii.
    overlap = 1.0 + (lobes - 1) * max(0.0, 2.0 - gap) * 0.06
    size = ratio * radius / np.sqrt(lobes) * overlap
    arc = max(0.5 * radius, 0.6 * size)
    turns = (np.arange(lobes) - (lobes - 1) / 2) * gap * size / arc + rng.uniform(0, 2 * np.pi)
    centres = arc * np.exp(1j * turns) * rng.uniform(0.85, 1.1, lobes)
    room = max(0.0, 1.0 - ratio) * radius
    away = min(max(between(rng, population.eccentricity), 0.0), 1.1) * room
    centres += away * np.exp(1j * rng.uniform(0, 2 * np.pi)) - centres.mean()
    roughness = between(rng, population.nucleus_roughness)
    return tuple(
        _disc(rng, c.real, c.imag, size * rng.uniform(0.9, 1.1), (1.0, 1.25), roughness)
        for c in centres
    )


def _blebs(rng: np.random.Generator, mean: float, radius: float) -> Floats:
    """Draw blebs on the outline: x, y and radius. A few cells have many."""
    number = min(int(rng.poisson(rng.gamma(1.0, mean))), 10)
    sizes = radius * rng.uniform(0.10, 0.34, number)
    turns = rng.uniform(0, 2 * np.pi, number)
    distance = radius + sizes * rng.uniform(-0.5, 0.6, number)
    return _place_around(distance, turns, sizes)


def _tail(rng: np.random.Generator) -> Complexes:
    """Draw Fourier terms that pull an outline into a point on one side, like a teardrop."""
    orders = np.arange(2, 2 + HARMONICS)
    reach, turn = rng.uniform(0.15, 0.5), rng.uniform(0, 2 * np.pi)
    return np.asarray(
        reach * _TAIL_WEIGHTS / _TAIL_WEIGHTS.sum() * np.exp(-1j * orders * turn), np.complex64
    )


def _tuft(rng: np.random.Generator, radius: float) -> Floats:
    """Draw small blebs side by side, as at the rear of a migrating cell: x, y and radius."""
    number = int(rng.integers(2, 7))
    turns = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.2, number)
    distance = radius * rng.uniform(0.9, 1.3, number)
    sizes = radius * rng.uniform(0.07, 0.20, number)
    return _place_around(distance, turns, sizes)


def _nucleoli(rng: np.random.Generator, mean: float, nucleus: tuple[Lobe, ...]) -> Floats:
    number = int(rng.poisson(mean)) if nucleus else 0
    found = np.zeros((number, 3), np.float32)
    for row in found:
        lobe = nucleus[int(rng.integers(len(nucleus)))]
        distance, turn = 0.75 * np.sqrt(rng.random()) * lobe.radius, rng.uniform(0, 2 * np.pi)
        row[:] = (
            lobe.x + distance * np.cos(turn),
            lobe.y + distance * np.sin(turn),
            lobe.radius * rng.uniform(0.13, 0.30),
        )
    return found


def _specks(rng: np.random.Generator, number: int, radius: float, path: float) -> Floats:
    """Draw points in a disc, in some cells mostly on one side: x, y and optical path."""
    distance = radius * 0.92 * np.sqrt(rng.random(number))
    turns = rng.uniform(0, 2 * np.pi) + rng.uniform(0.35, 1.0) * rng.uniform(-np.pi, np.pi, number)
    paths = path * rng.gamma(3.0, 1 / 3, number)
    return _place_around(distance, turns, paths)


def _granules(rng: np.random.Generator, population: Population, radius: float) -> Floats:
    mean = population.granules * (radius / 5.0) ** 2 * rng.gamma(1.5, 1 / 1.5)
    path = max(between(rng, population.granule_path), 0.004)
    droplets, vacuoles = (
        _specks(rng, int(rng.poisson(rng.gamma(1.0, number))), radius * 0.85, sign * 0.07)
        for number, sign in ((population.droplets, 1.0), (population.vacuoles, -1.0))
    )
    return np.concatenate([_specks(rng, int(rng.poisson(mean)), radius, path), droplets, vacuoles])
