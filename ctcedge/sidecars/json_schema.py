"""JSON Schemas of sidecars: that of schema 3 is generated from the types, those before are files.

`python -m ctcedge.sidecars.json_schema` writes the generated schema to `schemas/sidecar-3.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from ctcedge.fs.files import atomic_write
from ctcedge.sidecars.schema import SCHEMA_VERSION, Sidecar

_FOLDER = Path(__file__).parent / "schemas"
_CLASSIFIED = {
    "properties": {
        "status": {"const": "classified"},
        "call": {"type": "string"},
        "probability": {"type": "number"},
        "error": {"type": "null"},
        "image": {
            "properties": {
                "sha256": {"type": "string"},
                "width": {"type": "integer"},
                "height": {"type": "integer"},
            }
        },
    }
}
_NOT_CLASSIFIED = {
    "properties": {
        "status": {"enum": ["unreadable", "unsupported"]},
        "call": {"type": "null"},
        "probability": {"type": "null"},
        "score": {"type": "null"},
        "error": {"type": "string", "minLength": 1},
    }
}


def read_schema(version: int = SCHEMA_VERSION) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a sidecar, as it is shipped."""
    schema: dict[str, Any] = json.loads(_path(version).read_text(encoding="utf-8"))
    return schema


def generate_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the type `Sidecar`."""
    generated = msgspec.json.schema(Sidecar)
    definitions = generated["$defs"]
    for definition in definitions.values():
        definition["additionalProperties"] = False
    sidecar = definitions.pop("Sidecar")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:ctcedge:sidecar:{SCHEMA_VERSION}",
        **sidecar,
        "title": "Classification of one bright-field crop by ctcedge",
        "description": "Research software, not a diagnostic. One file a crop, named"
        " <image file>.ctc.json.",
        "oneOf": [_CLASSIFIED, _NOT_CLASSIFIED],
        "$defs": definitions,
    }


def _path(version: int) -> Path:
    return _FOLDER / f"sidecar-{version}.json"


if __name__ == "__main__":
    text = json.dumps(generate_schema(), indent=2) + "\n"
    atomic_write(_path(SCHEMA_VERSION), text.encode(), world_readable=True)
