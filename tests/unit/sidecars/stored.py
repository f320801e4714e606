"""Sidecars for tests of the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from ctcedge.discovery.naming import Crop
from ctcedge.sidecars.schema import ReviewRecord, Sidecar, history_after
from ctcedge.sidecars.store import SidecarStore
from tests.helpers.sidecar_data import REVIEW, record
from tests.helpers.sidecar_files import typed

CROP = Crop("S/1_BF.png", "S", "1", "BF")


def planted(folder: SidecarStore, content: bytes | dict[str, Any]) -> Path:
    path = folder.path(CROP)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


CALLED = typed(record())
SECOND = msgspec.structs.replace(
    typed(record(call="review")), history=history_after(typed(record(call="leukocyte")))
)
ADDED_IN_2 = ("operating_point", "score", "cluster", "quality", "inference_sha256", "review")


def of_schema_1(**changes: Any) -> dict[str, Any]:
    kept = {key: value for key, value in record().items() if key not in (*ADDED_IN_2, "ood")}
    return kept | {"schema": "ctcedge/sidecar/1"} | changes


def of_schema_2(**changes: Any) -> dict[str, Any]:
    kept = {key: value for key, value in record().items() if key != "ood"}
    unlike = {"distance": 21.5, "p": 0.25, "traits": [0.5, -1.0]}
    return kept | {"schema": "ctcedge/sidecar/2", "unlike": unlike} | changes


def reviewed(old: Sidecar, **changes: Any) -> Sidecar:
    """The sidecar with a review."""
    review = msgspec.convert(REVIEW | changes, ReviewRecord)
    return msgspec.structs.replace(old, review=review)
