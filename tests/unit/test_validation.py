from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from ctcedge.validation import StrictError, build


@dataclass(frozen=True)
class Inner:
    low: float
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.low < 0:
            raise ValueError("must not be negative")


@dataclass(frozen=True)
class Outer:
    name: str
    kind: Literal["a", "b"]
    inner: Inner
    count: int = 3
    on: bool = False
    maybe: float | None = None
    table: dict[str, Inner] = field(default_factory=dict)


GOOD: dict[str, Any] = {"name": "x", "kind": "a", "inner": {"low": 1}}


def test_everything_that_fits() -> None:
    built = build(
        Outer,
        {
            **GOOD,
            "count": 5,
            "on": True,
            "maybe": None,
            "table": {"k": {"low": 0.5, "words": ["p", "q"]}},
        },
    )
    assert built == Outer("x", "a", Inner(1.0), 5, True, None, {"k": Inner(0.5, ("p", "q"))})
    assert type(built.inner.low) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nmae": "x"}, "unknown key 'nmae'"),
        ({"inner": {"low": 1, "hgih": 2}}, r"unknown key 'inner\.hgih'"),
        ({"inner": {}}, r"missing key 'inner\.low'"),
        ({"inner": 3}, "'?inner'? must be a table"),
        ({"inner": {"low": "1"}}, r"'inner\.low' must be a number, not text"),
        ({"inner": {"low": True}}, r"'inner\.low' must be a number"),
        ({"inner": {"low": float("nan")}}, "finite"),
        ({"inner": {"low": float("inf")}}, "finite"),
        ({"inner": {"low": 10**400}}, "finite"),
        ({"inner": {"low": -1}}, "inner: must not be negative"),
        ({"inner": {"low": 1, "words": "pq"}}, r"'inner\.words' must be a list"),
        ({"inner": {"low": 1, "words": ["p", 1]}}, r"'inner\.words\[1\]' must be text"),
        ({"kind": "c"}, "'kind' must be one of 'a', 'b'"),
        ({"kind": ["a"]}, "'kind' must be one of"),
        ({"name": 1}, "'name' must be text, not a whole number"),
        ({"name": None}, "'name' must be text"),
        ({"count": 1.0}, "'count' must be a whole number"),
        ({"count": True}, "'count' must be a whole number"),
        ({"on": 1}, "'on' must be true or false"),
        ({"maybe": "x"}, "'maybe' must be a number"),
        ({"table": []}, "'table' must be a table"),
        ({"table": {"k": {}}}, r"missing key 'table\.k\.low'"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(StrictError, match=message):
        build(Outer, {**GOOD, **change})


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_only_a_table_will_do(value: Any) -> None:
    with pytest.raises(StrictError, match="must be a table"):
        build(Outer, value)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(StrictError, match="missing key 'name'"):
        build(Outer, {"kind": "a", "inner": {"low": 1}})
