"""Read sidecars from disk, valid by their JSON Schema, and look at a folder's state."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import jsonschema

from ctcedge.fs.unfinished import MAX_UNFINISHED_S
from ctcedge.sidecars.chain import alterations, chained
from ctcedge.sidecars.json_schema import read_schema
from ctcedge.sidecars.parse import encode, parse
from ctcedge.sidecars.schema import Sidecar

_VALIDATOR = jsonschema.Draft202012Validator(
    read_schema(), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)


def sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".ctc.json")


def load(path: Path) -> dict[str, Any]:
    """Read a sidecar and see that it is valid."""
    record: dict[str, Any] = json.loads(path.read_bytes())
    _VALIDATOR.validate(record)
    return record


def typed(record: dict[str, Any]) -> Sidecar:
    """The sidecar that a dictionary describes."""
    parsed = parse(json.dumps(record).encode())
    assert parsed is not None, "no sidecar"
    return parsed.sidecar


def as_dict(record: Sidecar | None) -> dict[str, Any]:
    """The keys and values of a sidecar's file."""
    assert record is not None
    read: dict[str, Any] = json.loads(encode(record))
    return read


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the chain that ctcedge gives to a new sidecar of this content."""
    return as_dict(chained(typed(record), None))


def without_chain(record: dict[str, Any]) -> dict[str, Any]:
    """The record without its chain, which has to fit."""
    assert alterations(typed(record)) == []
    return {key: value for key, value in record.items() if key != "chain"}


def sidecars(root: Path) -> dict[str, dict[str, Any]]:
    """Every sidecar below a folder, valid, by relative path of its image."""
    return {
        str(path.relative_to(root)).removesuffix(".ctc.json"): load(path)
        for path in sorted(root.rglob("*.ctc.json"))
    }


def stray(root: Path) -> list[Path]:
    """What an atomic write may leave behind and must not."""
    return [path for path in root.rglob("*") if path.name.endswith(".tmp")]


def age(path: Path) -> None:
    """Let a temporary file be so old that nobody can still be writing it."""
    old = time.time() - 2 * MAX_UNFINISHED_S
    os.utime(path, (old, old))


def state(root: Path) -> dict[str, tuple[int, int]]:
    """Inode and mtime of every file, to see what was touched."""
    return {
        str(path.relative_to(root)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }
