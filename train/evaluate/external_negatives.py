"""False-positive rate of a model on a folder of cells that are not CTCs.

The threshold has a given sensitivity on simulated hospitals with a seed that no model was built
with. Quality checks, review band and out-of-distribution detection are not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from ctcedge.classification.classifier import Classifier
from ctcedge.errors import SetupError

from ..data.dataset import Cells, cells_from_simulation
from ..data.folder import CropFolder
from ..metrics.onnx_scores import probabilities
from ..metrics.roc import Floats, roc_auc
from ..simulate import simulate_cells
from ..util.batching import batches
from ..util.command_line import (
    path_argument,
    real_option,
    run_program,
    whole_option,
)
from ..util.errors import exit_on

UNSEEN_SEED = 900_001
"""Seed of the simulated hospitals; `train build` uses small seeds."""

_BATCH = 64


def unseen_cells(classifier: Classifier, hospitals: int) -> Cells:
    """Simulate cells of hospitals that no model was built with, 100 per hospital."""
    cells = simulate_cells(
        hospitals=hospitals, samples=4, cells=25, seed=UNSEEN_SEED, channels=("BF",)
    )
    return cells_from_simulation(cells, classifier.model.spec.input)


def predict_proba(classifier: Classifier, inputs: NDArray[np.uint8]) -> Floats:
    """Return (n,) probabilities of (n, size, size) inputs, by the runtime's graph."""
    parts = [classifier.engine.infer(part).logits for part in batches(inputs, _BATCH)]
    return probabilities(np.concatenate(parts), classifier.model.spec.calibration)


def main(
    model: Annotated[Path, path_argument("Model folder.", "MODEL")],
    folder: Annotated[Path, path_argument("Crops of cells that are not CTCs.", "FOLDER")],
    um_per_px: Annotated[
        float | None,
        real_option("Edge length of an image pixel, um.", 0.01, 20, show_default="of the folder"),
    ] = None,
    hospitals: Annotated[int, whole_option("Number of simulated hospitals.", 4, 100_000)] = 40,
    sensitivity: Annotated[
        float, real_option("Of the simulated CTCs, sets the threshold.", 0.01, 0.99)
    ] = 0.8,
) -> None:
    """Print the fraction of a folder's cells called CTC at a threshold set on simulated hospitals.

    Example: python -m train.evaluate.external_negatives models/sim-resnet18 ../jurkat --um-per-px
    0.5
    """
    with exit_on(SetupError):
        classifier = Classifier.load(model, provider="cpu")
        crops = CropFolder.read(folder, um_per_px)
    spec = classifier.model.spec.input
    typer.echo(f"{folder}: {crops.scale(spec)}")
    external = predict_proba(classifier, crops.inputs(spec))
    cells = unseen_cells(classifier, hospitals)
    simulated = predict_proba(classifier, cells.bright)
    threshold = float(np.quantile(simulated[cells.positive], 1 - sensitivity))
    false = simulated[~cells.positive] >= threshold
    typer.echo(
        f"{len(cells):,} cells of {hospitals} simulated hospitals: AUC"
        f" {roc_auc(cells.positive, simulated):.3f}; at probability {threshold:.3f},"
        f" {sensitivity:.0%} of their CTCs and {false.mean():.1%} of their negatives are called"
        f" CTC, and of the {len(external):,} cells of {folder} {(external >= threshold).mean():.1%}"
    )


if __name__ == "__main__":
    run_program(main)
