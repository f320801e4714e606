"""Sidecars of the crops that a run classifies, or finds to be unclassifiable."""

from __future__ import annotations

import os
from typing import NamedTuple

from ctcedge.classification.analysis import CellAnalysis, InferenceProvenance
from ctcedge.classification.classifier import Classifier
from ctcedge.classification.fingerprints import Fingerprint
from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.naming import Crop
from ctcedge.errors import BadImage, ModelError
from ctcedge.sidecars.parse import encode, parse
from ctcedge.sidecars.schema import (
    SCHEMA,
    SCHEMA_VERSION,
    Call,
    ImageRecord,
    ModelRecord,
    OodRecord,
    OriginRecord,
    PixelSizeSource,
    QualityRecord,
    Sidecar,
    SoftwareRecord,
    Status,
)
from ctcedge.times import now
from ctcedge.version import __version__


class ImageFacts(NamedTuple):
    """What is known of an image file: of its bytes once it was read, of its pixels once decoded."""

    sha256: str | None
    bytes: int | None
    width: int | None = None
    height: int | None = None
    bits: int | None = None
    um_per_px: float | None = None
    origin: OriginRecord | None = None


class SidecarBuilder:
    """Makes the sidecars of one run.

    Args:
        classifier: model and decision rule.
        fingerprint: of the settings.

    Raises:
        ModelError: what it makes could not be read back.
    """

    def __init__(self, classifier: Classifier, fingerprint: Fingerprint) -> None:
        self._classifier = classifier
        self._fingerprint = fingerprint
        self._rule = classifier.rule
        self._threshold, self._review_band = self._rule.threshold, self._rule.review_band
        model_um_per_px = classifier.model.spec.input.um_per_px
        self._model_um_per_px = model_um_per_px
        self._given_um_per_px = fingerprint.um_per_px
        self._check_readable()

    def _check_readable(self) -> None:
        """Check that what this run writes can be read back, whatever model and settings are.

        Raises:
            ModelError: it could not, so that every run would classify every crop again.
        """
        example = self._sidecar(
            Crop("1", "1", "1", BRIGHT_FIELD),
            ImageFacts("0" * 64, 1, 8, 8, 8),
            now(),
            self._classifier.provenance,
            status="classified",
            call="review",
            probability=0.5,
        )
        if parse(encode(example)) != (example, SCHEMA_VERSION):
            raise ModelError(
                f"sidecars of model {self._classifier.model.spec.name} could not be read back: its"
                " thresholds or um/px are not what a sidecar can hold"
            )

    def build(
        self, crop: Crop, image: ImageFacts, result: CellAnalysis | BadImage, created: str
    ) -> Sidecar:
        """The sidecar of one crop, without review and history."""
        if isinstance(result, BadImage):
            provenance = self._classifier.provenance
            return self._sidecar(
                crop, image, created, provenance, status=result.status, error=str(result)
            )
        prediction = self._rule.decide(result)
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
        um_per_px, source, is_assumed = self._pixel_size(image)
        return Sidecar(
            schema=SCHEMA,
            status=status,
            call=call,
            probability=probability,
            prior=self._rule.prior,
            threshold=self._threshold,
            review_band=self._review_band,
            operating_point=self._rule.operating_point,
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
                um_per_px=um_per_px,
                um_per_px_assumed=is_assumed,
                um_per_px_source=source,
                um_per_px_file=image.um_per_px,
                origin=image.origin,
            ),
            model=ModelRecord(
                name=model.spec.name,
                version=model.spec.version,
                sha256=model.sha256,
                variant=provenance.variant,
            ),
            inference_sha256=self._fingerprint.inference_sha256,
            settings_sha256=self._fingerprint.settings_sha256,
            software=SoftwareRecord(
                ctcedge=__version__,
                onnxruntime=provenance.onnxruntime,
                provider=provenance.provider,
            ),
            created=created,
            review=None,
            history=(),
        )

    def _pixel_size(self, image: ImageFacts) -> tuple[float | None, PixelSizeSource | None, bool]:
        """The um/px of an image, whether its file is the source, and whether it is assumed."""
        if self._model_um_per_px is None:
            return None, None, False
        if self._given_um_per_px is not None:
            return self._given_um_per_px, None, False
        if image.um_per_px is not None:
            return image.um_per_px, "file", False
        return self._model_um_per_px, None, True
