"""Gates from a sample's own leukocytes.

There are too few CTCs to estimate their distribution, but thousands of leukocytes. No gate is
therefore fitted to CTCs: the cytokeratin gate is the upper end of the cytokeratin of CD45+ cells,
and the CD45 gate the lower end of the CD45 of cytokeratin-negative cells. Both are quantiles of a
normal tail on the logarithmic axis, as one cell in thousands cannot be counted.

Bleed-through is not subtracted, as there are too few CTCs to measure it. CD45 that bleeds into the
channel of cytokeratin widens the distribution of leukocytes there, and so moves that gate;
cytokeratin that bleeds into the channel of CD45 makes a bright CTC double-positive, which a person
has to review.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks
from scipy.stats import gaussian_kde, norm

from .stains import CD45, CYTOKERATIN, NUCLEUS, Stains

Floats = NDArray[np.float64]

BEYOND = 0.01
"""Fraction of leukocytes beyond one gate."""

FALSE_CTCS = 0.05
"""Expected number of leukocytes per sample in the region of CTCs, for normal tails.

Tails are not exactly normal: in simulated samples there were two to five times as many."""

MIN_LEUKOCYTES = 100
"""Minimum number of CD45+ cells for an estimate of their distribution's end."""

STRATA = (
    "CTC",
    "leukocyte",
    "double-positive",
    "double-negative",
    "near-gate",
    "cluster",
    "no-nucleus",
)

_RELATIVE_ERROR = 0.1  # of a signal, from focus, uneven light and the position of the disk
_PATCHES = 14  # of a disk with independent noise
_NUCLEUS = (0.03, 0.3)  # range of the DAPI gate, in signals of a typical nucleus
_LONG, _ROUND = 1.35, 0.62  # a clump is longer, in typical lengths, and less round
_CORE = 1.5  # standard deviations around the middle that are of one population
_CORE_SHRINKS = 0.7426  # standard deviation of a normal distribution truncated at +-1.5
_TAIL = np.array([0.84, 0.95, 0.98])  # quantiles of which the widest normal tail is used
_Z = float(norm.isf(BEYOND))


class GateError(ValueError):
    """A sample's stains cannot be gated; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class PopulationEnd:
    """The end of a population on an axis, as a normal tail.

    Attributes:
        middle: of the population.
        spread: standard deviation of the tail; negative for the lower tail.
        count: number of cells of the estimate.
    """

    middle: float
    spread: float
    count: int

    @property
    def gate(self) -> float:
        """Value that a fraction `BEYOND` of the population exceeds."""
        return self.middle + _Z * self.spread

    @property
    def error(self) -> float:
        """Standard error of `gate`."""
        return abs(self.spread) * float(np.sqrt((1 + _Z**2 / 2) / self.count))

    def depth(self, values: Floats) -> Floats:
        """Return the distance of values into the tail, in standard deviations."""
        return (values - self.middle) / self.spread


@dataclass(frozen=True, slots=True)
class Gates:
    """Ends of a sample's populations, on the axes of `axes`.

    Attributes:
        scale: (3,) grey levels below which an axis is linear, in the order of `stains.STAINS`.
        nucleus: cells below it have no nucleus.
        cytokeratin: upper end of CD45+ cells.
        cd45: lower end of cytokeratin-negative cells.
        corner: minimum sum of both depths of a CTC, which `FALSE_CTCS` leukocytes exceed.
    """

    scale: Floats
    nucleus: float
    cytokeratin: PopulationEnd
    cd45: PopulationEnd
    corner: float

    def axes(self, signal: Floats) -> Floats:
        """Transform signals, (n, 3) grey levels: linear near 0 and logarithmic above."""
        return np.arcsinh(signal / self.scale)


@dataclass(frozen=True, slots=True)
class GatedSample:
    """The cells of one sample.

    Attributes:
        gates: ends of the populations.
        position: (n, 3) on the gates' axes, in the order of `stains.STAINS`.
        stratum: (n,) text, of `STRATA`.
        label: (n,) text, `CTC`, `other` or empty.
    """

    gates: Gates
    position: Floats
    stratum: NDArray[np.str_]
    label: NDArray[np.str_]


def gate(cells: Sequence[Stains]) -> GatedSample:
    """Gate the cells of one sample.

    The strata, in order of precedence, and their label by the stains:

    - `no-nucleus`, no DAPI: other, since a CTC has a nucleus.
    - `near-gate`, within the errors of a gate, or beyond both gates but within what chance explains
      (`Gates.corner`): none.
    - `cluster`, long and not round, that is several cells: other where the central one is stained
      like a leukocyte, else none, as a CTC may only touch it.
    - `CTC`, cytokeratin without CD45: CTC.
    - `leukocyte`, CD45 without cytokeratin: other.
    - `double-positive`, a coated CTC, bleed-through or a sticky leukocyte: none.
    - `double-negative`, a CTC without cytokeratin, or a weakly stained leukocyte: none.

    Raises:
        GateError: the sample has too few leukocytes, their CD45 is not above the background, or a
            stain has no signal.
    """
    if len(cells) < MIN_LEUKOCYTES:
        raise GateError(
            f"only {len(cells)} cells with all stains in one size; {MIN_LEUKOCYTES} are needed"
        )
    signal = np.array([cell.signal for cell in cells])
    noise = np.array([cell.noise for cell in cells])
    scale = np.maximum(np.median(noise, axis=0) / 2, 1e-6)
    position = np.arcsinh(signal / scale)
    _require_signal(signal[:, 0], "nucleus", NUCLEUS)
    slope = 1 / np.hypot(signal, scale)
    error = slope * np.hypot(noise / np.sqrt(_PATCHES), _RELATIVE_ERROR * signal)
    dapi, cytokeratin, cd45 = position.T

    nucleus = _nucleus_gate(signal[:, 0], float(np.median(noise[:, 0])), scale[0])
    clump = _clumps(cells, dapi > nucleus)
    alone = (dapi > nucleus) & ~clump
    if alone.sum() < MIN_LEUKOCYTES:
        raise GateError(
            f"only {alone.sum()} single cells with a nucleus; {MIN_LEUKOCYTES} are needed"
        )
    _require_signal(cytokeratin[alone], "cytokeratin", CYTOKERATIN)
    _require_signal(cd45[alone], "CD45", CD45)
    positive, of_cytokeratin, of_cd45 = _leukocytes(cytokeratin, cd45, alone)
    if of_cd45.middle < np.arcsinh(2 * np.median(noise[alone, 2]) / scale[2]):
        raise GateError("no CD45+ population is above the background")
    gates = Gates(
        scale,
        nucleus,
        of_cytokeratin,
        of_cd45,
        _corner(position, of_cytokeratin, of_cd45, positive),
    )

    bright, pale = cytokeratin > of_cytokeratin.gate, cd45 < of_cd45.gate
    no_nucleus = dapi < nucleus - error[:, 0]
    near = (
        (np.abs(dapi - nucleus) < error[:, 0])
        | (np.abs(cytokeratin - of_cytokeratin.gate) < np.hypot(error[:, 1], of_cytokeratin.error))
        | (np.abs(cd45 - of_cd45.gate) < np.hypot(error[:, 2], of_cd45.error))
        | (bright & pale & (_depths(position, of_cytokeratin, of_cd45).sum(axis=1) < gates.corner))
    )
    ctc, leukocyte = bright & pale, ~bright & ~pale
    stratum = np.select(
        [no_nucleus, near, clump, ctc, leukocyte, bright],
        ["no-nucleus", "near-gate", "cluster", "CTC", "leukocyte", "double-positive"],
        "double-negative",
    )
    label = np.select(
        [no_nucleus, near, ctc & ~clump, leukocyte], ["other", "", "CTC", "other"], ""
    )
    return GatedSample(gates, position, stratum, label)


def _require_signal(values: Floats, shown: str, stain: str) -> None:
    """Refuse a stain with equal measurements of all cells, as in black images."""
    if values.min() == values.max():
        raise GateError(
            f"no {shown} signal: its {stain} images all measure the same; check that this channel"
            " was illuminated, exposed and exported"
        )


def _nucleus_gate(signal: Floats, noise: float, scale: float) -> float:
    """Return the minimum of the density of DAPI between noise and a typical nucleus."""
    low, high = np.array(_NUCLEUS) * np.quantile(signal, 0.75)
    low = max(low, 3 * noise)
    first, last = np.arcsinh(np.array([low, max(high, 1.5 * low)]) / scale).tolist()
    grid = np.linspace(first, last, 100)
    density = gaussian_kde(np.arcsinh(signal / scale), 0.1)(grid)
    return float(grid[np.argmin(density)])


def _clumps(cells: Sequence[Stains], nucleated: NDArray[np.bool_]) -> NDArray[np.bool_]:
    length = np.array([cell.length for cell in cells])
    roundness = np.array([cell.roundness for cell in cells])
    typical = np.median(length[nucleated]) if nucleated.any() else np.inf
    return (length > _LONG * typical) & (roundness < _ROUND)


def _leukocytes(
    cytokeratin: Floats, cd45: Floats, alone: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], PopulationEnd, PopulationEnd]:
    """Find the CD45+ cells among the single ones, and their ends in both stains.

    The end in one stain is estimated on the half that is farthest from CTCs in the other stain,
    with almost no CTCs even if half of the sample is CTCs.
    """
    middle, spread = _uppermost(cd45[alone])
    positive = alone & (cd45 > middle - _CORE * spread)
    if positive.sum() < MIN_LEUKOCYTES:
        raise GateError(f"only {positive.sum()} CD45+ cells; {MIN_LEUKOCYTES} are needed")
    of_cytokeratin = _upper_end(cytokeratin[alone & (cd45 > middle)])
    # Most leukocytes may have the lowest value where the camera clips dark pixels.
    mirrored = _upper_end(-cd45[alone & (cytokeratin <= of_cytokeratin.middle)])
    return (
        positive,
        of_cytokeratin,
        PopulationEnd(-mirrored.middle, -mirrored.spread, mirrored.count),
    )


def _uppermost(values: Floats) -> tuple[float, float]:
    """Return middle and standard deviation of the population with the largest values."""
    grid = np.linspace(values.min(), values.max(), 200)
    density = np.concatenate(([0], gaussian_kde(values)(grid), [0]))
    peaks, _ = find_peaks(density, prominence=0.05 * density.max())
    middle = float(grid[peaks[-1] - 1])
    spread = float(np.quantile(values[values >= middle], 0.683)) - middle
    for _ in range(20):
        core = values[np.abs(values - middle) <= _CORE * spread]
        middle, spread = float(core.mean()), float(core.std()) / _CORE_SHRINKS
    return middle, spread


def _upper_end(values: Floats) -> PopulationEnd:
    middle = float(np.median(values))
    widest = float(((np.quantile(values, _TAIL) - middle) / norm.ppf(_TAIL)).max())
    return PopulationEnd(middle, max(widest, 1e-6), len(values))


def _corner(
    position: Floats, cytokeratin: PopulationEnd, cd45: PopulationEnd, positive: NDArray[np.bool_]
) -> float:
    """Return the sum of depths that `FALSE_CTCS` leukocytes exceed, if jointly normal."""
    depths = _depths(position[positive], cytokeratin, cd45)
    core = (np.abs(depths) < 2).all(axis=1)
    with np.errstate(invalid="ignore"):  # no correlation where one is constant: then 0
        together = max(0.0, float(np.corrcoef(*depths[core].T)[0, 1]))
    return float(norm.isf(FALSE_CTCS / positive.sum()) * np.sqrt(2 + 2 * together))


def _depths(position: Floats, cytokeratin: PopulationEnd, cd45: PopulationEnd) -> Floats:
    """Return (n, 2): distances of cells from the leukocytes towards CTCs."""
    return np.stack((cytokeratin.depth(position[:, 1]), cd45.depth(position[:, 2])), axis=1)
