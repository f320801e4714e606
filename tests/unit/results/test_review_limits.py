"""Corrections that would make a sidecar larger than what is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctcedge.sidecars import parse
from tests.helpers.cli_runner import classify
from tests.helpers.sidecar_files import load, sidecar
from tests.unit.results.review_files import entry, imported

BLOATED = "S1/00002_BF.png"
OTHER = "S1/00003_BF.png"
CHANNELS = ["BF", *(chr(0x10000 + number) * 200 for number in range(63))]


def entries(folder: Path, count: int, **changes: Any) -> list[dict[str, Any]]:
    """Reviews of one cell, and one of another."""
    one = entry(folder, BLOATED, **changes)
    times = [f"2026-02-01T10:{number // 60:02}:{number % 60:02}Z" for number in range(count)]
    return [*(one | {"time": time} for time in times), entry(folder, OTHER, time=times[-1])]


@pytest.mark.parametrize(
    ("count", "changes"),
    [(60, {"note": "x" * 2000, "channels": CHANNELS}), (60, {"note": "\x01" * 2000}), (60, {})],
)
def test_no_corrections_make_a_sidecar_that_cannot_be_read(
    called: Path,
    model_folder: Path,
    saved: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    changes: dict[str, Any],
) -> None:
    monkeypatch.setattr(parse, "MAX_REVIEWS", 50)
    imported(saved(entry(called, BLOATED, note="GENUINE")), called)
    file = saved(*entries(called, count, **changes), reviewer="Bob")
    found = imported(file, called, code=3)
    assert {failed["path"] for failed in found["failed"]} == {BLOATED}
    assert "reviews and cannot hold this one" in found["failed"][0]["what"]
    assert found["applied"] == count + 1 - len(found["failed"])
    review = load(sidecar(called / OTHER))["review"]
    assert review["reviewer"] == "Bob"  # the import went on
    again = imported(file, called, code=3)
    assert (again["applied"], again["known"]) == (0, found["applied"])
    assert len(again["failed"]) == len(found["failed"])
    classify(called, model_folder, "--force")
    record = load(sidecar(called / BLOATED))
    assert len(record["review"]["history"]) == found["applied"] - 1
    assert record["review"]["history"][0]["note"] == "GENUINE"
    assert len(record["history"]) == 1


def test_reviews_of_an_oversized_sidecar_are_named(
    called: Path, saved: Callable[..., Path]
) -> None:
    file = saved(entry(called, BLOATED), entry(called, OTHER))
    path = sidecar(called / BLOATED)
    content = path.read_bytes() + b" " * parse.MAX_BYTES
    path.write_bytes(content)
    found = imported(file, called, code=3)
    assert found["applied"] == 1
    (missing,) = found["missing"]
    assert "larger than" in missing["what"]
    assert path.read_bytes() == content
