"""The file of reviews that the report page saves is read strictly, and its schema is published."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import ctcedge
from ctcedge.results import corrections as module
from ctcedge.results.corrections import CorrectionsError, json_schema, read_corrections
from tests.helpers.cli_runner import call
from tests.unit.results.review_files import corrections

SCHEMA = Path(ctcedge.__file__).parent / "sidecars" / "schemas" / "corrections-1.json"


VALID = corrections(
    {
        "path": "S1/1_BF.png",
        "sample": "S1",
        "cell": "1",
        "image_sha256": "0" * 64,
        "model_sha256": "0" * 64,
        "from": "CTC",
        "call": "CTC",
        "note": "",
        "time": "2026-01-02T03:04:05Z",
        "channels": ["BF"],
        "blinded": False,
        "weight": None,
    }
)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("schema",), "ctcedge/corrections/2"),
        (("schema",), 1),
        (("extra",), 1),
        (("reviewer",), " "),
        (("reviewer",), "x" * 201),
        (("report_id",), "x"),
        (("created",), "yesterday"),
        (("created",), "2026-01-02T03:04:05+01:00"),
        (("pseudonymised",), "no"),
        (("draw",), {"drawn": -1, "leukocytes": 0}),
        (("draw",), {"drawn": 1.5, "leukocytes": 2}),
        (("entries",), {}),
        (("entries",), [[]]),
        (("entries",), [None]),
        (("entries", 0, "extra"), 1),
        (("entries", 0, "from"), "unsure"),
        (("entries", 0, "from"), None),
        (("entries", 0, "from"), ["CTC"]),
        (("entries", 0, "call"), "review"),
        (("entries", 0, "call"), "tumour"),
        (("entries", 0, "path"), ""),
        (("entries", 0, "path"), "x" * 5000),
        (("entries", 0, "cell"), ""),
        (("entries", 0, "image_sha256"), "0" * 63),
        (("entries", 0, "image_sha256"), None),
        (("entries", 0, "model_sha256"), "G" * 64),
        (("entries", 0, "note"), "x" * 2001),
        (("entries", 0, "time"), "2026-13-02T03:04:05Z"),
        (("entries", 0, "time"), "2026-01-02 03:04:05Z"),
        (("entries", 0, "channels"), []),
        (("entries", 0, "channels"), "BF"),
        (("entries", 0, "channels"), ["BF", "BF"]),
        (("entries", 0, "channels"), [str(i) for i in range(65)]),
        (("entries", 0, "blinded"), 1),
        (("entries", 0, "weight"), 0.5),
        (("entries", 0, "weight"), "2"),
        (("entries", 0, "weight"), True),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_applied(
    tmp_path: Path, where: tuple[Any, ...], value: object
) -> None:
    content = deepcopy(VALID)
    path = tmp_path / "c.json"
    path.write_text(json.dumps(content))
    read_corrections(path)
    part: Any = content
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(CorrectionsError):
        read_corrections(path)


@pytest.mark.parametrize("key", [*VALID, *VALID["entries"][0]])
def test_what_is_missing_is_refused(tmp_path: Path, key: str) -> None:
    content = deepcopy(VALID)
    (content if key in content else content["entries"][0]).pop(key)
    path = tmp_path / "c.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CorrectionsError, match="entries" if key == "entries" else key):
        read_corrections(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema": 1' + b"0" * 5000 + b"}",
        json.dumps(VALID).replace('"weight": null', '"weight": NaN').encode(),
        json.dumps(VALID).replace('"weight": null', '"weight": 1e999').encode(),
        json.dumps(VALID).replace('"call"', '"note": "", "call"').encode(),
    ],
    ids=["empty", "list", "null", "bytes", "deep", "number", "NaN", "infinite", "key twice"],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(content)
    with pytest.raises(CorrectionsError, match=r"c\.json"):
        read_corrections(path)


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(VALID | {"entries": [None] * 100_001}))
    with pytest.raises(CorrectionsError, match="'entries' must be a list of at most 100,000 items"):
        read_corrections(path)
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(CorrectionsError, match="larger than 10 bytes"):
        read_corrections(path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: None])
def test_what_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "c.json")
    assert "c.json" in call("review", "import", tmp_path / "c.json", tmp_path, code=2).stderr


def test_the_published_schema_is_that_of_the_types() -> None:
    schema = json.loads(SCHEMA.read_bytes())
    assert schema == json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(VALID)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("weight", 1e160, "weight' must be a number between 1 and 1,000,000,000, not 1e+160"),
        (
            "weight",
            "3",
            "weight' must be a number between 1 and 1,000,000,000, not text ('3')",
        ),
        ("time", "2026-01-02T03:04:05", "must be a time such as 2026-01-31T12:00:00Z, not '2026-"),
        ("time", "2026-02-30T03:04:05Z", "'time' must be a time such as 2026-01-31T12:00:00Z"),
        ("note", "x" * 2001, "'entries[0].note' must be text of at most 2,000 characters, not 'xx"),
        ("call", "tumour", "'entries[0].call' must be one of 'CTC', 'leukocyte', 'unsure', not"),
        ("image_sha256", "\ud800", "'entries[0].image_sha256' must be 64 hexadecimal digits, not"),
        ("channels", [], "'entries[0].channels' must be a list of 1 to 64 different names"),
        ("paht", "", "unknown key 'entries[0].paht' (known: path, sample,"),
    ],
)
def test_the_message_names_file_key_what_is_wanted_and_what_was_found(
    tmp_path: Path, where: str, value: object, message: str
) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(VALID | {"entries": [VALID["entries"][0] | {where: value}]}))
    with pytest.raises(CorrectionsError) as error:
        read_corrections(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize("key", [key for key in VALID["entries"][0] if key != "blinded"])
@pytest.mark.parametrize(
    "value",
    [
        *(1e160, 1e308, -1e308, 2**70, 10**400, True, None, "", "x" * 5000, "\0", "\ud800"),
        *([], ["BF", "BF"], ["x" * 201], [1], {}, {"a": {}}),
    ],
    ids=lambda value: repr(value)[:12],
)
def test_hostile_values_are_refused_or_harmless(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(VALID | {"entries": [VALID["entries"][0] | {key: value}]}))
    try:
        found = read_corrections(path)
    except CorrectionsError as error:
        assert key in str(error) or "not a file that a report page" in str(error)
        assert len(str(error)) < 1000
    else:
        assert getattr(found.entries[0], "model_call" if key == "from" else key) == value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_a_file_that_an_editor_saved_again_is_read(tmp_path: Path, encoding: str, end: str) -> None:
    content = VALID | {"reviewer": "Jörg"}
    text = json.dumps(content, ensure_ascii=False, indent=1).replace("\n", end)
    path = tmp_path / "corrections.json"
    path.write_bytes(text.encode(encoding))
    assert read_corrections(path).reviewer == "Jörg"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.encode("cp1252"), r"line 7 is not UTF-8 .*Jörg.*as UTF-8"),
        (lambda text: text.replace('"Jörg"', "“Jörg”").encode(), "line 7.*typographic quotes"),
        (lambda text: text[:-200].encode(), "the file is incomplete"),
        (lambda text: text.encode("utf-16")[:-1], "UTF-16, but is damaged or cut off"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_line_and_cure(
    tmp_path: Path, change: Callable[[str], bytes], message: str
) -> None:
    path = tmp_path / "corrections.json"
    text = json.dumps(VALID | {"reviewer": "Jörg"}, ensure_ascii=False, indent=1)
    path.write_bytes(change(text))
    with pytest.raises(CorrectionsError, match=message):
        read_corrections(path)
