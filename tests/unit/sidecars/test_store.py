from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ctcedge.discovery.naming import Crop
from ctcedge.errors import OutputError
from ctcedge.sidecars import store as module
from ctcedge.sidecars.store import NotWritten, SidecarFolder, history, schema, try_writing
from tests.helpers.support import load, stray

CROP = Crop("S/1_BF.png", "S", "1", "BF")
HASH = "0" * 64


def record(**changes: Any) -> dict[str, Any]:
    return {
        "schema": "ctcedge/sidecar/2",
        "status": "classified",
        "call": "CTC",
        "probability": 0.9,
        "prior": 0.5,
        "threshold": 0.5,
        "review_band": [0.4, 0.6],
        "operating_point": None,
        "score": 2.197225,
        "reasons": [],
        "cluster": False,
        "quality": {"reasons": [], "cells": 1.0},
        "unlike": {"distance": 21.5, "p": 0.25, "traits": [0.5, -1.0]},
        "error": None,
        "sample": "S",
        "cell": "1",
        "image": {
            "name": "1_BF.png",
            "sha256": HASH,
            "bytes": 1,
            "width": 8,
            "height": 8,
            "bit_depth": 8,
            "um_per_px": 0.5,
            "um_per_px_assumed": False,
        },
        "model": {"name": "m", "version": "1", "sha256": HASH, "variant": "int8"},
        "inference_sha256": HASH,
        "settings_sha256": HASH,
        "software": {"ctcedge": "0", "onnxruntime": "0", "provider": "cpu"},
        "created": "2026-01-02T03:04:05.678Z",
        "review": None,
        "history": [],
    } | changes


@pytest.fixture
def out(tmp_path: Path) -> SidecarFolder:
    (tmp_path / "in").mkdir()
    return SidecarFolder(tmp_path / "in", tmp_path / "out")


def planted(folder: SidecarFolder, content: bytes | dict[str, Any]) -> Path:
    path = folder.path(CROP)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


REVIEW: dict[str, Any] = {
    "call": "CTC",
    "reviewer": "Ada",
    "time": "2026-01-03T00:00:00Z",
    "from": "review",
    "note": "",
    "image_sha256": HASH,
    "channels": ["BF"],
    "blinded": False,
    "weight": None,
    "history": [],
}


def of_schema_1(**changes: Any) -> dict[str, Any]:
    new = ("operating_point", "score", "cluster", "quality", "unlike", "inference_sha256", "review")
    kept = {key: value for key, value in record().items() if key not in new}
    return kept | {"schema": "ctcedge/sidecar/1"} | changes


@pytest.mark.parametrize("version", [1, 2])
def test_the_schema_is_a_valid_schema(version: int) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(version))


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
        {"unlike": {"distance": 1.0, "p": 2.0, "traits": []}},
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


def test_places(tmp_path: Path) -> None:
    assert SidecarFolder(tmp_path).path(CROP) == tmp_path / "S" / "1_BF.png.ctc.json"
    other = SidecarFolder(tmp_path, tmp_path / "o")
    assert other.path(CROP) == tmp_path / "o" / "S" / "1_BF.png.ctc.json"


def test_what_is_written_is_read_back(out: SidecarFolder) -> None:
    written = record(cell="0\udcff\n[red]é")
    out.write(CROP, written)
    assert out.read(CROP) == written
    assert load(out.path(CROP)) == written
    assert list(out.path(CROP).parent.iterdir()) == [out.path(CROP)]


def test_a_failed_write_leaves_nothing(out: SidecarFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    path = planted(out, record(cell="before"))

    def full(*arguments: object, **folders: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        out.write(CROP, record())
    assert load(path)["cell"] == "before"
    assert stray(out.root) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENAMETOOLONG, errno.EISDIR])
def test_an_error_of_one_path_does_not_end_the_run(
    out: SidecarFolder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*arguments: object, **folders: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.os, "replace", fail)
    with pytest.raises(NotWritten):
        out.write(CROP, record())


def test_a_folder_that_vanished_with_its_images_does_not_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(NotWritten):
        SidecarFolder(tmp_path).write(CROP, record())


def test_a_folder_at_the_sidecars_place(out: SidecarFolder) -> None:
    out.path(CROP).mkdir(parents=True)
    assert out.read(CROP) is None
    with pytest.raises(NotWritten):
        out.write(CROP, record())
    assert stray(out.root) == []


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
    "unlike without a distance": json.dumps(record(unlike={"p": 0.5})).encode(),
    "a review of text": json.dumps(record(review="CTC")).encode(),
    "schema 2 without its keys": json.dumps(of_schema_1(schema="ctcedge/sidecar/2")).encode(),
}


@pytest.mark.parametrize("content", TORN.values(), ids=TORN)
def test_a_torn_or_foreign_sidecar_counts_as_missing(out: SidecarFolder, content: bytes) -> None:
    planted(out, content)
    assert out.read(CROP) is None
    out.check([CROP])


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_not_opened_but_replaced(out: SidecarFolder, make: Any) -> None:
    out.path(CROP).parent.mkdir(parents=True)
    make(out.path(CROP))
    assert out.read(CROP) is None
    out.write(CROP, record())
    assert load(out.path(CROP)) == record()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_sidecar_that_cannot_be_read_now_is_not_taken_for_missing(
    out: SidecarFolder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    planted(out, record())

    def fail(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.os, "open", fail)
    with pytest.raises(NotWritten, match="cannot be read"):
        out.read(CROP)
    out.check([CROP])


@pytest.mark.parametrize("beside", [True, False])
def test_a_link_below_the_root_does_not_lead_elsewhere(tmp_path: Path, beside: bool) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "out"
    (elsewhere / "deep").mkdir(parents=True)
    root.mkdir()
    (root / "S").symlink_to(elsewhere)
    folder = SidecarFolder(root) if beside else SidecarFolder(tmp_path / "in", root)
    for path in ("S/1_BF.png", "S/deep/1_BF.png", "S/new/1_BF.png"):
        with pytest.raises(NotWritten, match="cannot be written"):
            folder.write(Crop(path, "S", "1", "BF"), record())
    assert sorted(elsewhere.rglob("*")) == [elsewhere / "deep"]


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    SidecarFolder(tmp_path / "in", tmp_path / "out").write(CROP, record())
    assert load(tmp_path / "real" / "S" / "1_BF.png.ctc.json") == record()


def test_a_link_planted_under_a_temporary_name_is_not_followed(
    out: SidecarFolder, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    below = out.path(CROP).parent
    below.mkdir(parents=True)
    for folder, number in ((below, 1), (out.root, 0)):
        (folder / f".ctcedge-{os.getpid()}-{number}.tmp").symlink_to(precious)
    try_writing(out.root)
    out.write(CROP, record())
    assert precious.read_text() == "kept"
    assert load(out.path(CROP)) == record()
    assert stray(out.root) == []


def test_another_samples_sidecar_must_not_be_replaced(out: SidecarFolder) -> None:
    planted(out, record(sample="T"))
    with pytest.raises(NotWritten, match="belongs to sample 'T', not 'S'"):
        out.read(CROP)
    with pytest.raises(OutputError, match="its own --out"):
        out.check([CROP])


def test_beside_the_images_a_sidecar_follows_its_image(tmp_path: Path) -> None:
    beside = SidecarFolder(tmp_path)
    planted(beside, record(sample="old name of the folder"))
    assert beside.read(CROP) is not None


def test_a_newer_schema_must_not_be_replaced(tmp_path: Path) -> None:
    beside = SidecarFolder(tmp_path)
    planted(beside, {"schema": "ctcedge/sidecar/3"})
    with pytest.raises(OutputError, match="newer ctcedge"):
        beside.check([CROP])


def test_schema_1_is_read_as_schema_2_and_left_as_it_is(out: SidecarFolder) -> None:
    entry = {key: value for key, value in history(record())[0].items() if key != "score"}
    del entry["operating_point"]
    old = of_schema_1(history=[entry])
    jsonschema.Draft202012Validator(schema(1)).validate(old)
    path = planted(out, old)
    before = path.read_bytes()
    read = out.read(CROP)
    assert read is not None
    assert (read["call"], read["probability"], read["history"][0]["call"]) == ("CTC", 0.9, "CTC")
    assert path.read_bytes() == before
    out.write(CROP, {**read, "history": history(read)})
    written = load(path)
    assert [each["score"] for each in written["history"]] == [None, None]
    new = ("operating_point", "score", "cluster", "quality", "unlike", "inference_sha256", "review")
    assert [written[key] for key in new] == [None] * len(new)


def test_a_bad_image_of_schema_1_is_read(out: SidecarFolder) -> None:
    planted(out, of_schema_1(status="unreadable", call=None, probability=None, error="empty"))
    read = out.read(CROP)
    assert read is not None
    assert (read["error"], read["score"]) == ("empty", None)


def test_what_is_written_keeps_the_review_that_stands_there(out: SidecarFolder) -> None:
    out.write(CROP, record())
    out.amend(CROP, lambda old: {**old, "review": REVIEW})
    written = out.write(CROP, record(call="leukocyte", review=None))
    assert (written["call"], written["review"]) == ("leukocyte", REVIEW)
    assert load(out.path(CROP)) == written


def test_a_torn_sidecar_is_replaced_with_the_review_that_was_read_before(
    out: SidecarFolder,
) -> None:
    planted(out, b"{")
    assert out.write(CROP, record(review=REVIEW))["review"] == REVIEW


def test_amending_changes_what_stands_there_now(out: SidecarFolder) -> None:
    out.write(CROP, record(call="leukocyte"))
    seen = []

    def change(old: dict[str, Any]) -> dict[str, Any]:
        seen.append(old["call"])
        return {**old, "review": REVIEW}

    assert out.amend(CROP, change) == load(out.path(CROP))
    assert seen == ["leukocyte"]
    assert stray(out.root) == []


@pytest.mark.parametrize("content", [None, b"{"])
def test_there_is_nothing_to_amend(out: SidecarFolder, content: bytes | None) -> None:
    if content is not None:
        planted(out, content)
    with pytest.raises(NotWritten, match="not a whole sidecar"):
        out.amend(CROP, lambda old: old)
    assert out.path(CROP).exists() == (content is not None)


def test_a_review_and_a_new_call_at_the_same_time_lose_nothing(out: SidecarFolder) -> None:
    out.write(CROP, record())
    calls, reviews = 40, 40

    def call_again() -> None:
        for number in range(calls):
            previous = out.read(CROP)
            out.write(CROP, record(cell=str(number), review=previous and previous["review"]))

    def review_again() -> None:
        own = SidecarFolder(out.root.parent / "in", out.root)
        own._numbers = itertools.count(1_000_000)  # of another process, in truth
        for number in range(reviews):
            own.amend(CROP, lambda old, n=number: {**old, "review": _next(old["review"], n)})

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(call_again), pool.submit(review_again)]:
            done.result()
    found = load(out.path(CROP))
    assert found["cell"] == str(calls - 1)
    assert len(found["review"]["history"]) == reviews - 1


def _next(review: dict[str, Any] | None, number: int) -> dict[str, Any]:
    earlier = []
    if review is not None:
        earlier = [*review["history"], {k: v for k, v in review.items() if k != "history"}]
    return REVIEW | {"note": str(number), "history": earlier}


def test_a_sidecar_that_another_program_does_not_let_go_of(
    out: SidecarFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    out.write(CROP, record())
    monkeypatch.setattr(module, "_LONGEST_LOCK", 0.05)
    with open(out.path(CROP), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(NotWritten, match="another program holds it"):
            out.write(CROP, record(call="leukocyte"))
    assert load(out.path(CROP))["call"] == "CTC"


def test_history_keeps_each_call_oldest_first() -> None:
    first = record(call="leukocyte")
    second = record(call="review", history=history(first))
    third = record(history=history(second))
    assert [entry["call"] for entry in third["history"]] == ["leukocyte", "review"]
    assert third["history"][0]["image_sha256"] == HASH


def test_history_keeps_no_entry_of_what_was_not_called() -> None:
    called = record()
    unreadable = record(status="unreadable", call=None, history=history(called))
    assert [entry["call"] for entry in history(unreadable)] == ["CTC"]
    assert history(None) == []


def test_the_second_writer_is_refused(out: SidecarFolder, tmp_path: Path) -> None:
    with out.open():
        second = SidecarFolder(tmp_path / "in", tmp_path / "out")
        with pytest.raises(OutputError, match="another ctcedge"), second.open():
            pass
        assert list(out.root.iterdir()) == []
    with second.open():
        pass


def test_a_file_system_that_cannot_lock_is_used_without(
    out: SidecarFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with out.open():
        pass


def test_opening_sweeps_what_a_crash_left_and_nothing_else(out: SidecarFolder) -> None:
    below = out.root / "S"
    below.mkdir(parents=True)
    for name in (".ctcedge-4194304-2.tmp", "mine.tmp", ".ctcedge-x-2.tmp"):
        (below / name).touch()
    with out.open():
        assert sorted(p.name for p in below.iterdir()) == [".ctcedge-x-2.tmp", "mine.tmp"]


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError), SidecarFolder(tmp_path, tmp_path / "file").open():
        pass
