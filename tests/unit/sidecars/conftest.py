from __future__ import annotations

from pathlib import Path

import pytest

from ctcedge.sidecars import index
from ctcedge.sidecars.store import SidecarStore
from tests.unit.sidecars.index_place import Place


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every file is old enough for the index, and every row is written."""
    monkeypatch.setenv("CTCEDGE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(index, "TIMESTAMP_GRANULARITY", 0.0)
    monkeypatch.setattr(index, "MIN_WRITE", 1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def out(tmp_path: Path) -> SidecarStore:
    (tmp_path / "in").mkdir()
    return SidecarStore(tmp_path / "in", tmp_path / "out")
