"""Train the network of one fit with the training loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from ..metrics.roc import roc_auc
from .batches import BatchLoader
from .curve_plot import CURVE_NAME, draw_curve
from .distributed import ProcessGroup
from .folder import LOG_NAME, WEIGHTS_NAME, save_tensors, write_json
from .loop import NotFiniteError, Training, train
from .networks import Classifier, memory_format
from .objectives import BrightField
from .run import Run


class FitError(ValueError):
    """The cells cannot be fitted on."""


def train_network(
    strategy: BrightField,
    run: Run,
    folder: Path,
    processes: ProcessGroup,
    should_stop: Callable[[], bool],
) -> None:
    """Fit a strategy's network, or continue from a checkpoint.

    Args:
        strategy: with initial weights.
        run: with cells and settings.
        folder: receives `weights.pt`, `log.json` and the picture of the learning curve.
        processes: of a distributed fit.
        should_stop: called between steps; where it returns True, a checkpoint is written.

    Raises:
        FitError: the loss is not finite.
        Interrupted: `should_stop` returned True.
    """
    gain = run.input.gain
    layout = memory_format(strategy.network)
    batches = BatchLoader(run, strategy.channels, processes, layout)
    validation = run.subset("validation")
    strategy.to(processes.device).to(memory_format=layout)  # type: ignore[call-overload]
    title = f"Fit {folder.name}"
    training = Training(strategy, strategy.network, batches, run.settings, folder, title)

    def on_epoch(network: Classifier) -> dict[str, float]:
        logits = strategy.logits(network, validation, gain)
        return {"validation_auc": roc_auc(validation.positive, logits)}

    try:
        average, log = train(training, processes, on_epoch, should_stop)
    except NotFiniteError as error:
        raise FitError(str(error)) from None
    if processes.is_main:
        network = strategy.result(average)
        write_json(folder / LOG_NAME, {"cells_per_epoch": len(batches), "epochs": log})
        title = (
            f"{run.settings.network}: {len(run.subset('training')):,} cells to train on,"
            f" {len(validation):,} to validate"
        )
        views = run.settings.views
        note = f"The finished network averages {views} views." if views > 1 else ""
        draw_curve(folder / CURVE_NAME, title, log, note)
        network.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        # Last, so that a folder with weights is complete.
        save_tensors(folder / WEIGHTS_NAME, network.state_dict())
        training.checkpoint.unlink(missing_ok=True)
    processes.barrier()
