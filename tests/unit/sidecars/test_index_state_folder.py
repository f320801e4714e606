from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ctcedge.sidecars import index
from tests.unit.sidecars.index_place import KNOWN, Place, listed, recording_program

pytestmark = pytest.mark.usefixtures("eager")


def entries(place: Place) -> int:
    connection = sqlite3.connect(place.file())
    (count,) = connection.execute("SELECT count(*) FROM crops").fetchone()
    connection.close()
    return int(count)


def test_rows_of_removed_images_are_removed_where_there_are_many(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_MIN_GONE", 30)
    crops = place.many(100)
    place.note(*crops)
    for crop in crops[:25]:
        place.image(crop).unlink()
    with place.open() as opened:
        opened.prune(75)
    assert entries(place) == 100
    for crop in crops[25:60]:
        place.image(crop).unlink()
    with place.open() as opened:
        opened.prune(40)
    assert entries(place) == 40
    assert place.known(*crops[60:]) == [KNOWN] * 40


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    with caplog.at_level(logging.DEBUG, "ctcedge"):
        yield lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("state", ["/proc/none", "/dev/null"])
def test_without_a_writable_state_folder_there_is_none(
    place: Place, state: str, lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTCEDGE_STATE", state)
    crops = place.many(3)
    place.note(*crops)
    assert len(lines()) == 1
    assert "index of done crops cannot be used" in lines()[0]
    assert place.known(*crops) == [None] * 3


def test_never_in_the_searched_folder(
    place: Place, lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    crop = place.add("1_BF.png")
    monkeypatch.setenv("CTCEDGE_STATE", str(place.folder / "state"))
    place.note(crop)
    assert len(lines()) == 1
    assert os.listdir(place.folder) == ["1_BF.png"]


def test_a_state_folder_that_disappears_during_use(
    place: Place, lines: Callable[[], list[str]]
) -> None:
    crop = place.add("1_BF.png")
    with place.open() as opened:
        (looked,) = opened.lookup([crop])
        for path in place.file().parent.iterdir():
            path.unlink()
        place.file().parent.rmdir()
        opened.record(looked, KNOWN, sha256="", written=False)
    assert len(lines()) == 1
    place.note(crop)
    assert place.known(crop) == [KNOWN]


def test_a_sidecar_folder_that_disappears_costs_the_rows_alone(
    place: Place, lines: Callable[[], list[str]]
) -> None:
    """Rows are not written where the sidecars cannot be synced to disk."""
    crop = place.add("1_BF.png")
    with place.open() as opened:
        (looked,) = opened.lookup([crop])
        opened.record(looked, KNOWN, sha256="", written=False)
        place.out.rename(place.out.parent / "away")
    assert len(lines()) == 1
    (place.out.parent / "away").rename(place.out)
    assert place.known(crop) == [None]


def test_a_full_disk_costs_the_rows_alone(place: Place) -> None:
    place.many(600)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
    command = [
        sys.executable,
        "-c",
        limit + recording_program(100),
        place.folder,
        place.out,
        0,
        600,
        "once",
    ]
    result = subprocess.run([str(word) for word in command], input=b"x", capture_output=True)
    assert result.returncode == 0
    assert result.stderr.count(b"\n") == 1
    assert b"index of done crops cannot be used" in result.stderr
    crops = listed(place)
    assert set(place.known(*crops)) <= {None, KNOWN}
    place.note(*crops)
    assert place.known(*crops) == [KNOWN] * 600


def test_the_index_of_a_folder_that_is_long_unused_is_removed(place: Place, tmp_path: Path) -> None:
    crop = place.add("1_BF.png")
    place.note(crop)
    used, other = place.file(), Place(tmp_path / "other")
    other.note(other.add("1_BF.png"))
    assert used.exists()
    os.utime(used, (0, 0))
    other.known()
    assert not used.exists()
    assert other.file().exists()


def test_a_service_keeps_it_in_its_cache_folder(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", f"{tmp_path / 'cache'}:/elsewhere")
    assert place.file().is_relative_to(tmp_path / "state")
    monkeypatch.delenv("CTCEDGE_STATE")
    assert place.file().is_relative_to(tmp_path / "cache")
    monkeypatch.delenv("CACHE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert place.file().is_relative_to(tmp_path / "xdg" / "ctcedge")
