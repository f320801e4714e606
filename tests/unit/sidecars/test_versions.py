from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from ctcedge.errors import OutputError
from ctcedge.sidecars.chain import chained
from ctcedge.sidecars.json_schema import generate_schema, read_schema
from ctcedge.sidecars.schema import history_after
from ctcedge.sidecars.store import SidecarStore
from tests.helpers.sidecar_data import REVIEW, record
from tests.helpers.sidecar_files import as_dict, load, stray, without_chain
from tests.unit.sidecars.stored import ADDED_IN_2, CALLED, CROP, of_schema_1, of_schema_2, planted


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_schema_is_a_valid_schema(version: int) -> None:
    jsonschema.Draft202012Validator.check_schema(read_schema(version))


def test_the_schema_is_that_of_the_types() -> None:
    assert read_schema(3) == generate_schema()


@pytest.mark.parametrize(
    "changes",
    [
        {"call": None},
        {"call": "tumour"},
        {"probability": None},
        {"probability": 1.1},
        {"error": "x"},
        {"status": "unreadable"},
        {"status": "unreadable", "call": None, "probability": None, "error": ""},
        {"extra": 1},
        {"cell": ""},
        {"created": "2026-01-02T03:04:05+01:00"},
        {"created": "yesterday"},
        {"reasons": ["Near Threshold"]},
        {"history": [{}]},
        {"settings_sha256": "x"},
        {"score": "1"},
        {"operating_point": "best"},
        {"cluster": "yes"},
        {"quality": {}},
        {"quality": {"reasons": [], "note": "text"}},
        {"ood": {"distance": 1.0, "p_value": 2.0, "features": []}},
        {"inference_sha256": "x"},
        {"review": {"call": "CTC"}},
        {"review": REVIEW | {"call": "review"}},
        {"review": REVIEW | {"history": [REVIEW]}},
    ],
)
def test_the_schema_refuses(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "x.ctc.json"
    path.write_text(json.dumps(record()))
    load(path)
    path.write_text(json.dumps(record(**changes)))
    with pytest.raises(jsonschema.ValidationError):
        load(path)


def test_a_newer_schema_must_not_be_replaced(tmp_path: Path) -> None:
    beside = SidecarStore(tmp_path)
    planted(beside, {"schema": "ctcedge/sidecar/4"})
    with pytest.raises(OutputError, match="newer ctcedge"):
        beside.check([CROP])


def test_schema_1_is_read_as_schema_3_and_left_as_it_is(out: SidecarStore) -> None:
    (entry,) = as_dict(msgspec.structs.replace(CALLED, history=history_after(CALLED)))["history"]
    del entry["operating_point"], entry["score"]
    old = of_schema_1(history=[entry], reasons=["cut-by-edge", "debris"])
    jsonschema.Draft202012Validator(read_schema(1)).validate(old)
    path = planted(out, old)
    before = path.read_bytes()
    parsed = out.load(CROP)
    assert parsed is not None
    read = parsed.sidecar
    assert parsed.version == 1
    assert (read.call, read.probability, read.history[0].call) == ("CTC", 0.9, "CTC")
    assert read.reasons == ("truncated", "debris")
    assert path.read_bytes() == before
    out.write(CROP, read)
    written = load(path)
    assert [each["score"] for each in written["history"]] == [None, None]
    assert [written[key] for key in (*ADDED_IN_2, "ood")] == [None] * (len(ADDED_IN_2) + 1)


def test_schema_2_is_read_as_schema_3_and_left_as_it_is(out: SidecarStore) -> None:
    codes = ["unlike-training", "cut-by-edge", "neighbour", "too-few-pixels", "empty"]
    names = ["out-of-distribution", "truncated", "multiple-objects", "low-resolution", "empty"]
    quality = {"reasons": codes[1:], "cells": 1.0}
    (entry,) = as_dict(msgspec.structs.replace(CALLED, history=history_after(CALLED)))["history"]
    earlier = [entry | {"reasons": ["neighbour"]}]
    old = of_schema_2(reasons=codes, quality=quality, history=earlier, review=REVIEW)
    jsonschema.Draft202012Validator(read_schema(2)).validate(old)
    path = planted(out, old)
    before = path.read_bytes()
    parsed = out.load(CROP)
    assert parsed is not None
    assert parsed.version == 2
    new = {"reasons": names, "quality": {"reasons": names[1:], "cells": 1.0}}
    expected = record(history=earlier, review=REVIEW) | new
    assert as_dict(parsed.sidecar) == expected
    assert path.read_bytes() == before
    with out.batch() as write:
        assert write(CROP, None) == (chained(parsed.sidecar, None), None)
    assert without_chain(load(path)) == expected
    assert stray(out.root) == []


def test_a_bad_image_of_schema_1_is_read(out: SidecarStore) -> None:
    planted(out, of_schema_1(status="unreadable", call=None, probability=None, error="empty"))
    read = out.read(CROP)
    assert read is not None
    assert (read.error, read.score) == ("empty", None)
