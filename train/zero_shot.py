"""How often a model calls CTC, on a folder of cells that are none and that it never saw.

The threshold is that which finds a stated share of the CTCs of simulated hospitals whose seed no
model was built with. Gates, review band and guard play no part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ctcedge.classifier import Classifier
from ctcedge.crops import Naming
from ctcedge.decode import decode
from ctcedge.errors import SetupError
from ctcedge.pipeline import read_file
from ctcedge.preprocess import InputSpec, network_input
from ctcedge.runs import list_folder, need_crops
from train.dataset import Cells, simulated_cells
from train.graphs import probabilities
from train.metrics import Floats, roc_auc
from train.simulate import simulate_cells

UNSEEN_SEED = 900_001
"""Of the simulated hospitals; `train build` is given small seeds."""

_BATCH = 64


def unseen_cells(classifier: Classifier, hospitals: int) -> Cells:
    """Simulate cells of hospitals that no model was built with, 100 of each."""
    cells = simulate_cells(
        hospitals=hospitals, samples=4, cells=25, seed=UNSEEN_SEED, channels=("BF",)
    )
    return simulated_cells(cells, classifier.model.spec.input)


def folder_inputs(spec: InputSpec, folder: Path, um_per_px: float | None) -> Iterator[np.ndarray]:
    """Yield the network's input for each bright-field crop of a folder.

    Raises:
        NoCropsError: there is none.
        BadImage: one cannot be read.
    """
    naming = Naming()
    listing = list_folder(folder, naming)
    need_crops(folder, listing)
    for crop in listing.crops:
        pixels = decode(read_file(folder / crop.path)).pixels
        yield network_input(pixels, um_per_px, spec)


def said(classifier: Classifier, inputs: np.ndarray) -> Floats:
    """Return (n,) probabilities of (n, size, size) inputs, by the graph that the runtime loads."""
    parts = [
        classifier.engine.answer(inputs[start : start + _BATCH]).logits
        for start in range(0, len(inputs), _BATCH)
    ]
    return probabilities(np.concatenate(parts), classifier.model.spec.calibration)


def main(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    folder: Annotated[Path, typer.Argument(help="Crops of cells that are no CTCs.")],
    um_per_px: Annotated[
        float | None, typer.Option(help="Edge length of their pixels, um.")
    ] = None,
    hospitals: Annotated[int, typer.Option(min=4, help="Simulated ones, never seen.")] = 40,
    sensitivity: Annotated[float, typer.Option(min=0.01, max=0.99)] = 0.8,
) -> None:
    """Print the share of a folder's cells called CTC at a threshold set on simulated hospitals.

    Example: `python -m train.zero_shot models/sim-resnet18 ../jurkat --um-per-px 0.5`
    """
    try:
        classifier = Classifier.load(model, provider="cpu")
        foreign = said(
            classifier,
            np.stack(list(folder_inputs(classifier.model.spec.input, folder, um_per_px))),
        )
    except SetupError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    cells = unseen_cells(classifier, hospitals)
    simulated = said(classifier, cells.bright)
    threshold = float(np.quantile(simulated[cells.positive], 1 - sensitivity))
    false = simulated[~cells.positive] >= threshold
    typer.echo(
        f"{len(cells):,} cells of {hospitals} simulated hospitals: AUC"
        f" {roc_auc(cells.positive, simulated):.3f}; at probability {threshold:.3f},"
        f" {sensitivity:.0%} of their CTCs and {false.mean():.1%} of their other cells are called"
        f" CTC, and of the {len(foreign):,} cells of {folder} {(foreign >= threshold).mean():.1%}"
    )


if __name__ == "__main__":
    typer.run(main)
