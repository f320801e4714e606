"""Strict reading of settings and specs: unknown, missing and mistyped keys are named."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class StrictError(ValueError):
    """A key is unknown, missing or of the wrong type; the text names it."""


def build(kind: type[T], value: Any, where: str = "") -> T:
    """Make a dataclass instance from parsed JSON or TOML, refusing whatever does not fit.

    Args:
        kind: a dataclass whose fields are numbers, texts, booleans, `Literal`s, dataclasses,
            `dict[str, X]`, `tuple[X, ...]` or optional forms of these.
        value: what the parser returned.
        where: name of `value`, for messages.

    Raises:
        StrictError: naming the key.
    """
    if not isinstance(value, Mapping):
        raise StrictError(f"{where or 'the file'} must be a table, not {_name(value)}")
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in value:
        if key not in fields:
            raise StrictError(f"unknown key '{_join(where, key)}' (known: {', '.join(fields)})")
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _convert(hints[name], value[name], _join(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise StrictError(f"missing key '{_join(where, name)}'")
    try:
        return kind(**arguments)
    except StrictError:
        raise
    except ValueError as error:
        raise StrictError(f"{where}: {error}" if where else str(error)) from None


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin, options = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in options:
            return None
        (kind,) = (option for option in options if option is not type(None))
        return _convert(kind, value, where)
    if origin is Literal:
        if value not in options:
            raise StrictError(f"'{where}' must be one of {', '.join(map(repr, options))}")
        return value
    if origin is dict:
        if not isinstance(value, Mapping):
            raise StrictError(f"'{where}' must be a table, not {_name(value)}")
        return {key: _convert(options[1], item, _join(where, key)) for key, item in value.items()}
    if origin is tuple:
        if not isinstance(value, list):
            raise StrictError(f"'{where}' must be a list, not {_name(value)}")
        return tuple(_convert(options[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(kind):
        return build(kind, value, where)  # type: ignore[arg-type]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            raise StrictError(f"'{where}' must be a finite number") from None
    if type(value) is not kind:
        raise StrictError(f"'{where}' must be {_TYPE_NAMES[kind]}, not {_name(value)}")
    if kind is float and not math.isfinite(value):
        raise StrictError(f"'{where}' must be a finite number")
    return value


_TYPE_NAMES = {str: "text", float: "a number", int: "a whole number", bool: "true or false"}


def _name(value: Any) -> str:
    return _TYPE_NAMES.get(type(value), type(value).__name__)


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
