from __future__ import annotations

import errno
import json
import os
from typing import Any

import pytest

from ctcedge.sidecars.store import SidecarStore
from tests.helpers.sidecar_data import REVIEW, record
from tests.helpers.sidecar_files import as_dict, load, stray, typed
from tests.unit.sidecars.stored import CROP, SECOND, of_schema_1, of_schema_2, planted

TORN: dict[str, bytes] = {
    "empty": b"",
    "cut": json.dumps(record()).encode()[:200],
    "zeros": bytes(500),
    "not UTF-8": b"\xff\xfe\xfd",
    "a list": b"[]",
    "another's": b'{"schema": "someone/else/7", "call": "CTC"}',
    "no schema": b'{"call": "CTC"}',
    "a huge version": b'{"schema": "ctcedge/sidecar/' + b"9" * 5000 + b'"}',
    "a huge number": b'{"schema": 1' + b"0" * 5000 + b"}",
    "deep": b'{"a":' * 100_000,
    "keys missing": json.dumps({k: v for k, v in record().items() if k != "image"}).encode(),
    "a wrong call": json.dumps(record(call=["CTC"])).encode(),
    "no call": json.dumps(record(call=None)).encode(),
    "a wrong status": json.dumps(record(status="done")).encode(),
    "history of text": json.dumps(record(history="")).encode(),
    "a score that is text": json.dumps(record(score="1")).encode(),
    "a score that is no number": json.dumps(record(score=float("nan"))).encode(),
    "a score of many digits": json.dumps(record(score=10**400)).encode(),
    "reasons of numbers": json.dumps(record(reasons=[1])).encode(),
    "quality of text": json.dumps(record(quality="good")).encode(),
    "ood without a distance": json.dumps(record(ood={"p_value": 0.5})).encode(),
    "a review of text": json.dumps(record(review="CTC")).encode(),
    "schema 2 without its keys": json.dumps(of_schema_1(schema="ctcedge/sidecar/2")).encode(),
    "schema 3 without its keys": json.dumps(of_schema_2(schema="ctcedge/sidecar/3")).encode(),
    "a time without its zone": json.dumps(record(created="2026-01-02T03:04:05")).encode(),
    "a time that is none": json.dumps(record(created="2026-13-02T03:04:05Z")).encode(),
    "a review of no time": json.dumps(
        record(review=REVIEW | {"time": "2026-11-01T10:00:00"})
    ).encode(),
    "a hash that is a list": json.dumps(record(image=record()["image"] | {"sha256": []})).encode(),
    "a variant that is a list": json.dumps(
        record(model=record()["model"] | {"variant": []})
    ).encode(),
    "a huge pixel": json.dumps(record(image=record()["image"] | {"um_per_px": 1e308})).encode(),
    "a huge width": json.dumps(record(image=record()["image"] | {"width": 10**30})).encode(),
    "huge features": json.dumps(
        record(ood={"distance": 1.0, "p_value": 0.5, "features": [1e308]})
    ).encode(),
    "too many features": json.dumps(
        record(ood={"distance": 1.0, "p_value": 0.5, "features": [0.0] * 5000})
    ).encode(),
    "a prior of 0": json.dumps(record(prior=0)).encode(),
    "a reason with an escape": json.dumps(record(reasons=["\x1b[2J"])).encode(),
    "history of numbers": json.dumps(record(history=[1, None, "x"])).encode(),
    "deep quality": json.dumps(record()).replace('"cells": 1.0', '"x": ' + "[" * 90_000).encode(),
}


@pytest.mark.parametrize("content", TORN.values(), ids=TORN)
def test_a_torn_or_foreign_sidecar_counts_as_missing(out: SidecarStore, content: bytes) -> None:
    planted(out, content)
    assert out.read(CROP) is None
    out.check([CROP])


DAMAGED = record(review=REVIEW, image=record()["image"] | {"um_per_px": 1e308})


def test_reviews_and_calls_in_a_damaged_sidecar_are_carried_over(out: SidecarStore) -> None:
    path = planted(out, DAMAGED | {"history": as_dict(SECOND)["history"]})
    assert out.read(CROP) is None
    assert out.write(CROP, typed(record(call="review"))).kept_aside is None
    found = load(path)
    assert (found["call"], found["review"]) == ("review", REVIEW)
    assert [each["call"] for each in found["history"]] == ["leukocyte", "CTC"]
    assert list(path.parent.iterdir()) == [path]


LOSSY: dict[str, Any] = {
    "a review": DAMAGED | {"review": REVIEW | {"time": "2026-11-01T10:00:00"}},
    "an earlier review": DAMAGED | {"review": REVIEW | {"history": ["x"]}},
    "an earlier call": DAMAGED | {"history": [{"call": "CTC"}]},
    "its own call": record(score=1e308),
    "cut": json.dumps(record()).encode()[:200],
    "another's": {"schema": "someone/else/7"},
}


@pytest.mark.parametrize("content", LOSSY.values(), ids=LOSSY)
@pytest.mark.parametrize("links", [True, False])
def test_a_damaged_file_that_cannot_be_carried_over_is_kept(
    out: SidecarStore, monkeypatch: pytest.MonkeyPatch, content: Any, links: bool
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no hard links")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path = planted(out, content)
    before = path.read_bytes()
    taken = path.with_name(path.name + ".damaged-1")
    taken.write_bytes(b"taken")
    written, aside = out.write(CROP, typed(record()))
    assert aside == "1_BF.png.ctc.json.damaged-2"
    assert path.with_name(aside).read_bytes() == before
    assert taken.read_bytes() == b"taken"
    assert load(path) == as_dict(written)
    assert stray(out.root) == []


@pytest.mark.parametrize("content", [b"", bytes(500)])
def test_an_empty_file_is_not_kept(out: SidecarStore, content: bytes) -> None:
    path = planted(out, content)
    assert out.write(CROP, typed(record())).kept_aside is None
    assert list(path.parent.iterdir()) == [path]


def test_a_torn_sidecar_is_replaced_with_the_review_that_was_read_before(
    out: SidecarStore,
) -> None:
    planted(out, b"{")
    written = out.write(CROP, typed(record(review=REVIEW))).sidecar
    assert as_dict(written)["review"] == REVIEW
