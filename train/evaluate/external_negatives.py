"""How often a model calls CTC, on a folder of cells that are none and that it never saw.

The threshold is that which finds a stated share of the CTCs of simulated hospitals whose seed no
model was built with. Gates, review band and guard play no part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ctcedge.classification.classifier import Classifier
from ctcedge.errors import SetupError

from ..data.dataset import Cells, cells_from_simulation
from ..data.folder import CropFolder
from ..metrics.onnx_scores import probabilities
from ..metrics.roc import Floats, roc_auc
from ..simulate import simulate_cells
from ..util.batching import batches
from ..util.errors import exit_on

UNSEEN_SEED = 900_001
"""Of the simulated hospitals; `train build` is given small seeds."""

_BATCH = 64


def unseen_cells(classifier: Classifier, hospitals: int) -> Cells:
    """Simulate cells of hospitals that no model was built with, 100 of each."""
    cells = simulate_cells(
        hospitals=hospitals, samples=4, cells=25, seed=UNSEEN_SEED, channels=("BF",)
    )
    return cells_from_simulation(cells, classifier.model.spec.input)


def predict_proba(classifier: Classifier, inputs: np.ndarray) -> Floats:
    """Return (n,) probabilities of (n, size, size) inputs, by the graph that the runtime loads."""
    parts = [classifier.engine.infer(part).logits for part in batches(inputs, _BATCH)]
    return probabilities(np.concatenate(parts), classifier.model.spec.calibration)


def main(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    folder: Annotated[Path, typer.Argument(help="Crops of cells that are no CTCs.")],
    um_per_px: Annotated[
        float | None,
        typer.Option(help="Edge length of their pixels, um.", show_default="the folder's own"),
    ] = None,
    hospitals: Annotated[int, typer.Option(min=4, help="Simulated ones, never seen.")] = 40,
    sensitivity: Annotated[float, typer.Option(min=0.01, max=0.99)] = 0.8,
) -> None:
    """Print the share of a folder's cells called CTC at a threshold set on simulated hospitals.

    Example: `python -m train.evaluate.external_negatives models/sim-resnet18 ../jurkat --um-per-px
    0.5`
    """
    with exit_on(SetupError):
        classifier = Classifier.load(model, provider="cpu")
        crops = CropFolder.read(folder, um_per_px)
    spec = classifier.model.spec.input
    typer.echo(f"{folder}: {crops.scale(spec)}")
    foreign = predict_proba(classifier, crops.inputs(spec))
    cells = unseen_cells(classifier, hospitals)
    simulated = predict_proba(classifier, cells.bright)
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
