"""Contents of a crop: the labelled cell, its neighbours, debris, or nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .anatomy import Anatomy, draw_anatomy, draw_apoptotic, draw_dead, draw_fragment
from .hospital import Hospital, Sample
from .populations import BLAST, LEUKOCYTES, TUMOURS, Population

CELL_KINDS = {
    "single": (0.64, 0.72),
    "neighbour": (0.11, 0.11),
    "doublet": (0.06, 0.06),
    "cluster": (0.04, 0.04),
    "dead": (0.09, 0.01),
    "cut": (0.06, 0.06),
}
"""Kinds of crop with a cell, and their fractions of the leukocytes and of the carcinoma cells.

A CTC is an intact cell, as CellSearch defines it (cellsearchruo.com, "What Defines a CTC?"). That
most dying cells of an enriched sample are leukocytes is the authors' judgement.
"""

NEGATIVE_FRACTION = {"debris": 0.08, "empty": 0.04}
"""Kinds of crop without a cell, and their fractions of all crops."""

NEIGHBOUR_CTC_FRACTION = 0.2
"""Fraction of neighbours that are CTCs, independent of the cell beside them."""

HALF_RETAINED_UM, RETENTION_UM = 7.5, 0.5
"""Diameter at which enrichment keeps half of the cells, and the width of the transition.

Published diameters are of CTCs captured by surface markers. Parsortix retains cells that do not
pass a gap, of 6.5 um in its cassette GEN3D6.5; somewhat larger cells squeeze through. Their
fraction is the authors' judgement.
"""


@dataclass(frozen=True, eq=False)
class Body:
    """A cell or a piece of debris with its position, in um from the crop's middle."""

    anatomy: Anatomy
    x: float
    y: float
    carcinoma: bool
    dead: bool = False


@dataclass(frozen=True, eq=False)
class Scene:
    """All bodies of a crop; the labelled one comes first.

    Attributes:
        bodies: cells and debris.
        trim: unit vector of the side to cut off, and where, in um from the middle; None for a
            whole crop.
    """

    bodies: tuple[Body, ...]
    trim: tuple[float, float, float] | None = None


def draw_kind(rng: np.random.Generator, carcinoma: bool) -> str:
    """Draw the kind of a crop that holds a cell."""
    fractions = [by_class[carcinoma] for by_class in CELL_KINDS.values()]
    return str(rng.choice(list(CELL_KINDS), p=fractions))


def draw_scene(
    rng: np.random.Generator, kind: str, carcinoma: bool, hospital: Hospital, sample: Sample
) -> Scene:
    """Draw the content of one crop.

    Args:
        rng: the source of all draws.
        kind: a key of `CELL_KINDS` or `NEGATIVE_FRACTION`.
        carcinoma: whether the labelled cell is a CTC; ignored for debris and empty.
        hospital: for the centring of cells and the size of the crop.
        sample: for the tumour and the preparation.

    Returns:
        The scene.
    """
    x, y = rng.normal(0, hospital.centring_um, 2)
    dust = _dust(rng, hospital)
    if kind == "empty":
        return Scene(dust)
    if kind == "debris":
        pieces = int(rng.integers(1, 5))
        return Scene(
            tuple(
                Body(draw_fragment(rng), x + rng.normal(0, 1.5), y + rng.normal(0, 1.5), False)
                for _ in range(pieces)
            )
            + dust
        )
    target = _cell(rng, carcinoma, sample)
    if kind == "dead":
        body = Body(draw_dead(rng, target), x, y, carcinoma, dead=True)
        return Scene((body, *dust))
    if kind in ("doublet", "cluster"):
        return Scene((*_clump(rng, kind, target, carcinoma, sample, x, y), *dust))
    if kind == "neighbour":
        number = int(rng.integers(1, 3))
        neighbours = tuple(_beside(rng, target, x, y, sample) for _ in range(number))
        return Scene((Body(target, x, y, carcinoma), *neighbours, *dust))
    if kind == "cut":
        return _cut(rng, target, x, y, carcinoma, hospital)
    return Scene((Body(target, x, y, carcinoma), *dust))


def _population(rng: np.random.Generator, carcinoma: bool, sample: Sample) -> Population:
    if carcinoma:
        return TUMOURS[sample.tumour]
    if rng.random() < sample.blasts:
        return BLAST
    populations, fractions = zip(*LEUKOCYTES, strict=True)
    chosen: Population = populations[rng.choice(len(fractions), p=fractions)]
    return chosen


def retained(diameter: float) -> float:
    """Return the fraction of cells of a diameter, um, that enrichment retains."""
    return 1 / (1 + math.exp((HALF_RETAINED_UM - diameter) / RETENTION_UM))


def _cell(rng: np.random.Generator, carcinoma: bool, sample: Sample) -> Anatomy:
    """Draw a cell that enrichment retains, changed by the sample's preparation."""
    while True:
        population = _population(rng, carcinoma, sample)
        prepared = replace(population, diameter=population.diameter * sample.swelling)
        anatomy = draw_anatomy(rng, prepared)
        if rng.random() < retained(anatomy.diameter):
            break
    kept = rng.random(len(anatomy.blebs)) < sample.blebbing
    anatomy = replace(anatomy, index=anatomy.index * sample.index_gain, blebs=anatomy.blebs[kept])
    return draw_apoptotic(rng, anatomy) if rng.random() < population.apoptotic else anatomy


def _clump(
    rng: np.random.Generator,
    kind: str,
    target: Anatomy,
    carcinoma: bool,
    sample: Sample,
    x: float,
    y: float,
) -> tuple[Body, ...]:
    """Place two cells (a doublet) or three to five (a cluster) of one class side by side."""
    number = 2 if kind == "doublet" else int(rng.integers(3, 6))
    cells = [target, *(_cell(rng, carcinoma, sample) for _ in range(number - 1))]
    places = [0j]
    turn = rng.uniform(0, 2 * np.pi)
    for cell in cells[1:]:
        reach = 0.92 * (target.diameter + cell.diameter) / 2
        places.append(reach * np.exp(1j * turn))
        turn += rng.uniform(1.1, 1.7)
    middle = complex(np.mean(places))
    return tuple(
        Body(cell, x + (place - middle).real, y + (place - middle).imag, carcinoma)
        for cell, place in zip(cells, places, strict=True)
    )


def _beside(rng: np.random.Generator, target: Anatomy, x: float, y: float, sample: Sample) -> Body:
    carcinoma = bool(rng.random() < NEIGHBOUR_CTC_FRACTION)
    other = _cell(rng, carcinoma, sample)
    reach = (target.diameter + other.diameter) / 2 + rng.uniform(0.3, 5.0)
    place = reach * np.exp(1j * rng.uniform(0, 2 * np.pi))
    return Body(other, x + place.real, y + place.imag, carcinoma)


def _cut(
    rng: np.random.Generator,
    target: Anatomy,
    x: float,
    y: float,
    carcinoma: bool,
    hospital: Hospital,
) -> Scene:
    """Cut the cell by the crop's edge: by its position, or by the end of the camera's field."""
    dx, dy = ((1, 0), (-1, 0), (0, 1), (0, -1))[rng.integers(4)]
    inside = target.diameter / 2 * rng.uniform(-0.2, 0.7)
    if rng.random() < 0.5:
        return Scene((Body(target, x, y, carcinoma),), trim=(dx, dy, inside))
    out = hospital.crop_px * hospital.um_per_px / 2 - inside
    return Scene((Body(target, x + dx * out, y + dy * out, carcinoma),))


def _dust(rng: np.random.Generator, hospital: Hospital) -> tuple[Body, ...]:
    """Draw a speck somewhere in the crop, in one crop of eight."""
    reach = hospital.crop_px * hospital.um_per_px / 2
    x, y = rng.uniform(-reach, reach, 2)
    speck = draw_fragment(rng)
    return (Body(speck, x, y, False),) if rng.random() < 0.125 else ()
