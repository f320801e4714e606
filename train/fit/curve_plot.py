"""Draw the learning curve of a fit: loss and validation AUC against the epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ctcedge.fs.files import atomic_writer

CURVE_NAME = "learning_curve.png"
"""The picture, in the run folder."""

# The colours of Okabe and Ito, which are distinct for colour-blind people.
_LOSS, _AUC = "#0072B2", "#D55E00"
_MAX_MARKED = 30  # epochs that are marked by a dot each


def draw_curve(path: Path, title: str, log: Sequence[dict[str, Any]], note: str = "") -> None:
    """Write a PNG of the log of a fit; nothing if no epoch is finished.

    Args:
        path: of the PNG.
        title: above the curves.
        log: an entry per epoch, with `epoch`, `loss` and `validation_auc`.
        note: above the validation AUC.
    """
    if not log:
        return
    figure = Figure(figsize=(7.2, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    epochs = [entry["epoch"] for entry in log]
    losses = [entry["loss"] for entry in log]
    _draw(upper, epochs, losses, _LOSS)
    upper.set_ylabel("training loss")
    upper.set_ylim(0, 1.05 * max(losses))
    areas = [entry["validation_auc"] for entry in log]
    _draw(lower, epochs, areas, _AUC)
    lower.set_ylabel("validation AUC, one view a cell")
    lower.set_xlabel("epoch")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    lower.axhline(0.5, color="#999999", linestyle=":", linewidth=1)
    lower.set_ylim(top=1)
    lower.set_title(
        f"last {areas[-1]:.3f}, best {max(areas):.3f} at epoch {epochs[areas.index(max(areas))]};"
        f" the last is kept. {note}",
        fontsize=9,
        loc="left",
    )
    figure.suptitle(title, fontsize=11)
    with atomic_writer(path) as file:
        figure.savefig(file, format="png", dpi=110)


def _draw(axes: Axes, epochs: list[int], values: list[float], colour: str) -> None:
    marker = "." if len(epochs) <= _MAX_MARKED else None
    axes.plot(epochs, values, color=colour, marker=marker)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
