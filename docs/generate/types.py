"""Typed records: their fields, what docstrings say about them, and names of types for readers."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec


class Field(NamedTuple):
    """A field of a typed record.

    Attributes:
        key: name of the field in a file.
        kind: its type.
        default: its default, where it has one.
        meaning: what the record's docstring says about it.
    """

    key: str
    kind: Any
    default: object
    meaning: str


def fields(record: type) -> list[Field]:
    """Return the fields of a dataclass or a msgspec struct."""
    hints, meanings = typing.get_type_hints(record), attributes(record)
    found: list[tuple[str, str, object]] = []
    if issubclass(record, msgspec.Struct):
        for field in msgspec.structs.fields(record):
            is_made = field.default_factory is not msgspec.NODEFAULT
            default = field.default_factory() if is_made else field.default
            found.append((field.name, field.encode_name, default))
    elif dataclasses.is_dataclass(record):
        for each in dataclasses.fields(record):
            factory = each.default_factory
            default = each.default if factory is dataclasses.MISSING else factory()
            found.append((each.name, each.name, default))
    return [
        Field(key, hints[name], default, meanings.get(name, "")) for name, key, default in found
    ]


def attributes(kind: type) -> dict[str, str]:
    """Return the section 'Attributes' of a class's docstring, by attribute."""
    section = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        if match := re.fullmatch(r"    (\w+): (.*)", line):
            name = match[1]
            found[name] = match[2]
        elif name:
            found[name] += f" {line.strip()}"
    return {name: text[:1].upper() + text[1:].strip() for name, text in found.items()}


def records_in(annotation: Any) -> Iterator[type]:
    """Yield the typed records that a type contains."""
    for argument in typing.get_args(annotation):
        yield from records_in(argument)
    if isinstance(annotation, type) and (
        dataclasses.is_dataclass(annotation) or issubclass(annotation, msgspec.Struct)
    ):
        yield annotation


def type_name(annotation: Any) -> str:
    """Return a type's name for a reader who knows no Python."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin is typing.Literal:
        return ", ".join(f"`{argument}`" for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_name(argument) for argument in arguments))
    if origin in (tuple, list):
        names = {type_name(argument) for argument in arguments if argument is not ...}
        return f"list of {plural(names.pop()) if len(names) == 1 else 'values'}"
    if isinstance(origin, type) and issubclass(origin, typing.Mapping):
        return f"table of {plural(type_name(arguments[1]))}"
    plain: dict[Any, str] = {
        str: "text",
        float: "number",
        int: "whole number",
        bool: "`true` or `false`",
        type(None): "none",
    }
    if annotation in plain:
        return plain[annotation]
    name: str = annotation.__name__
    return f"[{name}](#{name.lower()})"


def plural(name: str) -> str:
    """Return the plural of a type's name."""
    known = {"text": "texts", "number": "numbers", "whole number": "whole numbers"}
    if name.startswith("list of "):
        return f"lists{name.removeprefix('list')}"
    return known.get(name, "objects" if name == "object" else name)
