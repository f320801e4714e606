"""How carcinoma cells and leukocytes are distributed: size, outline, nucleus, granules, index.

This is the only module that knows how the classes differ. All lengths are in micrometres,
refractive indices relative to their surroundings.

The classes differ in many traits and overlap in each of them, so that a network cannot rely on a
single one. Leukocytes may be granular, vacuolated, large, oval, tailed, shrunken or apoptotic, and
carcinoma cells round and smooth, as patients' CTCs vary much within one patient (PMC2810476).
Diameters are published (PMC7782084), and so is that a nucleus may refract less than the cytoplasm
(PMC5647217). The other ranges are the authors' judgement, and wide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

Range = tuple[float, float]

DEFORMED_ELONGATION: Range = (1.0, 1.8)
DEFORMED_ROUGHNESS: Range = (0.03, 0.10)
"""Cells that migrate, are polarised or were squeezed are elongated, or wide with corners."""


@dataclass(frozen=True)
class Population:
    """How the cells of one kind are distributed.

    Attributes:
        diameter: median diameter.
        spread: standard deviation of the logarithm of the diameter.
        elongation: long axis over short axis.
        flatness: height over diameter; 1 is a ball.
        roughness: relative amplitude of the outline's Fourier terms.
        deformed: fraction of cells that migrate or were squeezed; see `DEFORMED_ELONGATION`.
        blebs: mean number of blebs.
        tailed: fraction of cells that end in a point or a tuft on one side.
        apoptotic: fraction of cells that have shrunk and fall apart; see `draw_apoptotic`.
        index: refractive index of the cytoplasm, above the medium's.
        nucleus_ratio: diameter of a disc of the nucleus's area, over the cell's diameter.
        eccentricity: how far the nucleus lies off centre, as a fraction of the available room.
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
"""A dividing leukocyte (activated, leukaemic or cultured), as large as a carcinoma cell."""
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
"""Leukocytes and their fractions: a median diameter of 9.4 um (PMC7782084), a few of them large."""

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
"""Debris: a body without a nucleus, the size of a platelet or larger."""

REMAINS = replace(
    FRAGMENT,
    diameter=5.5,
    spread=0.35,
    elongation=(1.0, 1.6),
    blebs=2.5,
    index=(0.03, 0.11),
    granules=40.0,
)
"""Remains of a dead cell: a dense body, often in several pieces."""
