"""Draw the gates of all samples, for a visual check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ctcedge.fs.files import atomic_writer

from .gates import STRATA, GatedSample

MAX_SAMPLES = 24
"""Maximum number of samples in a picture."""

# The colours of Okabe and Ito, which are distinct for colour-blind people.
_COLOURS = dict(
    zip(
        STRATA,
        ("#D55E00", "#0072B2", "#CC79A7", "#56B4E9", "#E69F00", "#009E73", "#999999"),
        strict=True,
    )
)
_COLUMNS = 4  # samples side by side
_STRONG = ("CTC", "double-positive", "double-negative", "near-gate")  # few: drawn large and last


def draw_gates(path: Path, gated: dict[str, GatedSample]) -> None:
    """Write a PNG with, for each sample, CK against CD45 with its gates, and DAPI below.

    Args:
        path: of the PNG.
        gated: by sample; the first `MOST_SAMPLES` are drawn.
    """
    shown = list(gated.items())[:MAX_SAMPLES]
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(1.2 + 3.9 * columns, 1.1 + 5.0 * rows), layout="constrained")
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[3.4, 1] * rows)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, (sample, gated_sample) in enumerate(shown):
        row, column = divmod(number, columns)
        upper, lower = grid[2 * row, column], grid[2 * row + 1, column]
        _draw_quadrants(upper, gated_sample)
        _draw_nuclei(lower, gated_sample)
        upper.set_title(f"{sample}: {len(gated_sample.stratum):,} cells", fontsize=10)
    handles = [
        grid[0, 0].plot([], [], "o", color=colour, label=stratum)[0]
        for stratum, colour in _COLOURS.items()
    ]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=min(len(STRATA), 2 * columns + 1),
        fontsize=9,
        frameon=False,
    )
    more = len(gated) - len(shown)
    note = f". {more:,} more samples are not shown" if more else ""
    figure.supxlabel(f"Lines: gates. Dashed: CTCs are above and left{note}", fontsize=9)
    with atomic_writer(path) as file:
        figure.savefig(file, dpi=110, format="png")


def _draw_quadrants(axes: Axes, sample: GatedSample) -> None:
    gates = sample.gates
    cytokeratin, cd45 = sample.position[:, 1], sample.position[:, 2]
    axes.set_axis_on()
    for stratum in sorted(STRATA, key=_STRONG.__contains__):
        chosen = sample.stratum == stratum
        strong = stratum in _STRONG
        axes.scatter(
            cd45[chosen],
            cytokeratin[chosen],
            s=14 if stratum == "CTC" else 6 if strong else 2,
            color=_COLOURS[stratum],
            alpha=0.9 if strong else 0.35,
            linewidths=0,
            rasterized=True,
        )
    axes.axhline(gates.cytokeratin.gate, color="black", linewidth=0.8)
    axes.axvline(gates.cd45.gate, color="black", linewidth=0.8)
    _draw_corner(axes, sample)
    axes.set_xlabel("CD45, grey levels")
    axes.set_ylabel("cytokeratin, grey levels")
    _grey_levels(axes, "x", cd45, gates.scale[2])
    _grey_levels(axes, "y", cytokeratin, gates.scale[1])
    axes.set_box_aspect(1)


def _draw_corner(axes: Axes, sample: GatedSample) -> None:
    """Draw the line that on average `FALSE_CTCS` leukocytes exceed by chance."""
    ends = sample.gates.cytokeratin, sample.gates.cd45
    at_gate = (ends[0].gate - ends[0].middle) / ends[0].spread
    depths = np.array([at_gate, sample.gates.corner - at_gate])
    if depths[0] < depths[1]:
        axes.plot(
            ends[1].middle + depths * ends[1].spread,
            ends[0].middle + depths[::-1] * ends[0].spread,
            color="black",
            linewidth=0.8,
            linestyle="--",
        )


def _draw_nuclei(axes: Axes, sample: GatedSample) -> None:
    axes.set_axis_on()
    dapi = sample.position[:, 0]
    axes.hist(dapi, bins=60, color="#999999")
    axes.axvline(sample.gates.nucleus, color="black", linewidth=0.8)
    axes.set_yscale("symlog", linthresh=10)
    axes.set_xlabel("DAPI, grey levels")
    axes.set_ylabel("cells")
    _grey_levels(axes, "x", dapi, sample.gates.scale[0])


def _grey_levels(axes: Axes, which: str, values: NDArray[np.float64], scale: float) -> None:
    """Label an axis with powers of ten in grey levels, and show nearly all values."""
    low, high = np.quantile(values, (0.001, 1.0))
    low = max(low, -2.0)
    margin = 0.04 * (high - low)
    levels = np.array([0.0, *10.0 ** np.arange(-3, 7)])
    position = np.arcsinh(levels / scale)
    fits = (
        (position >= low - margin)
        & (position <= high + margin)
        & ((levels == 0) | (position > 0.7))
    )
    texts = [f"{level:,.10g}" for level in levels[fits]]
    if which == "x":
        axes.set_xlim(low - margin, high + margin)
        axes.set_xticks(position[fits], texts)
    else:
        axes.set_ylim(low - margin, high + margin)
        axes.set_yticks(position[fits], texts)
