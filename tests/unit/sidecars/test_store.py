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
import msgspec
import pytest

from ctcedge.discovery.naming import Crop
from ctcedge.errors import OutputError
from ctcedge.sidecars import files as module
from ctcedge.sidecars.json_schema import generate_schema, read_schema
from ctcedge.sidecars.schema import ReviewRecord, Sidecar, history_after
from ctcedge.sidecars.store import NotWritten, SidecarStore, try_writing
from tests.helpers.sidecar_data import HASH, REVIEW, record
from tests.helpers.support import as_dict, load, stray, typed

CROP = Crop("S/1_BF.png", "S", "1", "BF")


@pytest.fixture
def out(tmp_path: Path) -> SidecarStore:
    (tmp_path / "in").mkdir()
    return SidecarStore(tmp_path / "in", tmp_path / "out")


def planted(folder: SidecarStore, content: bytes | dict[str, Any]) -> Path:
    path = folder.path(CROP)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


CALLED = typed(record())
SECOND = msgspec.structs.replace(
    typed(record(call="review")), history=history_after(typed(record(call="leukocyte")))
)
ADDED_IN_2 = ("operating_point", "score", "cluster", "quality", "inference_sha256", "review")


def of_schema_1(**changes: Any) -> dict[str, Any]:
    kept = {key: value for key, value in record().items() if key not in (*ADDED_IN_2, "ood")}
    return kept | {"schema": "ctcedge/sidecar/1"} | changes


def of_schema_2(**changes: Any) -> dict[str, Any]:
    kept = {key: value for key, value in record().items() if key != "ood"}
    unlike = {"distance": 21.5, "p": 0.25, "traits": [0.5, -1.0]}
    return kept | {"schema": "ctcedge/sidecar/2", "unlike": unlike} | changes


def reviewed(old: Sidecar, **changes: Any) -> Sidecar:
    """The sidecar with a review."""
    review = msgspec.convert(REVIEW | changes, ReviewRecord)
    return msgspec.structs.replace(old, review=review)


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


def test_places(tmp_path: Path) -> None:
    assert SidecarStore(tmp_path).path(CROP) == tmp_path / "S" / "1_BF.png.ctc.json"
    other = SidecarStore(tmp_path, tmp_path / "o")
    assert other.path(CROP) == tmp_path / "o" / "S" / "1_BF.png.ctc.json"


def test_what_is_written_is_read_back(out: SidecarStore) -> None:
    written = record(cell="0\udcff\n[red]é")
    out.write(CROP, typed(written))
    assert as_dict(out.read(CROP)) == written
    assert load(out.path(CROP)) == written
    assert list(out.path(CROP).parent.iterdir()) == [out.path(CROP)]


def test_a_failed_write_leaves_nothing(out: SidecarStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = planted(out, record(cell="before"))

    def full(*arguments: object, **folders: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        out.write(CROP, typed(record()))
    assert load(path)["cell"] == "before"
    assert stray(out.root) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENAMETOOLONG, errno.EISDIR])
def test_an_error_of_one_path_does_not_end_the_run(
    out: SidecarStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*arguments: object, **folders: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.os, "replace", fail)
    with pytest.raises(NotWritten):
        out.write(CROP, typed(record()))


def test_a_folder_that_vanished_with_its_images_does_not_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(NotWritten):
        SidecarStore(tmp_path).write(CROP, typed(record()))


def test_a_folder_at_the_sidecars_place(out: SidecarStore) -> None:
    out.path(CROP).mkdir(parents=True)
    assert out.read(CROP) is None
    with pytest.raises(NotWritten):
        out.write(CROP, typed(record()))
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


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_not_opened_but_replaced(out: SidecarStore, make: Any) -> None:
    out.path(CROP).parent.mkdir(parents=True)
    make(out.path(CROP))
    assert out.read(CROP) is None
    out.write(CROP, typed(record()))
    assert load(out.path(CROP)) == record()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_sidecar_that_cannot_be_read_now_is_not_taken_for_missing(
    out: SidecarStore, monkeypatch: pytest.MonkeyPatch, number: int
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
    folder = SidecarStore(root) if beside else SidecarStore(tmp_path / "in", root)
    for path in ("S/1_BF.png", "S/deep/1_BF.png", "S/new/1_BF.png"):
        with pytest.raises(NotWritten, match="cannot be written"):
            folder.write(Crop(path, "S", "1", "BF"), typed(record()))
    assert sorted(elsewhere.rglob("*")) == [elsewhere / "deep"]


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    SidecarStore(tmp_path / "in", tmp_path / "out").write(CROP, typed(record()))
    assert load(tmp_path / "real" / "S" / "1_BF.png.ctc.json") == record()


def test_a_link_planted_under_a_temporary_name_is_not_followed(
    out: SidecarStore, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    below = out.path(CROP).parent
    below.mkdir(parents=True)
    for folder, number in ((below, 1), (out.root, 0)):
        (folder / f".ctcedge-{os.getpid()}-{number}.tmp").symlink_to(precious)
    try_writing(out.root)
    out.write(CROP, typed(record()))
    assert precious.read_text() == "kept"
    assert load(out.path(CROP)) == record()
    assert stray(out.root) == []


def test_another_samples_sidecar_must_not_be_replaced(out: SidecarStore) -> None:
    planted(out, record(sample="T"))
    with pytest.raises(NotWritten, match="belongs to sample 'T', not 'S'"):
        out.read(CROP)
    with pytest.raises(OutputError, match="its own --out"):
        out.check([CROP])


def test_beside_the_images_a_sidecar_follows_its_image(tmp_path: Path) -> None:
    beside = SidecarStore(tmp_path)
    planted(beside, record(sample="old name of the folder"))
    assert beside.read(CROP) is not None


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
        assert write(CROP, None) == (parsed.sidecar, None)
    assert load(path) == expected
    assert stray(out.root) == []


def test_a_bad_image_of_schema_1_is_read(out: SidecarStore) -> None:
    planted(out, of_schema_1(status="unreadable", call=None, probability=None, error="empty"))
    read = out.read(CROP)
    assert read is not None
    assert (read.error, read.score) == ("empty", None)


def test_what_is_written_keeps_the_review_that_stands_there(out: SidecarStore) -> None:
    out.write(CROP, typed(record()))
    out.amend(CROP, reviewed)
    written, aside = out.write(CROP, typed(record(call="leukocyte", review=None)))
    assert (written.call, as_dict(written)["review"], aside) == ("leukocyte", REVIEW, None)
    assert load(out.path(CROP)) == as_dict(written)


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
    "too large": json.dumps(record()).encode() + b" " * 5_000_000,
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


def test_amending_changes_what_stands_there_now(out: SidecarStore) -> None:
    out.write(CROP, typed(record(call="leukocyte")))
    seen = []

    def change(old: Sidecar) -> Sidecar:
        seen.append(old.call)
        return reviewed(old)

    assert as_dict(out.amend(CROP, change)) == load(out.path(CROP))
    assert seen == ["leukocyte"]
    assert stray(out.root) == []


@pytest.mark.parametrize("content", [None, b"{"])
def test_there_is_nothing_to_amend(out: SidecarStore, content: bytes | None) -> None:
    if content is not None:
        planted(out, content)
    with pytest.raises(NotWritten, match="not a whole sidecar"):
        out.amend(CROP, lambda old: old)
    assert out.path(CROP).exists() == (content is not None)


def test_a_review_and_a_new_call_at_the_same_time_lose_nothing(out: SidecarStore) -> None:
    out.write(CROP, typed(record()))
    calls, reviews = 40, 40

    def call_again() -> None:
        for number in range(calls):
            out.write(CROP, typed(record(cell=str(number))))

    def review_again() -> None:
        own = SidecarStore(out.root.parent / "in", out.root)
        own._numbers = itertools.count(1_000_000)  # of another process, in truth
        for number in range(reviews):
            own.amend(CROP, lambda old, n=number: _next(old, n))

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(call_again), pool.submit(review_again)]:
            done.result()
    found = load(out.path(CROP))
    assert found["cell"] == str(calls - 1)
    assert len(found["review"]["history"]) == reviews - 1


def _next(old: Sidecar, number: int) -> Sidecar:
    entries = as_dict(reviewed(old, note=str(number)))["review"]
    new = msgspec.convert(entries, ReviewRecord).latest
    return msgspec.structs.replace(old, review=ReviewRecord.of((*old.reviews, new)))


def test_a_sidecar_that_another_program_does_not_let_go_of(
    out: SidecarStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    out.write(CROP, typed(record()))
    monkeypatch.setattr(module, "_MAX_LOCK_WAIT_S", 0.05)
    with open(out.path(CROP), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(NotWritten, match="another program holds it"):
            out.write(CROP, typed(record(call="leukocyte")))
    assert load(out.path(CROP))["call"] == "CTC"


def test_history_keeps_each_call_oldest_first() -> None:
    third = msgspec.structs.replace(CALLED, history=history_after(SECOND))
    assert [entry.call for entry in third.history] == ["leukocyte", "review"]
    assert third.history[0].image_sha256 == HASH


def test_history_keeps_no_entry_of_what_was_not_called() -> None:
    unreadable = typed(
        record(status="unreadable", call=None, probability=None, score=None, error="empty")
    )
    unreadable = msgspec.structs.replace(unreadable, history=history_after(CALLED))
    assert [entry.call for entry in history_after(unreadable)] == ["CTC"]
    assert history_after(None) == ()


def test_the_second_writer_is_refused(out: SidecarStore, tmp_path: Path) -> None:
    with out.open():
        second = SidecarStore(tmp_path / "in", tmp_path / "out")
        with pytest.raises(OutputError, match="another ctcedge"), second.open():
            pass
        assert list(out.root.iterdir()) == []
    with second.open():
        pass


def test_a_file_system_that_cannot_lock_is_used_without(
    out: SidecarStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with out.open():
        pass


def test_opening_sweeps_what_a_crash_left_and_nothing_else(out: SidecarStore) -> None:
    below = out.root / "S"
    below.mkdir(parents=True)
    for name in (".ctcedge-4194304-2.tmp", "mine.tmp", ".ctcedge-x-2.tmp"):
        (below / name).touch()
    with out.open():
        assert sorted(p.name for p in below.iterdir()) == [".ctcedge-x-2.tmp", "mine.tmp"]


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError), SidecarStore(tmp_path, tmp_path / "file").open():
        pass
