"""Values that do not fit are refused by name, with what is wanted and what was found."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from ctcedge.records import Number, RecordError, convert, plain, revised


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    low: Number
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.low < 0:
            raise ValueError("must not be negative")


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(max_length=1000)]
    kind: Literal["a", "b"]
    inner: Inner
    count: int = 3
    on: bool = False
    maybe: Annotated[float, Meta(ge=-1e9, le=1e9)] | None = None
    table: dict[str, Inner] = {}
    several: tuple[Inner, ...] = ()
    pair: tuple[Number, Inner | None] = (0.0, None)
    share: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    renamed: int = msgspec.field(name="from", default=1)
    few: dict[Literal["x", "y"], int] = {}


GOOD: dict[str, Any] = {"name": "x", "kind": "a", "inner": {"low": 1}}


def test_everything_that_fits() -> None:
    built = convert(
        {
            **GOOD,
            "count": 5,
            "on": True,
            "maybe": None,
            "table": {"k": {"low": 0.5, "words": ["p", "q"]}},
        },
        Outer,
    )
    assert built == Outer("x", "a", Inner(1.0), 5, True, None, {"k": Inner(0.5, ("p", "q"))})
    assert type(built.inner.low) is float
    assert convert(plain(built), Outer) == built


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nmae": "x"}, "unknown key 'nmae' (known: name, kind, inner,"),
        ({"inner": {"low": 1, "hgih": 2}}, "unknown key 'inner.hgih' (known: low, words)"),
        ({"inner": {}}, "missing key 'inner.low'"),
        ({"inner": 3}, "'inner' must be a table, not a whole number (3)"),
        ({"inner": {"low": "1"}}, "'inner.low' must be a finite number, not text ('1')"),
        ({"inner": {"low": True}}, "'inner.low' must be a finite number, not true or false (True)"),
        ({"inner": {"low": float("nan")}}, "'inner.low' must be a finite number, not nan"),
        ({"inner": {"low": float("inf")}}, "'inner.low' must be a finite number, not inf"),
        ({"inner": {"low": 10**400}}, "'inner.low' must be a finite number, not 1000"),
        ({"inner": {"low": 10**5000}}, "'inner.low' must be a finite number, not one of thousands"),
        ({"inner": {"low": -1}}, "inner: must not be negative"),
        ({"inner": {"low": 1, "words": "pq"}}, "'inner.words' must be a list, not text ('pq')"),
        ({"inner": {"low": 1, "words": ["p", 1]}}, "'inner.words[1]' must be text"),
        ({"kind": "c"}, "'kind' must be one of 'a', 'b', not 'c'"),
        ({"kind": ["a"]}, "'kind' must be one of 'a', 'b', not a list"),
        ({"name": 1}, "'name' must be text of at most 1,000 characters, not a whole number (1)"),
        ({"name": None}, "'name' must be text of at most 1,000 characters, not null"),
        ({"name": "x" * 1001}, f"characters, not 'xxx{'x' * 56}..."),
        ({"count": 1.5}, "'count' must be a whole number, not a number (1.5)"),
        ({"count": 1.0}, "'count' must be a whole number"),
        ({"count": True}, "'count' must be a whole number"),
        ({"on": 1}, "'on' must be true or false, not a whole number (1)"),
        (
            {"maybe": "x"},
            "between -1,000,000,000 and 1,000,000,000, not text ('x')",
        ),
        (
            {"maybe": 2e9},
            "between -1,000,000,000 and 1,000,000,000, not 2000000000.0",
        ),
        ({"table": []}, "'table' must be a table, not a list"),
        ({"table": {"j": {"low": 1}, "k": {}}}, "missing key 'table.k.low'"),
        ({"table": {"j": {"low": 1}, "k": {"low": -2}}}, "table.k: must not be negative"),
        ({"several": [{"low": 1}, {"low": []}]}, "'several[1].low' must be a finite number"),
        ({"pair": [1]}, "'pair' must be a list of 2, not a list"),
        ({"pair": [1, {"low": "x"}]}, "'pair[1].low' must be a finite number"),
        ({"share": 1}, "'share' must be a number above 0 and below 1, not 1"),
        ({"from": "x"}, "'from' must be a whole number"),
        ({"few": {"z": 1}}, "a key of 'few' must be one of 'x', 'y'"),
        ({"few": {"x": 1, "y": "1"}}, "'few.y' must be a whole number, not text ('1')"),
        ({"name": "\ud800" * 1001}, "'name' must be text of at most 1,000 characters"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError) as error:
        convert({**GOOD, **change}, Outer)
    assert message in str(error.value)


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_only_a_table_will_do(value: Any) -> None:
    with pytest.raises(RecordError, match="the file must be a table, not"):
        convert(value, Outer)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(RecordError, match="missing key 'name'"):
        convert({"kind": "a", "inner": {"low": 1}}, Outer)


def test_a_copy_with_other_values_is_checked() -> None:
    record = convert(GOOD, Outer)
    assert revised(record, share=0.25).share == 0.25
    with pytest.raises(RecordError, match="'share' must be a number above 0"):
        revised(record, share=float("nan"))


def test_a_name_that_is_no_utf8_is_text() -> None:
    assert convert({**GOOD, "name": "a\udcff"}, Outer).name == "a\udcff"
    assert plain(convert({**GOOD, "name": "a\udcff"}, Outer))["name"] == "a\udcff"
