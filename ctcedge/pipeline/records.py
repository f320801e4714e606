"""Sidecars of the crops that a run classifies, or finds to be unclassifiable."""

from __future__ import annotations

import os
from typing import NamedTuple

from ctcedge.classification.analysis import CellAnalysis, InferenceProvenance
from ctcedge.classification.classifier import Classifier
from ctcedge.discovery.naming import Crop
from ctcedge.errors import BadImage
from ctcedge.sidecars.schema import (
    SCHEMA,
    Call,
    ImageRecord,
    ModelRecord,
    OodRecord,
    QualityRecord,
    Sidecar,
    SoftwareRecord,
    Status,
)
from ctcedge.version import __version__


class ImageFacts(NamedTuple):
    """What is known of an image file: of its bytes once it was read, of its pixels once decoded."""

    sha256: str | None
    bytes: int | None
    width: int | None = None
    height: int | None = None
    bits: int | None = None


class SidecarBuilder:
    """Makes the sidecars of one run.

    Args:
        classifier: model and decision rule.
        um_per_px: from `fingerprints.scale`.
        inference_sha256: from `fingerprints.inference_sha256`.
        settings_sha256: from `fingerprints.settings_sha256`.
    """

    def __init__(
        self,
        classifier: Classifier,
        um_per_px: float | None,
        inference_sha256: str,
        settings_sha256: str,
    ) -> None:
        self._classifier = classifier
        self._policy = classifier.policy
        self._threshold, self._review_band = self._policy.threshold, self._policy.review
        spec = classifier.model.spec
        self._um_per_px = um_per_px or spec.input.um_per_px
        self._um_per_px_assumed = um_per_px is None and spec.input.um_per_px is not None
        self._inference_sha256 = inference_sha256
        self._settings_sha256 = settings_sha256

    def build(
        self, crop: Crop, image: ImageFacts, result: CellAnalysis | BadImage, created: str
    ) -> Sidecar:
        """The sidecar of one crop, without review and history."""
        if isinstance(result, BadImage):
            provenance = self._classifier.ran
            return self._sidecar(
                crop, image, created, provenance, status=result.status, error=str(result)
            )
        prediction = self._policy.verdict(result.score, result.review_flags)
        return self._sidecar(
            crop,
            image,
            created,
            result.provenance,
            status="classified",
            call=prediction.call,
            probability=prediction.probability,
            score=result.score,
            reasons=prediction.reasons,
            cluster=result.cluster,
            quality=result.quality,
            ood=result.ood,
        )

    def _sidecar(
        self,
        crop: Crop,
        image: ImageFacts,
        created: str,
        provenance: InferenceProvenance,
        *,
        status: Status,
        call: Call | None = None,
        probability: float | None = None,
        score: float | None = None,
        reasons: tuple[str, ...] = (),
        cluster: bool | None = None,
        quality: QualityRecord | None = None,
        ood: OodRecord | None = None,
        error: str | None = None,
    ) -> Sidecar:
        model = self._classifier.model
        return Sidecar(
            schema=SCHEMA,
            status=status,
            call=call,
            probability=probability,
            prior=self._policy.prior,
            threshold=self._threshold,
            review_band=self._review_band,
            operating_point=self._policy.operating_point,
            score=score,
            reasons=reasons,
            cluster=cluster,
            quality=quality,
            ood=ood,
            error=error,
            sample=crop.sample,
            cell=crop.cell,
            image=ImageRecord(
                name=os.path.basename(crop.path),
                sha256=image.sha256,
                bytes=image.bytes,
                width=image.width,
                height=image.height,
                bit_depth=image.bits,
                um_per_px=self._um_per_px,
                um_per_px_assumed=self._um_per_px_assumed,
            ),
            model=ModelRecord(
                name=model.spec.name,
                version=model.spec.version,
                sha256=model.sha256,
                variant=provenance.variant,
            ),
            inference_sha256=self._inference_sha256,
            settings_sha256=self._settings_sha256,
            software=SoftwareRecord(
                ctcedge=__version__,
                onnxruntime=provenance.onnxruntime,
                provider=provenance.provider,
            ),
            created=created,
            review=None,
            history=(),
        )
