"""Result of network, quality check and out-of-distribution score for a crop, before the decision.

It is kept in the sidecar, and holds all that a decision needs, so that another operating point or
prevalence needs no network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ctcedge.classification.ood import OUT_OF_DISTRIBUTION, OodScore, is_out_of_distribution
from ctcedge.quality.checks import Quality
from ctcedge.sidecars.schema import OodRecord, Provider, QualityRecord, Sidecar, Variant


@dataclass(frozen=True, slots=True)
class InferenceProvenance:
    """What computed a score.

    Attributes:
        variant: graph of the model.
        provider: ONNX Runtime's execution provider.
        onnxruntime: version of ONNX Runtime.
    """

    variant: Variant
    provider: Provider
    onnxruntime: str


@dataclass(frozen=True, slots=True)
class CellAnalysis:
    """All that is known of one crop before the decision.

    Attributes:
        score: the logit, from `decision.rounded_score`.
        quality: result of the quality check.
        cluster: whether the crop shows touching cells.
        ood: out-of-distribution score; None where the model has no such statistics.
        provenance: what computed the score.
    """

    score: float
    quality: QualityRecord
    cluster: bool
    ood: OodRecord | None
    provenance: InferenceProvenance

    @classmethod
    def of(
        cls, score: float, quality: Quality, ood: OodScore | None, provenance: InferenceProvenance
    ) -> CellAnalysis:
        """Put together what was just computed."""
        measures = {key: value for key, value in quality.measures.items() if math.isfinite(value)}
        checked = QualityRecord(reasons=quality.reasons, **measures)
        if ood is None:
            return cls(score, checked, quality.cluster, None, provenance)
        record = OodRecord(distance=ood.distance, p_value=ood.p_value, features=ood.features)
        return cls(score, checked, quality.cluster, record, provenance)

    @classmethod
    def from_sidecar(cls, sidecar: Sidecar) -> CellAnalysis | None:
        """The analysis that a sidecar keeps; None where it does not keep all of it."""
        if sidecar.score is None or sidecar.quality is None:
            return None
        software = sidecar.software
        provenance = InferenceProvenance(
            sidecar.model.variant, software.provider, software.onnxruntime
        )
        return cls(sidecar.score, sidecar.quality, sidecar.cluster is True, sidecar.ood, provenance)

    @property
    def review_flags(self) -> tuple[str, ...]:
        """Codes of the reasons not to trust a call."""
        if self.ood is not None and is_out_of_distribution(self.ood.p_value):
            return (*self.quality.reasons, OUT_OF_DISTRIBUTION)
        return self.quality.reasons
