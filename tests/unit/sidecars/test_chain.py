from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ctcedge.sidecars.chain import alterations, chained
from ctcedge.sidecars.parse import encode, parse
from ctcedge.sidecars.store import SidecarStore
from tests.helpers.sidecar_data import REVIEW, record
from tests.helpers.sidecar_files import as_dict, load, sealed, typed
from tests.unit.sidecars.stored import CROP, SECOND, planted, reviewed

CALL = "its call or other values were changed after it was written"
HISTORY = "its earlier calls were changed, or some were removed"
REVIEWS = "its reviews were changed, or some were removed"


def grown(out: SidecarStore) -> dict[str, Any]:
    """A sidecar with two earlier calls and three reviews, as ctcedge writes it step by step."""
    for call in ("leukocyte", "review", "CTC"):
        out.write(CROP, typed(record(call=call)))
    for day in (3, 5, 4):
        out.amend(CROP, lambda old, day=day: _with_review(old, f"2026-01-0{day}T00:00:00Z"))
    written = load(out.path(CROP))
    assert alterations(typed(written)) == []
    assert [len(written["history"]), len(written["review"]["history"])] == [2, 2]
    return written


def _with_review(old: Any, time: str) -> Any:
    entry = reviewed(old, time=time).review.latest
    reviews = tuple(sorted((*old.reviews, entry), key=lambda review: review.time))
    review = type(reviewed(old).review).of(reviews)
    return msgspec.structs.replace(old, review=review)


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], list[str]]] = {
    "call": (lambda r: r.update(call="leukocyte"), [CALL]),
    "cell": (lambda r: r.update(cell="999"), [CALL]),
    "score": (lambda r: r.update(score=1.0), [CALL]),
    "image": (lambda r: r["image"].update(name="x.png"), [CALL]),
    "history emptied": (lambda r: r.update(history=[]), ["its earlier calls were removed"]),
    "first call removed": (lambda r: r["history"].pop(0), [HISTORY]),
    "last call removed": (lambda r: r["history"].pop(), [HISTORY]),
    "calls swapped": (lambda r: r["history"].reverse(), [HISTORY]),
    "earlier call": (lambda r: r["history"][0].update(call="CTC"), [HISTORY]),
    "reviews removed": (lambda r: r.update(review=None), ["its reviews were removed"]),
    "earlier review removed": (lambda r: r["review"]["history"].pop(0), [REVIEWS]),
    "review": (lambda r: r["review"].update(call="leukocyte", reviewer="Mallory"), [REVIEWS]),
    "note of an earlier review": (lambda r: r["review"]["history"][0].update(note="x"), [REVIEWS]),
    "all": (
        lambda r: r.update(review=None, history=[], cell="9"),
        [CALL, "its earlier calls were removed", "its reviews were removed"],
    ),
}


@pytest.mark.parametrize(("edit", "why"), EDITS.values(), ids=EDITS)
def test_what_was_edited_shows_and_goes_on_to_show(
    out: SidecarStore, edit: Callable[[dict[str, Any]], object], why: list[str]
) -> None:
    edited = grown(out)
    edit(edited)
    path = planted(out, edited)
    assert alterations(typed(edited)) == why
    out.amend(CROP, lambda old: _with_review(old, "2026-02-01T00:00:00Z"))
    reasons = {text.split()[1] for text in why}
    assert {text.split()[1] for text in alterations(typed(load(path)))} == reasons
    out.write(CROP, typed(record(call="review")))
    still = alterations(typed(load(path)))
    # The edited call is an earlier one now.
    assert {text.split()[1] for text in still} == {"earlier" if r == "call" else r for r in reasons}


def test_entries_added_by_hand_show() -> None:
    added = sealed(record()) | {"review": REVIEW, "history": as_dict(SECOND)["history"]}
    assert alterations(typed(added)) == [
        "earlier calls were added by hand",
        "reviews were added by hand",
    ]


def test_layout_and_order_of_keys_are_no_change(out: SidecarStore) -> None:
    again = json.dumps(grown(out), indent=7, sort_keys=True)
    assert alterations(typed(json.loads(again))) == []


def test_a_sidecar_without_a_chain_gets_one_when_it_is_written_again(out: SidecarStore) -> None:
    path = planted(out, record(review=REVIEW, history=as_dict(SECOND)["history"]))
    assert alterations(typed(load(path))) == []
    out.write(CROP, typed(record(call="leukocyte")))
    written = load(path)
    assert alterations(typed(written)) == []
    written["review"] = None
    assert alterations(typed(written)) == ["its reviews were removed"]


DAMAGE: dict[str, Any] = {"image": record()["image"] | {"um_per_px": 1e308}}


@pytest.mark.parametrize(
    ("edit", "count"),
    [
        (lambda r: None, 0),
        (lambda r: r.update(review=None), 1),
        (lambda r: r["history"].pop(0), 1),
        (lambda r: r.update(review=None, history=[]), 2),
        (lambda r: r.pop("chain"), 0),
        (lambda r: r.update(chain=5), 0),
    ],
)
def test_what_was_edited_shows_although_the_file_was_damaged(
    out: SidecarStore, edit: Callable[[dict[str, Any]], object], count: int
) -> None:
    damaged = grown(out) | DAMAGE
    edit(damaged)
    path = planted(out, damaged)
    out.write(CROP, typed(record(call="review")))
    assert len(alterations(typed(load(path)))) == count


@pytest.mark.parametrize("name", ["1", "0\udcff\n[red]é", "\x00\u2028"])
def test_odd_names_fit_their_chain(name: str) -> None:
    kept = chained(typed(record(cell=name, review=REVIEW | {"note": name})), None)
    parsed = parse(encode(kept))
    assert parsed is not None
    assert (parsed.sidecar, alterations(parsed.sidecar)) == (kept, [])


def test_the_hashes_stay_the_same() -> None:
    """Other hashes of the same content would show as changes of what was written before."""
    assert sealed(as_dict(SECOND) | {"review": REVIEW})["chain"] == {
        "record": "ebe238d1566733b7e28ece57a7f852856bbd66cb72c966dcd8adb83b1eb4ac0a",
        "history": "e69d0a56902c199cbbf496f04915c6f0d397a3d482c6be5bad6036d2d08feb10",
        "reviews": "fa9f0f971c84ea7e78658bca250f067e37997db2f7d9c0bd60a3a16715c2acc9",
    }
