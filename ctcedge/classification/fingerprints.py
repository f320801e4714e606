"""Hashes of settings: by these it is known whether a stored score, or call, still stands."""

from __future__ import annotations

import hashlib
import json

from ctcedge.classification.decision import Policy
from ctcedge.classification.ood import OOD_VERSION
from ctcedge.discovery.naming import BRIGHT_FIELD, DEFAULT_CHANNELS
from ctcedge.images.decode import DECODING_VERSION
from ctcedge.model.spec import ModelSpec
from ctcedge.quality.checks import QUALITY_VERSION
from ctcedge.settings import ImageSettings
from ctcedge.sidecars.schema import Sidecar


def scale(images: ImageSettings, spec: ModelSpec) -> float | None:
    """Edge length of a pixel of the crops, um; None where nobody told it, or the model knows none.

    Where nobody told it, crops are brought to the network's input as if it were the model's own,
    but no true size is judged by it.
    """
    return None if spec.input.um_per_px is None else images.um_per_px


def recorded_pixel_size(record: Sidecar) -> float | None:
    """Return what `scale` was when a sidecar was written."""
    return None if record.image.um_per_px_assumed else record.image.um_per_px


def inference_sha256(um_per_px: float | None) -> str:
    """Hash of all settings that can change what network, gate and guard say of an image.

    The image and the model have hashes of their own.

    Args:
        um_per_px: from `scale`.
    """
    return _sha256(_inference(um_per_px))


def settings_sha256(images: ImageSettings, spec: ModelSpec, policy: Policy) -> str:
    """Hash of all settings that can change a call or the cell that it is given to.

    Provider, batch size and output folder are not among them, nor is um/px where the model knows
    none.
    """
    content = _inference(scale(images, spec)) | {
        "pattern": images.pattern,
        "bright_field": list(images.channels.get(BRIGHT_FIELD, DEFAULT_CHANNELS[BRIGHT_FIELD])),
        "operating_point": policy.operating_point,
        "prior": policy.prior,
        "threshold": policy.threshold,
        "review": list(policy.review),
    }
    return _sha256(content)


def _inference(um_per_px: float | None) -> dict[str, object]:
    return {
        "decoding": DECODING_VERSION,
        "um_per_px": um_per_px,
        "quality": QUALITY_VERSION,
        "guard": OOD_VERSION,
    }


def _sha256(content: dict[str, object]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
