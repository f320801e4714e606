"""Every value of a sidecar replaced by odd ones, and every command that reads sidecars.

Sidecars beside the images come with the export, so that their content may be anything.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from tests.helpers.cli_runner import call, classify, process
from tests.helpers.drawn_cells import CTC, cell, save
from tests.helpers.sidecar_files import load, sidecar
from tests.unit.results.review_files import corrections, entry

ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1e308,
    -1e308,
    5e-324,
    10**300,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\ud800",
    "\x1b[2J\x1b]0;x\x07\r\n\u202e",
    "x" * 5000,
    "9999-12-31T23:59:59.999999999Z",
    "0001-01-01T00:00:00Z",
    "2026-11-01T10:00:00",
    "2026-11-01T10:00:00+23:59",
    [],
    [None, 1, "x"],
    ["x"] * 200,
    {},
    {"x": []},
]
WHOLE: list[bytes] = [
    b"",
    b"\0" * 3000,
    b"[" * 100_000,
    b"null",
    b"[]",
    b"{}",
    b'{"schema": "ctcedge/sidecar/3"}',
    b'{"schema": "ctcedge/sidecar/2", "history": 5, "review": [], "unlike": []}',
    b'{"schema": "ctcedge/sidecar/1", "history": [[]], "reasons": {"a": 1}}',
    b'{"schema": "ctcedge/sidecar/999999999"}',
    "\ufeff{}".encode(),
    '{"schema": "ctcedge/sidecar/3"}'.encode("utf-16"),
    b'{"a": ' + b"9" * 5000 + b"}",
]
GOOD = 3  # crops whose sidecars are as they were written


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values, those of lists and tables too."""
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from leaves(value[key], (*path, key))
    elif isinstance(value, list) and value:
        yield from leaves(value[0], (*path, 0))


def changed(record: Any, path: tuple[Any, ...], value: Any) -> Any:
    record = copy.deepcopy(record)
    place = record
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return record


def variants(record: dict[str, Any], every: int, first: int) -> list[bytes]:
    """Contents of odd sidecars: each place with some of the odd values, one of `every`."""
    odd = [
        json.dumps(changed(record, path, value)).encode()
        for number, path in enumerate(leaves(record))
        for index, value in enumerate(ODD)
        if (number + index) % every == first
    ]
    nested = [
        json.dumps(record | {"quality": {"reasons": [], "x": "?"}})
        .replace('"?"', "[" * depth + "]" * depth)
        .encode()
        for depth in (200, 900, 980, 990, 1000, 5000)
    ]
    return odd + nested + WHOLE


@pytest.fixture
def base(tmp_path: Path, model_folder: Path) -> dict[str, Any]:
    """A sidecar with all it can have: an earlier call and two reviews."""
    folder = tmp_path / "base"
    save(folder / "S" / "1_BF.png", cell(CTC))
    for words in ((), ("--prevalence", 0.01)):
        classify(folder, model_folder, *words)
    for day in (1, 2):
        file = tmp_path / f"{day}.json"
        one = entry(folder, "S/1_BF.png", time=f"2026-01-0{day}T00:00:00Z", weight=2.0)
        file.write_text(json.dumps(corrections(one)))
        call("review", "import", file, folder)
    return load(sidecar(folder / "S" / "1_BF.png"))


def planted(folder: Path, base: dict[str, Any], contents: list[bytes]) -> None:
    """Crops with odd sidecars, and some with a good one."""
    image = folder / "S" / "0_BF.png"
    save(image, cell(CTC))
    data = image.read_bytes()
    image.unlink()
    good = json.dumps(base).encode()
    for number, content in enumerate([good] * GOOD + contents):
        path = folder / "S" / f"{number}_BF.png"
        path.write_bytes(data)
        named = re.sub(rb'"name": "1_BF.png"', b'"name": "%d_BF.png"' % number, content)
        sidecar(path).write_bytes(re.sub(rb'"cell": "1"', b'"cell": "%d"' % number, named))


COMMANDS: dict[str, tuple[Any, ...]] = {
    "status": ("status", "F", "--json"),
    "report": ("report", "F"),
    "csv": ("export", "F"),
    "jsonl": ("export", "F", "--format", "jsonl"),
    "parquet": ("export", "F", "--out", "T.parquet"),
    "picklist": ("export", "F", "--picklist"),
    "verify": ("verify", "F", "--model", "M", "--all"),
    "controls": ("controls", "add", "F", "--with-confirmed-ctcs"),
    "import": ("review", "import", "C", "F", "--json"),
    "classify": ("classify", "F", "--model", "M", "--provider", "cpu", "--report", "--json"),
}


@pytest.mark.parametrize(
    "first", [pytest.param(n, marks=pytest.mark.soak) for n in range(1, 8)] + [0]
)
def test_no_value_stops_a_command(
    tmp_path: Path, model_folder: Path, base: dict[str, Any], first: int
) -> None:
    folder = tmp_path / "F"
    (folder / "S").mkdir(parents=True)
    contents = variants(base, 8, first)
    planted(folder, base, contents)
    paths = [f"S/{number}_BF.png" for number in range(GOOD + len(contents))]
    one = entry(folder, paths[0], time="2026-03-01T00:00:00Z", note="late")
    (tmp_path / "C").write_text(json.dumps(corrections(*(one | {"path": path} for path in paths))))
    places = {
        "F": folder,
        "M": model_folder,
        "C": tmp_path / "C",
        "T.parquet": tmp_path / "T.parquet",
    }
    for name, words in COMMANDS.items():
        done = call(*(places.get(word, word) for word in words), code=ANY)
        assert done.returncode in (0, 2, 3), f"{name}: {done.stderr}"
        shown = done.stderr if words[0] == "export" else done.stdout + done.stderr
        assert "\x1b[2J" not in shown, name
        if name == "import":
            found = json.loads(done.stdout)
            assert not found["missing"] or found["missing"][0]["path"] in paths
            left = found["entries"] - found["applied"] - found["known"]
            assert left == sum(len(found[key]) for key in ("changed", "missing", "failed"))
    for number in range(GOOD):
        kept = load(sidecar(folder / paths[number]))
        assert [kept["review"]["note"], len(kept["review"]["history"])] == ["late", 2]
    done = call("verify", folder, "--model", model_folder, "--json", code=ANY)
    assert done.returncode in (0, 3)
    assert json.loads(done.stdout)["crops"] == len(paths)


def test_no_value_stops_a_watch(tmp_path: Path, model_folder: Path, base: dict[str, Any]) -> None:
    folder = tmp_path / "F"
    (folder / "S").mkdir(parents=True)
    planted(folder, base, variants(base, 24, 0))
    words = ("watch", folder, "--model", model_folder, "--provider", "cpu", "--report-idle", 1)
    metrics = tmp_path / "m.prom"
    with process(*words, "--metrics", metrics, log=tmp_path / "log") as running:
        running.until((folder / "ctcedge-report-S.html").exists, "the report")
        save(folder / "S" / "new_BF.png", cell(CTC))
        running.until(sidecar(folder / "S" / "new_BF.png").exists, "a new crop")
        assert running.alive()
    assert "internal error" not in (tmp_path / "log").read_text()
