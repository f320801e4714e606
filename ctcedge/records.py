"""Typed records made from parsed JSON or TOML, with error messages for the people who wrote it.

The types are msgspec structs. Where a value does not fit, the message names its key, what is wanted
there and what was found. A type may say what is wanted in words: `Meta(extra={"wanted": "..."})`.
"""

from __future__ import annotations

import numbers
import re
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from ctcedge.meant import did_you_mean, number_to_write

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

MAX_COUNT = 10**12
MAX_NUMBER = 3.5e38
"""Largest magnitude of a number that has no narrower range: what a 32-bit float holds."""

Number = Annotated[float, Meta(ge=-MAX_NUMBER, le=MAX_NUMBER, extra={"wanted": "a finite number"})]
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Sha256 = Annotated[
    str,
    Meta(
        min_length=64,
        max_length=64,
        pattern="^[0-9a-f]{64}$",
        extra={"wanted": "64 hexadecimal digits"},
    ),
]
Time = Annotated[
    str,
    Meta(
        description="RFC 3339, UTC.",
        max_length=30,
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$",
        extra_json_schema={"format": "date-time"},
        extra={"wanted": "a time such as 2026-01-31T12:00:00Z"},
    ),
]

_MESSAGE = re.compile(
    r"(?P<problem>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL
)
_STEP = re.compile(r"\.(?P<field>[^.\[]+)|\[(?P<index>\d+)\]|\[\.\.\.\]")
_MAX_SHOWN = 60  # characters of a value in a message


class RecordError(ValueError):
    """A value does not fit its type; the text names its key."""


def convert(value: object, kind: type[T]) -> T:
    """Make a record from what a parser of JSON or TOML returned.

    Args:
        value: tables, lists, texts, numbers, booleans and None.
        kind: a struct type.

    Raises:
        RecordError: naming the key that is unknown or missing, or whose value does not fit.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise RecordError(_explain(str(error), value, kind)) from None


def revised(record: S, **changes: object) -> S:
    """Return a copy of a record with other values of some keys, all of them checked.

    Raises:
        RecordError: naming the key whose value does not fit.
    """
    return convert(plain(record) | changes, type(record))


def plain(record: msgspec.Struct) -> dict[str, Any]:
    """Return a record as tables, lists, texts and numbers, ready for JSON."""
    content: dict[str, Any] = msgspec.to_builtins(record, enc_hook=plain_number)
    return content


def plain_number(value: object) -> object:
    """Return a number of another library, such as NumPy's, as Python's int or float.

    Raises:
        NotImplementedError: it is no number.
    """
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise NotImplementedError(f"{type(value).__name__} is no number")


def _explain(message: str, value: object, kind: Any) -> str:
    match = _MESSAGE.fullmatch(message)
    assert match is not None  # the pattern matches any text
    problem = match["problem"]
    name, value, kind = _locate(match["path"] or "", value, kind)
    if match["key"]:
        return f"a key of '{name}' must be {_wanted(_key_type(kind))}"
    if problem.startswith("Object contains unknown field"):
        unknown, known = problem.split("`")[1], _fields(kind)
        meant = did_you_mean(unknown, known)
        return f"unknown key '{_join(name, unknown)}' (known: {', '.join(known)}){meant}"
    if problem.startswith("Object missing required field"):
        return f"missing key '{_join(name, problem.split('`')[1])}'"
    if problem.startswith(("Expected", "Invalid", "Number out of range")):
        subject = f"'{name}'" if name else "the file"
        if value == "" and "length" in problem:
            return f"{subject} must not be empty"
        return f"{subject} must be {_wanted(kind)}, not {_found(value, kind)}{_meant(value, kind)}"
    return f"{name}: {problem}" if name else problem  # from a type's own check


def _locate(path: str, value: Any, kind: Any) -> tuple[str, Any, Any]:
    """Return name, value and type of the place to which a path of msgspec leads."""
    name = ""
    for step in _STEP.finditer(path):
        kind = _inner(kind)[0]
        if step["field"] is not None:
            key: Any = step["field"]
            kind = _fields(kind)[key]
            name = _join(name, key)
        elif step["index"] is not None:
            key = int(step["index"])
            item_types = get_args(kind)
            kind = item_types[min(key, len(item_types) - 1) if item_types[-1] is not ... else 0]
            name = f"{name}[{key}]"
        else:
            kind = get_args(kind)[1]
            key = next(key for key in value if not _fits(value[key], kind))
            name = _join(name, str(key))
        value = value[key]
    return name, value, kind


def _fits(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _fields(kind: Any) -> dict[str, Any]:
    """Types of a struct by key, None allowed or not."""
    return {each.encode_name: each.type for each in msgspec.structs.fields(_inner(kind)[0])}


def _key_type(kind: Any) -> Any:
    return get_args(_inner(kind)[0])[0]


def _inner(kind: Any) -> tuple[Any, list[Meta]]:
    """A type without `Annotated` and `| None`, and its constraints."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        inner, constraints = _inner(arguments[0])
        return inner, [*constraints, *(each for each in arguments[1:] if isinstance(each, Meta))]
    if origin in (Union, types.UnionType):
        (only,) = (each for each in arguments if each is not type(None))
        return _inner(only)
    return kind, []


def _wanted(kind: Any) -> str:
    inner, constraints = _inner(kind)
    for each in constraints:
        if each.extra and "wanted" in each.extra:
            return str(each.extra["wanted"])
    origin, arguments = get_origin(inner), get_args(inner)
    if origin is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if inner in (int, float):
        return f"a {'whole ' * (inner is int)}number{_range(constraints)}"
    if inner is str:
        return f"text{_length(constraints, 'characters')}"
    if origin in (tuple, list):
        exact = origin is tuple and ... not in arguments
        return f"a list of {len(arguments)}" if exact else f"a list{_length(constraints, 'items')}"
    return "true or false" if inner is bool else "a table"


def _range(constraints: Iterable[Meta]) -> str:
    limits: dict[str, float] = {}
    for each in constraints:
        for name in ("ge", "gt", "le", "lt"):
            if (limit := getattr(each, name)) is not None:
                limits[name] = limit
    if limits.get("le", 0) >= MAX_COUNT:  # no one comes near it
        del limits["le"]
    shown = {name: f"{limit:,.12g}" for name, limit in limits.items()}
    if shown.keys() == {"ge", "le"}:
        return f" between {shown['ge']} and {shown['le']}"
    words = {"ge": "of at least", "gt": "above", "le": "at most", "lt": "below"}
    text = " and ".join(f"{words[name]} {limit}" for name, limit in shown.items())
    return f" {text}" if text else ""


def _length(constraints: Iterable[Meta], unit: str) -> str:
    low = high = None
    for each in constraints:
        low, high = each.min_length or low, each.max_length or high
    if high is None:
        return f" of at least {low} {unit}" if low else ""
    return f" of {low} to {high:,} {unit}" if low else f" of at most {high:,} {unit}"


_NAMES = {
    str: "text",
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
    type(None): "null",
}


def _found(value: object, kind: Any) -> str:
    """The value where its type is right, else its type, and the value where it is short."""
    inner = _inner(kind)[0]
    if get_origin(inner) is Literal:
        inner = str
    if type(value) is inner or (inner, type(value)) == (float, int):
        return _cut(value)
    name = _NAMES.get(type(value), type(value).__name__)
    return f"{name} ({_cut(value)})" if isinstance(value, (str, int, float)) else name


def _meant(value: object, kind: Any) -> str:
    """The choice or the number that a text was probably meant as."""
    inner = _inner(kind)[0]
    if not isinstance(value, str):
        return ""
    if get_origin(inner) is Literal:
        return did_you_mean(value, [each for each in get_args(inner) if isinstance(each, str)])
    if inner in (int, float) and (number := number_to_write(value[:_MAX_SHOWN])):
        return f"; write {number} with a point, without quotes"
    return ""


def _cut(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "one of thousands of digits"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
