"""The training loop, which can be interrupted at any time and continues with the same result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..util.progress import progress
from .distributed import ProcessGroup
from .folder import load_weights, save_tensors
from .networks import Classifier

CHECKPOINT_NAME = "checkpoint.pt"

Batch = TypeVar("Batch", covariant=True)


class Interrupted(RuntimeError):
    """A training was stopped; a checkpoint is written."""


class NotFiniteError(ValueError):
    """The loss is not finite."""


class Schedule(Protocol):
    """The settings that the loop reads; see `train.fit.run.FitSettings`."""

    @property
    def epochs(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def warm_up(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def ema(self) -> float: ...
    @property
    def bf16(self) -> bool: ...


class Batches(Protocol[Batch]):
    """Cells in batches; the randomness of a step depends on its number and the seed only."""

    @property
    def count(self) -> int:
        """Steps per epoch."""

    def __len__(self) -> int:
        """Cells per epoch."""

    def order(self, epoch: int) -> list[NDArray[np.intp]]:
        """Return the rows of each step of an epoch."""

    def batch(self, rows: NDArray[np.intp], step: int) -> Batch:
        """Return this process's part of the cells of a step."""


@dataclass(frozen=True, slots=True)
class Training(Generic[Batch]):
    """What is trained, and on what.

    Attributes:
        model: computes the loss of a batch; on the device, with initial weights.
        network: the part of it whose moving average is the result.
        batches: of the cells.
        schedule: length, learning rate and the like.
        folder: receives the checkpoint.
        title: of the progress bar.
    """

    model: nn.Module
    network: Classifier
    batches: Batches[Batch]
    schedule: Schedule
    folder: Path
    title: str

    @property
    def checkpoint(self) -> Path:
        """The checkpoint file, to be removed once the result is written."""
        return self.folder / CHECKPOINT_NAME


Log = list[dict[str, float]]
"""One entry per finished epoch."""

OnEpoch = Callable[[Classifier], dict[str, float]]
"""Receives the averaged network after an epoch; returns figures for the log, by name."""


@dataclass(slots=True)
class _State:
    """Progress of a training, besides its tensors.

    Attributes:
        step: number of steps done.
        loss: sum over the epoch's steps; a tensor, to avoid synchronizing with a GPU.
        log: one entry per finished epoch.
    """

    step: int = 0
    loss: Tensor | float = 0.0
    log: Log = field(default_factory=list)


def train(
    training: Training[Any],
    processes: ProcessGroup,
    on_epoch: OnEpoch,
    should_stop: Callable[[], bool],
) -> tuple[Classifier, Log]:
    """Train, or continue from a checkpoint.

    Args:
        training: of this process.
        processes: of a distributed training.
        on_epoch: called by the main process, which also shows its figures.
        should_stop: called between steps; where it returns True, a checkpoint is written.

    Returns:
        The moving average of the network, and the log.

    Raises:
        NotFiniteError: the loss is not finite.
        Interrupted: `should_stop` returned True.
    """
    batches, schedule, device = training.batches, training.schedule, processes.device
    source = training.model
    model = DistributedDataParallel(source) if processes.size > 1 else source
    average = AveragedModel(
        training.network, multi_avg_fn=_moving_average(schedule.ema), use_buffers=True
    )
    optimizer = torch.optim.AdamW(_parameter_groups(source, schedule.weight_decay), fused=True)
    stateful: dict[str, Any] = {"model": source, "average": average, "optimizer": optimizer}
    state = _resume(training.checkpoint, stateful, device)
    steps = schedule.epochs * batches.count

    def save() -> None:
        if processes.is_main:
            tensors = {name: part.state_dict() for name, part in stateful.items()}
            save_tensors(training.checkpoint, tensors | {"state": asdict(state)})

    with progress(training.title, steps, quiet=not processes.is_main, lines=True) as advance:
        advance(state.step)
        for epoch in range(state.step // batches.count, schedule.epochs):
            started, first = time.perf_counter(), state.step
            source.train()
            for rows in batches.order(epoch)[state.step % batches.count :]:
                if should_stop():
                    save()
                    raise Interrupted
                for group in optimizer.param_groups:
                    group["lr"] = _get_lr(state.step, steps, schedule)
                batch = batches.batch(rows, state.step)
                with torch.autocast(device.type, torch.bfloat16, enabled=schedule.bf16):
                    loss = model(batch)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                average.update_parameters(training.network)
                state.step += 1
                state.loss = state.loss + loss.detach()
                advance()
            mean_loss = float(state.loss) / batches.count
            state.loss = 0.0
            if not math.isfinite(mean_loss):
                raise NotFiniteError(
                    f"the loss of epoch {epoch + 1} is not finite; lower --learning-rate,"
                    " and choose another --out"
                )
            if processes.is_main:
                done = len(batches) * (state.step - first) / batches.count
                speed = done / (time.perf_counter() - started)
                figures = on_epoch(_averaged(average))
                shown = "".join(f", {_TITLES.get(k, k)} {v:.3f}" for k, v in figures.items())
                advance(0, f"epoch {epoch + 1}, loss {mean_loss:.3f}{shown}, {speed:,.0f} cells/s")
                state.log.append(
                    {"epoch": epoch + 1, "loss": mean_loss, **figures, "cells_per_second": speed}
                )
            save()
    return _averaged(average), state.log


_TITLES = {"validation_auc": "AUC", "feature_spread": "spread of the features"}


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Use reproducible kernels on a CPU, TF32 on a GPU; then restore PyTorch's settings."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    precision = torch.get_float32_matmul_precision()
    with torch.random.fork_rng():
        torch.use_deterministic_algorithms(device.type == "cpu")
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            torch.set_float32_matmul_precision(precision)


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


def _get_lr(step: int, steps: int, schedule: Schedule) -> float:
    warm_up = max(1, round(schedule.warm_up * steps))
    if step < warm_up:
        return schedule.learning_rate * (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _resume(path: Path, stateful: dict[str, Any], device: torch.device) -> _State:
    """Load a checkpoint, if there is one."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        return _State()
    checkpoint = load_weights(path, device)
    for name, part in stateful.items():
        part.load_state_dict(checkpoint[name])
    return _State(**checkpoint["state"])
