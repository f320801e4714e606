"""The training loop of one network, which can be interrupted at any time."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ctcedge.fs.files import atomic_write

from ..metrics.roc import roc_auc
from ..util.progress import progress
from .batches import BatchLoader
from .distributed import ProcessGroup
from .networks import Classifier, memory_format
from .objectives import BrightField
from .run import LOG_NAME, WEIGHTS_NAME, FitSettings, Run, write_json

CHECKPOINT_NAME = "checkpoint.pt"


class FitError(ValueError):
    """The cells cannot be fitted on."""


class Interrupted(RuntimeError):
    """A fit was stopped; a checkpoint is written."""


@dataclass(slots=True)
class _State:
    """Progress of a fit, besides its tensors.

    Attributes:
        step: number of steps done.
        loss: sum over the epoch's steps; a tensor, to avoid synchronizing with a GPU.
        log: one entry per finished epoch.
    """

    step: int = 0
    loss: Tensor | float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)


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
        folder: receives `weights.pt` and `log.json`.
        processes: of a distributed fit.
        should_stop: called between steps; where it returns True, a checkpoint is written.

    Raises:
        FitError: the loss is not finite.
        Interrupted: `should_stop` returned True.
    """
    settings, gain, device = run.settings, run.input.gain, processes.device
    layout = memory_format(strategy.network)
    training = BatchLoader(run, strategy.channels, processes, layout)
    validation = run.subset("validation")
    strategy.to(device).to(memory_format=layout)  # type: ignore[call-overload]
    model = DistributedDataParallel(strategy) if processes.size > 1 else strategy
    average = AveragedModel(
        strategy.network, multi_avg_fn=_moving_average(settings.ema), use_buffers=True
    )
    optimizer = torch.optim.AdamW(_parameter_groups(strategy, settings.weight_decay), fused=True)
    stateful: dict[str, Any] = {"model": strategy, "average": average, "optimizer": optimizer}
    state = _resume(folder / CHECKPOINT_NAME, stateful, device)
    steps = settings.epochs * training.count

    def save() -> None:
        if processes.is_main:
            tensors = {name: part.state_dict() for name, part in stateful.items()}
            _save(folder / CHECKPOINT_NAME, tensors | {"state": asdict(state)})

    title = f"Fit {folder.name}"
    with progress(title, steps, quiet=not processes.is_main) as advance:
        advance(state.step)
        for epoch in range(state.step // training.count, settings.epochs):
            started, first = time.perf_counter(), state.step
            strategy.train()
            for rows in training.order(epoch)[state.step % training.count :]:
                if should_stop():
                    save()
                    raise Interrupted
                for group in optimizer.param_groups:
                    group["lr"] = _get_lr(state.step, steps, settings)
                batch = training.batch(rows, state.step)
                with torch.autocast(device.type, torch.bfloat16, enabled=settings.bf16):
                    loss = model(batch)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                average.update_parameters(strategy.network)
                state.step += 1
                state.loss = state.loss + loss.detach()
                advance()
            mean_loss = float(state.loss) / training.count
            state.loss = 0.0
            if not math.isfinite(mean_loss):
                raise FitError(
                    f"the loss of epoch {epoch + 1} is not finite; lower --learning-rate,"
                    " and choose another --out"
                )
            if processes.is_main:
                done = len(training) * (state.step - first) / training.count
                seconds = time.perf_counter() - started
                logits = strategy.logits(_averaged(average), validation, gain)
                auc = roc_auc(validation.positive, logits)
                advance(0, f"epoch {epoch + 1}, loss {mean_loss:.3f}, AUC {auc:.3f}")
                state.log.append(
                    {
                        "epoch": epoch + 1,
                        "loss": mean_loss,
                        "validation_auc": auc,
                        "cells_per_second": done / seconds,
                    }
                )
            save()
    if processes.is_main:
        _finish(strategy.result(_averaged(average)), training, state, folder)
    processes.barrier()


def _moving_average(decay: float) -> Callable[..., None]:
    average: Callable[..., None] = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return average


def _averaged(average: AveragedModel) -> Classifier:
    network = average.module
    assert isinstance(network, Classifier)
    return network


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _get_lr(step: int, steps: int, settings: FitSettings) -> float:
    warm_up = max(1, round(settings.warm_up * steps))
    if step < warm_up:
        return settings.learning_rate * (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _resume(path: Path, stateful: dict[str, Any], device: torch.device) -> _State:
    """Load a checkpoint, if there is one."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        return _State()
    checkpoint = load_weights(path, device)
    for name, part in stateful.items():
        part.load_state_dict(checkpoint[name])
    return _State(**checkpoint["state"])


def _finish(network: Classifier, training: BatchLoader, state: _State, folder: Path) -> None:
    write_json(folder / LOG_NAME, {"cells_per_epoch": len(training), "epochs": state.log})
    network.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    # Last, so that a folder with weights is complete.
    _save(folder / WEIGHTS_NAME, network.state_dict())
    (folder / CHECKPOINT_NAME).unlink(missing_ok=True)


def _save(path: Path, tensors: dict[str, Any]) -> None:
    file = io.BytesIO()
    torch.save(tensors, file)
    atomic_write(path, file.getvalue())


def load_weights(path: Path, device: torch.device) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return loaded
