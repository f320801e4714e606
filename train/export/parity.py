"""Compare exported graphs with the network; graphs that differ too much are not exported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcedge.classification.decision import decide
from ctcedge.model.spec import DecisionThresholds, Parity

from ..metrics.roc import roc_auc

_FEW_CELLS = 3


class ParityError(RuntimeError):
    """An exported graph differs too much from the network it was made from."""


@dataclass(frozen=True, slots=True)
class ParityLimits:
    """The largest differences from PyTorch that are accepted on the validation cells.

    Attributes:
        fp32_probability: of any probability.
        fp16_probability: of any probability.
        int8_probability: of the probabilities, mean.
        int8_auc: loss of AUC.
        int8_calls: fraction of cells with another call; three cells are always accepted, as they
            are too few for a fraction.
        int8_calls_target: fraction of other calls above which another recipe is tried.
        int8_flips_target: the same for calls that flip between CTC and leukocyte.
    """

    fp32_probability: float = 0.001
    fp16_probability: float = 0.005
    int8_probability: float = 0.02
    int8_auc: float = 0.005
    int8_calls: float = 0.02
    int8_calls_target: float = 0.01
    int8_flips_target: float = 0.001

    def violations(self, variant: str, parity: Parity) -> list[str]:
        """Return what a graph exceeds; an empty list where it is accepted.

        Args:
            variant: `fp32`, `fp16` or `int8`.
            parity: of that graph.
        """
        calls = _at_least_few(self.int8_calls, parity)
        largest = ("largest probability difference", parity.largest_difference)
        measured = {
            "fp32": ((*largest, self.fp32_probability),),
            "fp16": ((*largest, self.fp16_probability),),
        }.get(
            variant,
            (
                ("loss of AUC", parity.auc_loss, self.int8_auc),
                ("fraction of other calls", parity.changed_calls, calls),
                ("mean probability difference", parity.mean_difference, self.int8_probability),
            ),
        )
        # 'not <=' rather than '>': a NaN must fail.
        return [
            f"{variant}: {what} {value:.4g}, limit {limit:g}"
            for what, value, limit in measured
            if not value <= limit
        ]

    def above_target(self, parity: Parity) -> str:
        """Return which targets an INT8 graph exceeds, as text; empty where it exceeds none."""
        targets = (
            ("of the calls differ", parity.changed_calls, self.int8_calls_target),
            ("flip between CTC and leukocyte", parity.flips, self.int8_flips_target),
        )
        return " and ".join(
            f"{value:.2%} {what}, target {limit:.1%}"
            for what, value, limit in targets
            if value > _at_least_few(limit, parity)
        )


def _at_least_few(fraction: float, parity: Parity) -> float:
    return max(fraction, _FEW_CELLS / parity.cells)


def measure_parity(
    probability: NDArray[np.float64],
    reference: NDArray[np.float64],
    positive: NDArray[np.bool_],
    decision: DecisionThresholds,
) -> Parity:
    """Compare probabilities, (n,), with the trained network's, through the runtime's decision."""
    change = np.abs(probability - reference)
    calls = [
        (decide(float(p), decision).call, decide(float(r), decision).call)
        for p, r in zip(probability, reference, strict=True)
    ]
    auc = roc_auc(positive, probability)
    return Parity(
        cells=len(positive),
        auc=round(auc, 6),
        auc_loss=round(roc_auc(positive, reference) - auc, 6),
        largest_difference=round(float(change.max()), 6),
        mean_difference=round(float(change.mean()), 6),
        changed_calls=round(float(np.mean([one != other for one, other in calls])), 6),
        flips=round(float(np.mean([{*pair} == {"CTC", "leukocyte"} for pair in calls])), 6),
    )
