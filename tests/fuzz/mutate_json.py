"""Changes of bytes and of parsed JSON."""

from __future__ import annotations

import json
import random
from typing import Any

_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e308, -1e308, 5e-324, 10**30, -(10**400)),
    *(float("nan"), float("inf"), float("-inf"), "", "x", "\0", "\ud800", "\udcff", "é\n\x1b[31m"),
    *("../x", "/etc/passwd", ".", "..", "a/b", "CTC", "int8", "x" * 5000, [], {}, [[]], [None]),
    *({"": {}}, {"sha256": None}, {"schema": 1}, [0.4, 0.6], [90, 90], 8, 4096, "0" * 64),
)


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, double, insert, blank or zero some bytes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        place = rng.randrange(len(out) + 1)
        length = rng.choice((1, 1, 2, 4, 8, 64, 512))
        match rng.randrange(14):
            case 0:
                del out[place:]
            case 1:
                del out[place : place + length]
            case 2:
                out[place:place] = out[place : place + length]
            case 3:
                out[place:place] = rng.randbytes(length)
            case 4:
                out[place:] = bytes(len(out) - place)
            case 5:
                out[place : place + length] = rng.randbytes(len(out[place : place + length]))
            case _:
                if place < len(out):
                    out[place] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return bytes(out)


def changed_json(data: bytes, rng: random.Random) -> bytes:
    """Change values and keys of a JSON file, and sometimes bytes anywhere."""
    value = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _changed_value(value, rng)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    match rng.randrange(12):
        case 0:
            text = text.replace("{", '{"schema": "ctcedge/model/1", "schema": 7, ', 1)
        case 1:
            depth = rng.choice((10, 900, 1100, 50_000))
            mark = rng.choice("[{")
            text = text.replace("0", mark * depth + ("]" if mark == "[" else "}") * depth, 1)
        case 2:
            text = text.replace("0.5", rng.choice(("1e999", "-1e999", "9" * 5000, "00", "0x1")))
        case _:
            pass
    made = text.encode("utf-8", "surrogatepass")
    return changed_bytes(made, rng) if rng.random() < 0.15 else made


def _changed_value(value: Any, rng: random.Random) -> Any:
    """Replace, drop or double something somewhere in parsed JSON."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        match rng.randrange(12):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return {**value, rng.choice(("", "x", "\ud800", key + " ")): value[key]}
            case _:
                return {**value, key: _changed_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        place = rng.randrange(len(value))
        changed = _changed_value(value[place], rng)
        return value[:place] + [changed] * rng.randrange(4) + value[place + 1 :]
    return rng.choice(_ODD_VALUES)
