"""From the bytes of a sidecar file to a `Sidecar` and back, schemas 1 to 3.

Any JSON value that does not have a sidecar's keys, types, lengths and ranges is no sidecar; so is a
torn file. `salvage` returns the reviews and earlier calls that can still be read from such a file.

msgspec refuses lone surrogates, which stand for the bytes of file names that are not UTF-8. Such
records are read and written by the standard library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from ctcedge.sidecars.schema import (
    SCHEMA,
    SCHEMA_FAMILY,
    SCHEMA_VERSION,
    ChainRecord,
    HistoryEntry,
    ReviewEntry,
    ReviewRecord,
    Sidecar,
)

MAX_BYTES = 4 * 1024 * 1024
"""Largest sidecar file that is read."""

MAX_REVIEWS = 1000
"""Reviews of one cell; `ctcedge review import` adds no more."""

MAX_REVIEW_BYTES = 1024 * 1024
"""Bytes of the reviews of one cell, so that there is always room for a call."""

_VERSION = re.compile(re.escape(SCHEMA_FAMILY) + r"([0-9]{1,9})")
_ADDED_IN_2 = (
    "operating_point",
    "score",
    "cluster",
    "quality",
    "unlike",
    "inference_sha256",
    "review",
)
_ADDED_TO_HISTORY_IN_2 = {"operating_point": None, "score": None}
_REASONS_RENAMED_IN_3 = {
    "unlike-training": "out-of-distribution",
    "cut-by-edge": "truncated",
    "neighbour": "multiple-objects",
    "too-few-pixels": "low-resolution",
}
_BEFORE_JSON = b"\xef\xbb\xbf \t\r\n"
_ERRORS = (ValueError, TypeError, OverflowError, RecursionError)

_Json = dict[str, Any]
_T = TypeVar("_T")

_decoder = msgspec.json.Decoder(Sidecar)
_encode = msgspec.json.Encoder().encode


class NewerSchemaError(ValueError):
    """A sidecar of a schema that a newer version of ctcedge defines."""


class Parsed(NamedTuple):
    """A sidecar, and the version of the schema that its file follows."""

    sidecar: Sidecar
    version: int


class Salvaged(NamedTuple):
    """What can be read from a file that is no sidecar.

    Attributes:
        review: the reviews that can be read; None where there are none.
        history: the calls that can be read, oldest first.
        complete: whether nothing else of value is in the file.
        chain: the hash chain over them; None where it cannot be read.
    """

    review: ReviewRecord | None
    history: tuple[HistoryEntry, ...]
    complete: bool
    chain: ChainRecord | None = None


def parse(data: bytes) -> Parsed | None:
    """Return the sidecar that a file holds, in the present schema; None where it holds none.

    Raises:
        NewerSchemaError: the file follows a later schema.
    """
    if len(data) > MAX_BYTES:
        return None
    try:
        return Parsed(_decoder.decode(data), SCHEMA_VERSION)
    except _ERRORS:
        pass
    record = _loads(data)
    version = _version(record)
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(f"schema {SCHEMA_FAMILY}{version} is newer than {SCHEMA}")
    if record is None or version == 0:
        return None
    sidecar = _converted(_upgraded(record, version), Sidecar)
    return None if sidecar is None else Parsed(sidecar, version)


def encode(sidecar: Sidecar) -> bytes:
    """The bytes of a sidecar's file: JSON in which each key begins a line."""
    return _json(sidecar, indent=1) + b"\n"


def reviews_fit(review: ReviewRecord) -> bool:
    """Whether a cell may hold so many reviews, of such lengths."""
    return len(review.history) < MAX_REVIEWS and len(_json(review, indent=2)) <= MAX_REVIEW_BYTES


def is_oversized_sidecar(data: bytes) -> bool:
    """Whether a file is larger than what is read, and begins like a sidecar.

    Args:
        data: its first bytes, more than `MAX_BYTES` where it is too large.
    """
    oversized = len(data) > MAX_BYTES
    return oversized and data.lstrip(_BEFORE_JSON)[:1] == b"{" and SCHEMA_FAMILY.encode() in data


def salvage(data: bytes) -> Salvaged:
    """Return the reviews and calls that can be read from a file that `parse` refuses."""
    if not data.strip(b"\0 \t\r\n"):
        return Salvaged(None, (), complete=True)  # what a power cut leaves of a new file
    record = _loads(data)
    if record is None or len(data) > MAX_BYTES:
        return Salvaged(None, (), complete=False)
    version = _version(record)
    record = _upgraded(record, version) if version else record
    reviews, all_reviews = _salvaged_reviews(record.get("review"))
    history, all_history = _each(record.get("history"), HistoryEntry)
    complete = all_reviews and all_history
    if record.get("call") is not None:
        image = record.get("image")
        sha256 = image.get("sha256") if isinstance(image, dict) else None
        own = _converted({**record, "image_sha256": sha256}, HistoryEntry)
        history = history if own is None else (*history, own)
        complete = complete and own is not None
    review = ReviewRecord.of(reviews) if reviews else None
    chain = _converted(record.get("chain"), ChainRecord)
    return Salvaged(review, history, complete and version > 0, chain)


def _salvaged_reviews(review: object) -> tuple[tuple[ReviewEntry, ...], bool]:
    if review is None:
        return (), True
    if not isinstance(review, dict):
        return (), False
    earlier, complete = _each(review.get("history"), ReviewEntry)
    last = _converted(review, ReviewEntry)
    return (earlier, False) if last is None else ((*earlier, last), complete)


def _each(values: object, kind: type[_T]) -> tuple[tuple[_T, ...], bool]:
    """The entries of a list that are of a kind, and whether all of them are."""
    if values is None:
        return (), True
    if not isinstance(values, list):
        return (), False
    entries = [_converted(value, kind) for value in values]
    return tuple(e for e in entries if e is not None), None not in entries


def _json(record: msgspec.Struct, indent: int) -> bytes:
    try:
        compact = _encode(record)
    except UnicodeEncodeError:
        # A lone surrogate becomes a JSON escape.
        text = json.dumps(msgspec.to_builtins(record), ensure_ascii=False, indent=indent)
        return text.encode("utf-8", "backslashreplace")
    return msgspec.json.format(compact, indent=indent)


def _loads(data: bytes) -> _Json | None:
    try:
        record = json.loads(data)
    except _ERRORS:
        return None
    return record if isinstance(record, dict) else None


def _converted(value: object, kind: type[_T]) -> _T | None:
    try:
        return msgspec.convert(value, kind)
    except _ERRORS:
        return None


def _version(record: _Json | None) -> int:
    """The version of the schema that a record names; 0 where it names none of ctcedge's."""
    schema = (record or {}).get("schema")
    match = _VERSION.fullmatch(schema) if isinstance(schema, str) else None
    return int(match[1]) if match else 0


def _upgraded(record: _Json, version: int) -> _Json:
    if version == 1:
        record = _from_1_to_2(record)
    return _from_2_to_3(record) if version < 3 else record


def _from_1_to_2(record: _Json) -> _Json:
    history = record.get("history")
    if isinstance(history, list):
        history = [_ADDED_TO_HISTORY_IN_2 | e if isinstance(e, dict) else e for e in history]
    return {**dict.fromkeys(_ADDED_IN_2), **record, "history": history}


def _from_2_to_3(record: _Json) -> _Json:
    upgraded = {key: value for key, value in record.items() if key != "unlike"}
    upgraded["schema"] = SCHEMA
    upgraded["reasons"] = _renamed(record.get("reasons"))
    quality, unlike = record.get("quality"), record.get("unlike")
    if isinstance(quality, dict):
        upgraded["quality"] = {**quality, "reasons": _renamed(quality.get("reasons"))}
    if isinstance(unlike, Mapping):
        upgraded["ood"] = {
            "distance": unlike.get("distance"),
            "p_value": unlike.get("p"),
            "features": unlike.get("traits"),
        }
    elif "unlike" in record:
        upgraded["ood"] = unlike
    return upgraded


def _renamed(reasons: object) -> object:
    if not isinstance(reasons, Iterable) or isinstance(reasons, str):
        return reasons
    return [_REASONS_RENAMED_IN_3.get(r, r) if isinstance(r, str) else r for r in reasons]
