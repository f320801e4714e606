"""Fit a network: settings on top, then one loop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from train.augment import Augmentation
from train.dataset import BRIGHT_FIELD, Images, refuse_leak
from train.metrics import roc_auc
from train.network import Classifier, deviation, predict
from train.progress import progress

WEIGHTS_NAME = "weights.pt"
LOG_NAME = "log.json"


@dataclass(frozen=True, slots=True)
class FitSettings:
    """All that decides the weights, besides the data.

    Attributes:
        network: one of `train.network.NETWORKS`.
        width: factor on the network's channels.
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: at its peak, after the warm-up.
        warm_up: share of the steps in which it rises from zero; then it falls as a cosine to zero.
        weight_decay: of matrices and kernels; biases and norms have none.
        bf16: compute in bfloat16 where PyTorch deems it safe.
        augmentation: the families and their strength.
        seed: of the first weights, the order and the augmentation.
    """

    network: str = "resnet18"
    width: float = 1.0
    epochs: int = 16
    batch_size: int = 64
    learning_rate: float = 1e-3
    warm_up: float = 0.1
    weight_decay: float = 0.05
    bf16: bool = True
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 1


def fit(
    training: Images, validation: Images, settings: FitSettings, gain: float, folder: Path
) -> Classifier:
    """Fit on the training images and watch the bright-field AUC on the validation images.

    The weights kept are those of the last epoch, when the learning rate has come to rest: choosing
    the best epoch would tilt the validation figures. The same seed and data give the same weights
    on the same machine. Classes are weighted to count the same.

    Args:
        training: all channels to train on.
        validation: of other samples; only its bright-field images are used.
        settings: what decides the weights.
        gain: input levels of one contrast unit, as in the input's spec.
        folder: receives `weights.pt` and `log.json`.

    Raises:
        LeakError: a sample stands on both sides.
        ValueError: the training images are of one class only, or the loss is not finite.
    """
    refuse_leak(training, validation, by="sample")
    positives = int(training.positive.sum())
    if positives in (0, len(training)):
        raise ValueError("the training images are of one class only; CTCs and others are needed")
    validation = validation.of(BRIGHT_FIELD)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    positive = torch.from_numpy(training.positive).float()
    positive_weight = torch.tensor((len(training) - positives) / positives, device=device)
    steps_an_epoch = math.ceil(len(training) / settings.batch_size)
    steps = settings.epochs * steps_an_epoch

    with _deterministic(settings.seed), progress("Fit", steps) as advance:
        network = Classifier(settings.network, settings.width).to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(_parameter_groups(network, settings.weight_decay))
        chance = torch.Generator().manual_seed(settings.seed)
        step, log = 0, []
        for epoch in range(1, settings.epochs + 1):
            network.train()
            started, total_loss = time.perf_counter(), 0.0
            order = torch.randperm(len(training), generator=chance)
            for rows in torch.split(order, settings.batch_size):
                for group in optimizer.param_groups:
                    group["lr"] = _learning_rate(step, steps, settings)
                levels = deviation(training.inputs[rows.numpy()], device)
                scaled = settings.augmentation(levels, chance) / gain
                with torch.autocast(device.type, torch.bfloat16, enabled=settings.bf16):
                    logits = network(scaled.contiguous(memory_format=torch.channels_last))
                loss = F.binary_cross_entropy_with_logits(
                    logits.float(), positive[rows].to(device), pos_weight=positive_weight
                )
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                total_loss += loss.item() * len(rows)
                step += 1
                advance()
            seconds = time.perf_counter() - started
            mean_loss = total_loss / len(training)
            if not math.isfinite(mean_loss):
                raise ValueError(
                    f"the loss of epoch {epoch} is not finite; lower the learning rate"
                )
            auc = roc_auc(validation.positive, predict(network, validation.inputs, gain))
            advance(0, f"epoch {epoch}/{settings.epochs}, loss {mean_loss:.3f}, AUC {auc:.3f}")
            log.append(
                {
                    "epoch": epoch,
                    "loss": mean_loss,
                    "validation_auc": auc,
                    "images_per_second": len(training) / seconds,
                }
            )
    folder.mkdir(parents=True, exist_ok=True)
    network.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    network.eval()
    torch.save(network.state_dict(), folder / WEIGHTS_NAME)
    record = {"settings": asdict(settings), "images": len(training), "epochs": log}
    (folder / LOG_NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return network


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _learning_rate(step: int, steps: int, settings: FitSettings) -> float:
    warm_up = max(1, round(settings.warm_up * steps))
    if step < warm_up:
        return settings.learning_rate * (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Seed PyTorch and ask it for reproducible kernels; leave its state as it was."""
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
