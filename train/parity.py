"""The exported graphs must say what the network says; nothing is shipped that does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcedge.decide import decide
from ctcedge.model import Decision
from train.metrics import roc_auc

REFERENCE = "pytorch"


class ParityError(RuntimeError):
    """An exported graph differs too much from the network it was made from."""


@dataclass(frozen=True, slots=True)
class ParityLimits:
    """The largest differences from PyTorch that are accepted.

    Attributes:
        fp32_logit: of any logit.
        fp16_probability: of any probability.
        int8_probability: of the probabilities, in the mean.
        int8_auc: loss of AUC.
    """

    fp32_logit: float = 1e-3
    fp16_probability: float = 0.005
    int8_probability: float = 0.02
    int8_auc: float = 0.005


def check_parity(
    logits: dict[str, NDArray[np.float32]], positive: NDArray[np.bool_], limits: ParityLimits
) -> None:
    """Compare the graphs with PyTorch on the same images.

    Args:
        logits: `pytorch`, `fp32`, `fp16` and `int8`, each (n,).
        positive: (n,).
        limits: what is accepted.

    Raises:
        ParityError: naming every graph that differs too much, and by how much.
    """
    reference = logits[REFERENCE].astype(np.float64)
    probability = {name: 1 / (1 + np.exp(-z.astype(np.float64))) for name, z in logits.items()}
    change = {name: np.abs(p - probability[REFERENCE]) for name, p in probability.items()}
    auc_loss = roc_auc(positive, reference) - roc_auc(positive, logits["int8"])
    measured = (
        ("fp32", "largest logit difference", np.abs(logits["fp32"] - reference).max(),
         limits.fp32_logit),
        ("fp16", "largest probability difference", change["fp16"].max(), limits.fp16_probability),
        ("int8", "mean probability difference", change["int8"].mean(), limits.int8_probability),
        ("int8", "loss of AUC", auc_loss, limits.int8_auc),
    )  # fmt: skip
    # 'not <=' rather than '>': a NaN must fail.
    failed = [
        f"{graph}: {what} {value:.4g}, at most {limit:g} is accepted"
        for graph, what, value, limit in measured
        if not value <= limit
    ]
    if failed:
        raise ParityError("not exported; " + "; ".join(failed))


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one graph's answers compare with another's on the same cells.

    Attributes:
        auc: of this graph.
        largest: probability difference.
        mean: probability difference.
        same_calls: share of cells with the same call.
        flips: share of cells called CTC by one and leukocyte by the other.
    """

    auc: float
    largest: float
    mean: float
    same_calls: float
    flips: float


def agreement(
    probability: NDArray[np.float64],
    reference: NDArray[np.float64],
    positive: NDArray[np.bool_],
    decision: Decision,
) -> Agreement:
    """Compare probabilities, (n,), with a reference's, through the runtime's own decision."""
    change = np.abs(probability - reference)
    calls = [
        (decide(float(p), decision).call, decide(float(r), decision).call)
        for p, r in zip(probability, reference, strict=True)
    ]
    same = np.mean([one == other for one, other in calls])
    flips = np.mean([{one, other} == {"CTC", "leukocyte"} for one, other in calls])
    return Agreement(
        auc=roc_auc(positive, probability),
        largest=float(change.max()),
        mean=float(change.mean()),
        same_calls=float(same),
        flips=float(flips),
    )
