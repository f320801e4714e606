"""A whole sidecar as a dictionary, to be changed by tests."""

from __future__ import annotations

from typing import Any

HASH = "0" * 64

REVIEW: dict[str, Any] = {
    "call": "CTC",
    "reviewer": "Ada",
    "time": "2026-01-03T00:00:00Z",
    "from": "review",
    "note": "",
    "image_sha256": HASH,
    "channels": ["BF"],
    "blinded": False,
    "weight": None,
    "history": [],
}


def record(**changes: Any) -> dict[str, Any]:
    return {
        "schema": "ctcedge/sidecar/3",
        "status": "classified",
        "call": "CTC",
        "probability": 0.9,
        "prior": 0.5,
        "threshold": 0.5,
        "review_band": [0.4, 0.6],
        "operating_point": None,
        "score": 2.197225,
        "reasons": [],
        "cluster": False,
        "quality": {"reasons": [], "cells": 1.0},
        "ood": {"distance": 21.5, "p_value": 0.25, "features": [0.5, -1.0]},
        "error": None,
        "sample": "S",
        "cell": "1",
        "image": {
            "name": "1_BF.png",
            "sha256": HASH,
            "bytes": 1,
            "width": 8,
            "height": 8,
            "bit_depth": 8,
            "um_per_px": 0.5,
            "um_per_px_assumed": False,
        },
        "model": {"name": "m", "version": "1", "sha256": HASH, "variant": "int8"},
        "inference_sha256": HASH,
        "settings_sha256": HASH,
        "software": {"ctcedge": "0", "onnxruntime": "0", "provider": "cpu"},
        "created": "2026-01-02T03:04:05.678Z",
        "review": None,
        "history": [],
    } | changes
