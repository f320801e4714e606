"""Gates from a sample's own leukocytes.

CTCs are a handful among thousands: too few to show where they begin. Leukocytes are plenty, and
show where they end. So no gate is fitted to CTCs: the cytokeratin gate is where the cytokeratin of
CD45+ cells ends, the CD45 gate where the CD45 of cytokeratin-negative cells ends. Both are read
off a normal tail on the logarithmic axis, since one cell in thousands cannot be counted.

Bleed-through is not subtracted, as CTCs are too few to measure it. CD45 that shines into
cytokeratin's channel widens the leukocytes' distribution there, and so moves that gate; cytokeratin
that shines into CD45's makes a bright CTC double-positive, for a person to look at.
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
"""Share of leukocytes that may lie beyond one gate."""

FALSE_CTCS = 0.05
"""Leukocytes of a sample that may lie where CTCs are called, on average, were tails normal.

Tails are not, quite: in simulated samples it was two to five times as many."""

MIN_LEUKOCYTES = 100
"""Below this number of CD45+ cells, nobody knows where they end."""

STRATA = (
    "CTC",
    "leukocyte",
    "double-positive",
    "double-negative",
    "near-gate",
    "cluster",
    "no-nucleus",
)

_RELATIVE_ERROR = 0.1  # of a signal, through focus, uneven light and the place of the disk
_PATCHES = 14  # of a disk that noise covers independently of each other
_NUCLEUS = (0.03, 0.3)  # where the DAPI gate may lie, in signals of a typical nucleus
_LONG, _ROUND = 1.35, 0.62  # a clump is longer than this, in typical lengths, and less round
_CORE = 1.5  # standard deviations about the middle that are surely of one population
_CORE_SHRINKS = 0.7426  # standard deviation of a normal distribution cut at +-1.5
_TAIL = np.array([0.84, 0.95, 0.98])  # quantiles whose widest normal tail is taken
_Z = float(norm.isf(BEYOND))


class GateError(ValueError):
    """A sample's stains cannot be gated; the text says why."""


@dataclass(frozen=True, slots=True)
class PopulationEnd:
    """Where a population ends on an axis: a normal tail.

    Attributes:
        middle: of the population.
        spread: standard deviation of the tail; negative where it is the lower tail.
        count: number of cells that it comes from.
    """

    middle: float
    spread: float
    count: int

    @property
    def gate(self) -> float:
        """What a share `BEYOND` of the population lies beyond."""
        return self.middle + _Z * self.spread

    @property
    def error(self) -> float:
        """Standard error of `gate`."""
        return abs(self.spread) * float(np.sqrt((1 + _Z**2 / 2) / self.count))

    def depth(self, values: Floats) -> Floats:
        """How far values lie into the tail, in standard deviations."""
        return (values - self.middle) / self.spread


@dataclass(frozen=True, slots=True)
class Gates:
    """Where a sample's populations end, on the axes of `axes`.

    Attributes:
        scale: (3,) grey levels below which an axis is linear, in the order of `stains.STAINS`.
        nucleus: cells below have no nucleus.
        cytokeratin: upper end of CD45+ cells.
        cd45: lower end of cytokeratin-negative cells.
        corner: least sum of both depths of a CTC: beyond it there are `FALSE_CTCS` leukocytes.
    """

    scale: Floats
    nucleus: float
    cytokeratin: PopulationEnd
    cd45: PopulationEnd
    corner: float

    def axes(self, signal: Floats) -> Floats:
        """Signals (n, 3) in grey levels, made linear near 0 and logarithmic above."""
        return np.arcsinh(signal / self.scale)


@dataclass(frozen=True, slots=True)
class GatedSample:
    """The cells of one sample.

    Attributes:
        gates: where populations end.
        place: (n, 3) on the gates' axes, in the order of `stains.STAINS`.
        stratum: (n,) text, of `STRATA`.
        label: (n,) text, `CTC`, `other` or empty.
    """

    gates: Gates
    place: Floats
    stratum: NDArray[np.str_]
    label: NDArray[np.str_]


def gate(cells: Sequence[Stains]) -> GatedSample:
    """Gate the cells of one sample.

    The strata, in the order in which they claim a cell, and the label that the stains decide:

    - `no-nucleus`, no DAPI: other, since a CTC has a nucleus.
    - `near-gate`, within the errors of a gate, or beyond both gates but not so far that chance is
      ruled out (`Gates.corner`): none.
    - `cluster`, long and not round, so several cells: other where the central one is stained as a
      leukocyte, else none, as a CTC may only touch it.
    - `CTC`, cytokeratin without CD45: CTC.
    - `leukocyte`, CD45 without cytokeratin: other.
    - `double-positive`, a coated CTC, bleed-through or a sticky leukocyte: none.
    - `double-negative`, a CTC that lost cytokeratin, or a pale leukocyte: none.

    Raises:
        GateError: the sample has too few leukocytes, their CD45 does not stand out, or a stain
            shows nothing.
    """
    if len(cells) < MIN_LEUKOCYTES:
        raise GateError(
            f"only {len(cells)} cells with all stains in one size; {MIN_LEUKOCYTES} are needed"
        )
    signal = np.array([cell.signal for cell in cells])
    noise = np.array([cell.noise for cell in cells])
    scale = np.maximum(np.median(noise, axis=0) / 2, 1e-6)
    place = np.arcsinh(signal / scale)
    _require_signal(signal[:, 0], "nucleus", NUCLEUS)
    slope = 1 / np.hypot(signal, scale)
    error = slope * np.hypot(noise / np.sqrt(_PATCHES), _RELATIVE_ERROR * signal)
    dapi, cytokeratin, cd45 = place.T

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
        raise GateError("no CD45+ population stands out from the background")
    gates = Gates(
        scale, nucleus, of_cytokeratin, of_cd45, _corner(place, of_cytokeratin, of_cd45, positive)
    )

    bright, pale = cytokeratin > of_cytokeratin.gate, cd45 < of_cd45.gate
    no_nucleus = dapi < nucleus - error[:, 0]
    near = (
        (np.abs(dapi - nucleus) < error[:, 0])
        | (np.abs(cytokeratin - of_cytokeratin.gate) < np.hypot(error[:, 1], of_cytokeratin.error))
        | (np.abs(cd45 - of_cd45.gate) < np.hypot(error[:, 2], of_cd45.error))
        | (bright & pale & (_depths(place, of_cytokeratin, of_cd45).sum(axis=1) < gates.corner))
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
    return GatedSample(gates, place, stratum, label)


def _require_signal(values: Floats, shown: str, stain: str) -> None:
    """Refuse a stain in which all cells measure the same, as in black images."""
    if values.min() == values.max():
        raise GateError(
            f"no {shown} signal: its {stain} images all measure alike; see that this channel was"
            " lit, exposed and exported"
        )


def _nucleus_gate(signal: Floats, noise: float, scale: float) -> float:
    """Where DAPI is rarest between that of noise and that of a typical nucleus."""
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
    """Find the CD45+ cells among those that lie alone, and their ends in both stains.

    The end in one stain comes from the half that is farthest from CTCs in the other, where there
    are next to none even if half of the sample is CTCs.
    """
    middle, spread = _uppermost(cd45[alone])
    positive = alone & (cd45 > middle - _CORE * spread)
    if positive.sum() < MIN_LEUKOCYTES:
        raise GateError(f"only {positive.sum()} CD45+ cells; {MIN_LEUKOCYTES} are needed")
    of_cytokeratin = _upper_end(cytokeratin[alone & (cd45 > middle)])
    # Most leukocytes may share the least value where the camera cuts off the dark.
    mirrored = _upper_end(-cd45[alone & (cytokeratin <= of_cytokeratin.middle)])
    return (
        positive,
        of_cytokeratin,
        PopulationEnd(-mirrored.middle, -mirrored.spread, mirrored.count),
    )


def _uppermost(values: Floats) -> tuple[float, float]:
    """Middle and standard deviation of the population of the largest values."""
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
    place: Floats, cytokeratin: PopulationEnd, cd45: PopulationEnd, positive: NDArray[np.bool_]
) -> float:
    """The sum of depths that only `FALSE_CTCS` leukocytes exceed, were they jointly normal."""
    depths = _depths(place[positive], cytokeratin, cd45)
    core = (np.abs(depths) < 2).all(axis=1)
    with np.errstate(invalid="ignore"):  # no correlation where one does not vary: then 0
        together = max(0.0, float(np.corrcoef(*depths[core].T)[0, 1]))
    return float(norm.isf(FALSE_CTCS / positive.sum()) * np.sqrt(2 + 2 * together))


def _depths(place: Floats, cytokeratin: PopulationEnd, cd45: PopulationEnd) -> Floats:
    """(n, 2): how far cells lie towards CTCs, out of the leukocytes."""
    return np.stack((cytokeratin.depth(place[:, 1]), cd45.depth(place[:, 2])), axis=1)
