"""Entries of a corrections file, as the report page writes them."""

from __future__ import annotations

from typing import Any


def correction(path: str, record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A blinded review as CTC of the cell of a sidecar.

    Args:
        path: of the image, relative to the searched folder.
        record: content of the sidecar.
        **changes: other values.
    """
    return {
        "path": path,
        "sample": record["sample"],
        "cell": record["cell"],
        "image_sha256": record["image"]["sha256"],
        "model_sha256": record["model"]["sha256"],
        "from": record["call"],
        "call": "CTC",
        "note": "",
        "time": "2026-01-02T03:04:05.678Z",
        "channels": ["BF"],
        "blinded": True,
        "weight": None,
    } | changes
