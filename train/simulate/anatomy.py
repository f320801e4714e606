"""What cells look like from within: size, outline, nucleus, granules, refractive index.

This is the only module that knows how carcinoma cells differ from leukocytes. All lengths are
in micrometres, refractive indices relative to their surroundings.

The classes differ in many traits and in none of them fully, so that a network cannot lean on one.
Leukocytes may be granular, vacuolated, large, oval, tailed, shrunken or falling apart, and
carcinoma cells round and smooth, as patients' CTCs vary much within one patient (PMC2810476).
Diameters are published (PMC7782084), and so is that a nucleus may refract less than the cytoplasm
(PMC5647217). The other ranges are the authors' judgement, and wide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .seeds import between

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex64]
Range = tuple[float, float]

HARMONICS = 5
"""An outline's Fourier terms: the orders 2 to 6."""
_POINT = np.array([1.0, 0.85, 0.6, 0.35, 0.15])
"""Their shares in a tail: falling, so that the rest of the outline hardly ripples."""
_DEFORMED_ELONGATION, _DEFORMED_ROUGHNESS = (1.0, 1.8), (0.03, 0.10)
"""How cells look that crawl, are polarised, or were squeezed: long, or as wide but with corners."""


@dataclass(frozen=True)
class Population:
    """How the cells of one kind are distributed.

    Attributes:
        diameter: median diameter.
        spread: standard deviation of the logarithm of the diameter.
        elongation: long axis over short axis.
        flatness: height over diameter; 1 is a ball.
        roughness: relative amplitude of the outline's Fourier terms.
        deformed: share of cells that crawl or were squeezed: see `_DEFORMED_ELONGATION`.
        blebs: mean number of blebs.
        tailed: share of cells that end in a point or a tuft on one side: see `_tail`, `_tuft`.
        apoptotic: share of cells that have shrunk and fall apart: see `draw_apoptotic`.
        index: refractive index of the cytoplasm, above the medium's.
        nucleus_ratio: diameter of a disc of the nucleus's area, over the cell's diameter.
        eccentricity: how far the nucleus lies off centre, as a share of the room it has.
        lobes: smallest and largest number of the nucleus's lobes.
        lobe_gap: distance between neighbouring lobes, in lobe radii.
        nucleus_roughness: as `roughness`, of the nucleus.
        nucleus_index: refractive index of the nucleus, above the cytoplasm's.
        chromatin: grain of the chromatin.
        chromatin_contrast: relative variation of the chromatin's density.
        nucleoli: mean number of nucleoli.
        granules: mean number of granules in a cell of 10 um.
        granule: diameter of a granule.
        granule_path: optical path through a granule, above the cytoplasm's.
        droplets: mean number of lipid droplets, which are large and refract strongly.
        vacuoles: mean number of vacuoles.
    """

    diameter: float
    spread: float
    elongation: Range
    flatness: Range
    roughness: Range
    deformed: float
    blebs: float
    tailed: float
    apoptotic: float
    index: Range
    nucleus_ratio: Range
    eccentricity: Range
    lobes: tuple[int, int]
    lobe_gap: Range
    nucleus_roughness: Range
    nucleus_index: Range
    chromatin: Range
    chromatin_contrast: Range
    nucleoli: float
    granules: float
    granule: Range
    granule_path: Range
    droplets: float
    vacuoles: float


LYMPHOCYTE = Population(
    diameter=8.3,
    spread=0.12,
    elongation=(1.0, 1.20),
    flatness=(0.7, 1.0),
    roughness=(0.003, 0.030),
    deformed=0.12,
    blebs=0.4,
    tailed=0.12,
    apoptotic=0.05,
    index=(0.020, 0.046),
    nucleus_ratio=(0.70, 0.94),
    eccentricity=(0.0, 0.8),
    lobes=(1, 1),
    lobe_gap=(0.0, 0.0),
    nucleus_roughness=(0.01, 0.05),
    nucleus_index=(-0.010, 0.009),
    chromatin=(0.35, 0.85),
    chromatin_contrast=(0.05, 0.30),
    nucleoli=0.3,
    granules=18.0,
    granule=(0.2, 0.65),
    granule_path=(0.005, 0.060),
    droplets=0.2,
    vacuoles=0.5,
)
GRANULOCYTE = replace(
    LYMPHOCYTE,
    diameter=9.9,
    nucleus_ratio=(0.48, 0.70),
    lobes=(2, 5),
    lobe_gap=(1.0, 1.9),
    nucleoli=0.0,
    granules=90.0,
    granule=(0.2, 0.85),
    granule_path=(0.010, 0.075),
    droplets=0.5,
)
MONOCYTE = replace(
    LYMPHOCYTE,
    diameter=11.2,
    spread=0.13,
    elongation=(1.0, 1.32),
    roughness=(0.006, 0.045),
    deformed=0.20,
    blebs=0.7,
    nucleus_ratio=(0.56, 0.78),
    lobes=(2, 3),
    lobe_gap=(0.5, 0.9),
    granules=45.0,
    droplets=0.8,
    vacuoles=2.0,
    granule=(0.25, 0.85),
    granule_path=(0.008, 0.070),
)
BLAST = replace(
    LYMPHOCYTE,
    diameter=12.4,
    spread=0.14,
    elongation=(1.0, 1.32),
    roughness=(0.003, 0.036),
    deformed=0.20,
    blebs=0.7,
    tailed=0.15,
    apoptotic=0.12,
    nucleus_ratio=(0.62, 0.90),
    nucleoli=2.0,
    granules=60.0,
    granule=(0.30, 1.00),
    granule_path=(0.010, 0.080),
    droplets=1.5,
    vacuoles=2.0,
    nucleus_index=(-0.008, 0.018),
    chromatin=(0.40, 1.1),
    chromatin_contrast=(0.08, 0.42),
)
"""A leukocyte that divides: activated, leukaemic or of a culture, as large as a carcinoma cell."""
AGED = replace(
    GRANULOCYTE,
    diameter=7.0,
    spread=0.20,
    elongation=(1.0, 1.5),
    roughness=(0.01, 0.11),
    deformed=0.4,
    blebs=2.0,
    index=(0.030, 0.085),
    nucleus_ratio=(0.35, 0.65),
    lobes=(1, 3),
    lobe_gap=(0.8, 1.9),
    nucleus_index=(0.0, 0.035),
    chromatin_contrast=(0.02, 0.10),
    granules=40.0,
    vacuoles=2.0,
)
"""A neutrophil hours or days after the blood was drawn: shrunken, dense and irregular."""
LEUKOCYTES: tuple[tuple[Population, float], ...] = (
    (LYMPHOCYTE, 0.31),
    (GRANULOCYTE, 0.28),
    (AGED, 0.11),
    (MONOCYTE, 0.11),
    (BLAST, 0.19),
)
"""Leukocytes and their shares: a median diameter of 9.4 um (PMC7782084), a few of them large."""

CARCINOMA = Population(
    diameter=10.0,
    spread=0.18,
    elongation=(1.02, 1.35),
    flatness=(0.65, 1.0),
    roughness=(0.020, 0.095),
    deformed=0.20,
    blebs=2.2,
    tailed=0.03,
    apoptotic=0.0,
    index=(0.034, 0.062),
    nucleus_ratio=(0.50, 0.82),
    eccentricity=(0.1, 1.0),
    lobes=(1, 1),
    lobe_gap=(0.0, 0.0),
    nucleus_roughness=(0.04, 0.14),
    nucleus_index=(-0.012, 0.030),
    chromatin=(0.6, 1.4),
    chromatin_contrast=(0.17, 0.50),
    nucleoli=2.6,
    granules=40.0,
    granule=(0.45, 1.20),
    granule_path=(0.018, 0.065),
    droplets=1.5,
    vacuoles=1.2,
)
TUMOURS: dict[str, Population] = {
    "breast": replace(CARCINOMA, diameter=12.4),
    "prostate": replace(CARCINOMA, diameter=10.3),
    "colorectal": replace(CARCINOMA, diameter=7.5),
    "bladder": replace(CARCINOMA, diameter=8.6),
    "cultured": replace(CARCINOMA, diameter=17.8, spread=0.08),
}
"""Median diameters of patients' CTCs (PMC7782084), and of cultured lines (15 to 21 um)."""

FRAGMENT = replace(
    CARCINOMA,
    diameter=3.4,
    spread=0.50,
    elongation=(1.0, 2.2),
    flatness=(0.4, 1.0),
    roughness=(0.02, 0.14),
    blebs=0.8,
    tailed=0.0,
    apoptotic=0.0,
    index=(0.015, 0.10),
    nucleus_ratio=(0.0, 0.0),
    nucleoli=0.0,
    granules=20.0,
    vacuoles=0.0,
)
"""A piece of debris: a body without a nucleus, from a platelet upwards."""

REMAINS = replace(
    FRAGMENT,
    diameter=5.5,
    spread=0.35,
    elongation=(1.0, 1.6),
    blebs=2.5,
    index=(0.03, 0.11),
    granules=40.0,
)
"""What a dead cell leaves: a dense body, often in several pieces."""


@dataclass(frozen=True, eq=False)
class Lobe:
    """A rough disc: one lobe of a nucleus, relative to the cell's centre."""

    x: float
    y: float
    radius: float
    elongation: float
    angle: float
    outline: Complexes


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One cell, or piece of debris, with everything that light notices.

    Attributes:
        body: the cell's outline.
        height: largest thickness.
        blebs: (n, 3) centre x, y and radius.
        index: refractive index of the cytoplasm, above the medium's.
        absorption: share of the optical path that is lost as absorption.
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
            population, elongation=_DEFORMED_ELONGATION, roughness=_DEFORMED_ROUGHNESS
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
    """Draw one piece of debris: transparent remains of a cell, or a fragment, some of it dark."""
    if rng.random() < 0.5:
        return draw_anatomy(rng, REMAINS)
    return replace(draw_anatomy(rng, FRAGMENT), absorption=float(rng.choice((0.0, 0.2, 0.8))))


def draw_dead(rng: np.random.Generator, alive: Anatomy) -> Anatomy:
    """Return a cell as it looks dead: shrunken, dense and blebbing, or pale and leaky."""
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
        nucleus=_shrunken(alive.nucleus, condensed),
        nucleus_index=float(rng.uniform(0.0, 0.035)),
        chromatin_contrast=0.05,
        nucleoli=np.zeros((0, 3), np.float32),
        blebs=_blebs(rng, 3.0, radius),
        index=alive.index * rng.uniform(1.0, 1.9),
        granules=alive.granules * np.array([shrinkage, shrinkage, 1.0], np.float32),
    )


def draw_apoptotic(rng: np.random.Generator, alive: Anatomy) -> Anatomy:
    """Return a cell as it looks in apoptosis: shrunken, dense, and most often in smooth lobes."""
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
        nucleus=_shrunken(alive.nucleus, shrinkage),
        blebs=_around(distance, turns, sizes),
        index=alive.index * rng.uniform(1.0, 1.7),
        nucleoli=alive.nucleoli[:0],
        granules=alive.granules * np.array([shrinkage, shrinkage, 1.0], np.float32),
    )


def _shrunken(nucleus: tuple[Lobe, ...], by: float) -> tuple[Lobe, ...]:
    """Draw the lobes of a nucleus in, towards the cell's centre."""
    return tuple(
        replace(lobe, x=lobe.x * by, y=lobe.y * by, radius=lobe.radius * by) for lobe in nucleus
    )


def _around(distance: Doubles, turns: Doubles, trait: Doubles) -> Floats:
    """Place things around the cell's centre, (n, 3): x, y and a trait of each."""
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
    """Draw the lobes, strung along an arc, together of the drawn ratio's area."""
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
    return _around(distance, turns, sizes)


def _tail(rng: np.random.Generator) -> Complexes:
    """Draw what pulls an outline out into a point on one side, as a teardrop."""
    orders = np.arange(2, 2 + HARMONICS)
    reach, turn = rng.uniform(0.15, 0.5), rng.uniform(0, 2 * np.pi)
    return np.asarray(reach * _POINT / _POINT.sum() * np.exp(-1j * orders * turn), np.complex64)


def _tuft(rng: np.random.Generator, radius: float) -> Floats:
    """Draw small blebs side by side, as at the rear of a cell that crawls: x, y and radius."""
    number = int(rng.integers(2, 7))
    turns = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.2, number)
    distance = radius * rng.uniform(0.9, 1.3, number)
    sizes = radius * rng.uniform(0.07, 0.20, number)
    return _around(distance, turns, sizes)


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
    """Draw points in a disc, crowding to one side in some cells: x, y and optical path."""
    distance = radius * 0.92 * np.sqrt(rng.random(number))
    turns = rng.uniform(0, 2 * np.pi) + rng.uniform(0.35, 1.0) * rng.uniform(-np.pi, np.pi, number)
    paths = path * rng.gamma(3.0, 1 / 3, number)
    return _around(distance, turns, paths)


def _granules(rng: np.random.Generator, population: Population, radius: float) -> Floats:
    mean = population.granules * (radius / 5.0) ** 2 * rng.gamma(1.5, 1 / 1.5)
    path = max(between(rng, population.granule_path), 0.004)
    droplets, vacuoles = (
        _specks(rng, int(rng.poisson(rng.gamma(1.0, number))), radius * 0.85, share * 0.07)
        for number, share in ((population.droplets, 1.0), (population.vacuoles, -1.0))
    )
    return np.concatenate([_specks(rng, int(rng.poisson(mean)), radius, path), droplets, vacuoles])
