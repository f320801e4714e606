"""Hashes of settings, which show whether a stored score, or a stored call, is still valid."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from ctcedge.classification.decision import DecisionRule
from ctcedge.classification.ood import OOD_VERSION
from ctcedge.discovery.channels import ALIASES_OF_FINGERPRINT, BRIGHT_FIELD
from ctcedge.images.decode import DECODING_VERSION
from ctcedge.model.spec import ModelSpec
from ctcedge.quality.checks import QUALITY_VERSION
from ctcedge.settings import ImageSettings
from ctcedge.sidecars.schema import Sidecar


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Hashes of the settings of one run.

    Attributes:
        um_per_px: from `known_pixel_size`.
        inference_sha256: hash of all settings that can change a score.
        settings_sha256: hash of all settings that can change a call.
    """

    um_per_px: float | None
    inference_sha256: str
    settings_sha256: str

    @classmethod
    def of(cls, images: ImageSettings, spec: ModelSpec, rule: DecisionRule) -> Fingerprint:
        """The fingerprint of these settings with this model."""
        um_per_px = known_pixel_size(images, spec)
        settings = settings_sha256(images, spec, rule)
        return cls(um_per_px, inference_sha256(um_per_px), settings)


def known_pixel_size(images: ImageSettings, spec: ModelSpec) -> float | None:
    """Edge length of a pixel of the crops, um; None where it was not given, or the model has none.

    Where it was not given, the one that the image file states is taken. Where there is none either,
    crops are resampled as if it were the model's own, but no true size is checked.
    """
    return None if spec.input.um_per_px is None else images.um_per_px


def recorded_pixel_size(sidecar: Sidecar) -> float | None:
    """Edge length of a pixel by which a sidecar's image was scaled and its sizes were checked."""
    return None if sidecar.image.um_per_px_assumed else sidecar.image.um_per_px


def inference_sha256(um_per_px: float | None) -> str:
    """Hash of all settings that can change the score, quality or OOD score of an image.

    The image and the model have hashes of their own.

    Args:
        um_per_px: from `known_pixel_size`.
    """
    return _sha256(_inference(um_per_px))


def settings_sha256(images: ImageSettings, spec: ModelSpec, rule: DecisionRule) -> str:
    """Hash of all settings that can change a call, or the cell to which it belongs.

    Provider, batch size and output folder are not among them, nor is um/px where the model has
    none.
    """
    content = _inference(known_pixel_size(images, spec)) | {
        "pattern": images.pattern,
        "bright_field": list(images.channels.get(BRIGHT_FIELD, ALIASES_OF_FINGERPRINT)),
        "operating_point": rule.operating_point,
        "prior": rule.prior,
        "threshold": rule.threshold,
        "review": list(rule.review_band),
    }
    return _sha256(content)


def _inference(um_per_px: float | None) -> dict[str, object]:
    # The keys are part of the hash: other names would make every stored score invalid.
    return {
        "decoding": DECODING_VERSION,
        "um_per_px": um_per_px,
        "quality": QUALITY_VERSION,
        "guard": OOD_VERSION,
    }


def _sha256(content: dict[str, object]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
