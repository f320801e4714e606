"""What network, quality gate and guard say of a crop, before anything is decided.

It is kept in the sidecar, and holds all that a decision needs, so that another operating point or
prevalence needs no network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ctcedge.classification.ood import OUT_OF_DISTRIBUTION, OodScore, is_out_of_distribution
from ctcedge.quality.checks import Quality
from ctcedge.sidecars.store import Record


@dataclass(frozen=True, slots=True)
class Ran:
    """By what a score was computed.

    Attributes:
        variant: graph of the model.
        provider: where it ran.
        onnxruntime: version of ONNX Runtime.
    """

    variant: str
    provider: str
    onnxruntime: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of one crop.

    Attributes:
        score: the logit, from `decide.rounded_score`.
        quality: what the gate found: `reasons`, and numbers by name.
        cluster: whether the crop shows touching cells.
        unlike: None where the model does not tell.
        ran: by what the score was computed.
    """

    score: float
    quality: dict[str, Any]
    cluster: bool
    unlike: OodScore | None
    ran: Ran

    @classmethod
    def of(cls, score: float, quality: Quality, unlike: OodScore | None, ran: Ran) -> Finding:
        """Put together what was just found."""
        measures = {key: each for key, each in quality.measures.items() if math.isfinite(each)}
        told = {"reasons": list(quality.reasons), **measures}
        return cls(score, told, quality.cluster, unlike, ran)

    @classmethod
    def told(cls, record: Record) -> Finding | None:
        """What a sidecar keeps; None where it does not keep it all."""
        if record["status"] != "classified" or None in (record["score"], record["quality"]):
            return None
        model, software, unlike = record["model"], record["software"], record["unlike"]
        try:
            ran = Ran(model["variant"], software["provider"], software["onnxruntime"])
            told = unlike and OodScore(unlike["distance"], unlike["p"], tuple(unlike["traits"]))
        except (KeyError, TypeError):
            return None
        return cls(record["score"], record["quality"], bool(record["cluster"]), told, ran)

    @property
    def unlike_record(self) -> Record | None:
        """How a sidecar keeps `unlike`."""
        unlike = self.unlike
        if unlike is None:
            return None
        return {"distance": unlike.distance, "p": unlike.p_value, "traits": list(unlike.features)}

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons not to trust a call, by their codes."""
        unlike = self.unlike is not None and is_out_of_distribution(self.unlike.p_value)
        return (*self.quality["reasons"], *([OUT_OF_DISTRIBUTION] if unlike else ()))
