"""Reference of the sidecar, from its JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .markdown import cell, fill, table
from .types import plural

SCHEMAS = Path(__file__).parents[2] / "ctcedge" / "sidecars" / "schemas"
_NAMES = {
    "array": "list",
    "boolean": "true or false",
    "integer": "whole number",
    "string": "text",
}

Node = dict[str, Any]


def sidecar() -> str:
    """Return the reference of the sidecar's keys, from its newest schema."""
    versions = sorted(
        (int(match[1]), path)
        for path in SCHEMAS.iterdir()
        if (match := re.fullmatch(r"sidecar-(\d+)\.json", path.name))
    )
    version, path = versions[-1]
    older = [str(number) for number, _ in versions[:-1]]
    schema = json.loads(path.read_text(encoding="utf-8"))
    return fill(
        "sidecar.md",
        file=path.name,
        version=str(version),
        older=f"schema {older[0]}" if len(older) == 1 else f"schemas {' and '.join(older)}",
        keys=table(("key", "type", "meaning"), list(_rows(schema, schema))),
    )


def _rows(schema: Node, node: Node, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield key, type and meaning of an object's keys, and of those of the objects in it."""
    for name, child in _resolved(schema, node).get("properties", {}).items():
        key = f"{prefix}{name}"
        yield f"`{key}`", _type(schema, child), cell(_meaning(schema, child))
        for variant in _variants(schema, child):
            if variant.get("properties"):
                yield from _rows(schema, variant, f"{key}.")


def _meaning(schema: Node, node: Node) -> str:
    """Return the description of a node or of a variant; of a list of objects, also their keys."""
    variants = [_resolved(schema, node), *_variants(schema, node)]
    text = next((text for each in variants if (text := each.get("description"))), "")
    for variant in variants:
        if isinstance(items := variant.get("items"), dict):
            keys = ", ".join(f"`{key}`" for key in _resolved(schema, items).get("properties", {}))
            return f"{text} Keys: {keys}." if keys else text
    return text


def _variants(schema: Node, node: Node) -> list[Node]:
    """Return what a node may be: itself, or each of `anyOf`."""
    node = _resolved(schema, node)
    return [_resolved(schema, variant) for variant in node.get("anyOf", [node])]


def _resolved(schema: Node, node: Node) -> Node:
    """Follow references; keys beside one have priority."""
    while "$ref" in node:
        target: Any = schema
        for key in node["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def _type(schema: Node, node: Node) -> str:
    node = _resolved(schema, node)
    if "anyOf" in node:
        names = dict.fromkeys(_type(schema, variant) for variant in node["anyOf"])
        return " or ".join(sorted(names, key=lambda name: name == "null"))
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return ", ".join("null" if value is None else f"`{value}`" for value in node["enum"])
    kinds = node.get("type", "any")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    names = dict.fromkeys(_NAMES.get(kind, kind) for kind in kinds)
    items = node.get("items")
    count = len(node.get("prefixItems", ()))  # a list of a fixed length
    if count:
        items = node["prefixItems"][0]
    if "list" in names and isinstance(items, dict):
        of = f"{count} {plural(_type(schema, items))}" if count else plural(_type(schema, items))
        names = {f"list of {of}": None} | names
        del names["list"]
    return " or ".join(names)
