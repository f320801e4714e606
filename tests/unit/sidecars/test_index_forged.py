"""Rows that someone put into the index: none lets a crop be passed over."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from ctcedge.discovery.naming import Crop
from ctcedge.fs.files import file_signature
from ctcedge.sidecars.index import index_key
from ctcedge.sidecars.index_file import insert, to_row
from tests.unit.sidecars.index_place import KEY, KNOWN, Place

pytestmark = pytest.mark.usefixtures("eager")


def forge(place: Place, crop: Crop, image: Crop, sidecar: Crop, key: bytes = KEY) -> None:
    """Insert a row, with a right checksum, that describes files of other crops."""
    files = [file_signature(str(path)) for path in (place.image(image), place.sidecar(sidecar))]
    assert files[0] and files[1]
    row = to_row(crop.path, files[0], files[1], KNOWN)
    assert row
    _insert(place, key, row)


def _insert(place: Place, key: bytes, row: tuple[object, ...]) -> None:
    with sqlite3.connect(place.file()) as connection:
        insert(connection, key, [row])  # type: ignore[list-item]
    connection.close()


@pytest.fixture
def crops(place: Place) -> list[Crop]:
    crops = [place.add("1_BF.png", b"one"), place.add("2_BF.png", b"two")]
    place.note(place.add("3_BF.png"))  # makes the file
    return crops


def test_a_row_of_the_files_of_another_crop(place: Place, crops: list[Crop]) -> None:
    first, second = crops
    for image, sidecar in ((first, second), (second, first), (second, second)):
        forge(place, first, image, sidecar)
        assert place.known(first) == [None]
    forge(place, first, first, first)
    assert place.known(first) == [KNOWN]


def test_a_row_of_another_model(place: Place, crops: list[Crop]) -> None:
    forge(place, crops[0], crops[0], crops[0], index_key("c" * 64, "b" * 64))
    assert place.known(crops[0]) == [None]


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("file", [0, 1])
def test_a_row_with_a_wrong_size_time_or_inode(
    place: Place, crops: list[Crop], file: int, position: int
) -> None:
    crop = crops[0]
    files = [file_signature(str(path)) for path in (place.image(crop), place.sidecar(crop))]
    signature = files[file]
    assert files[0] and files[1] and signature
    changed = list(signature)
    changed[position] += 1
    files[file] = tuple(changed)
    row = to_row(crop.path, files[0], files[1], KNOWN)
    assert row
    _insert(place, KEY, row)
    assert place.known(crop) == [None]


def test_a_row_of_a_crop_without_sidecar_or_image(place: Place, crops: list[Crop]) -> None:
    first, second = crops
    for crop, gone in ((first, place.sidecar(first)), (second, place.image(second))):
        forge(place, crop, crop, crop)
        gone.unlink()
    assert place.known(first, second) == [None, None]


@pytest.mark.parametrize("path", [b"../3_BF.png", b"/etc/passwd", b"", b"\xff\0", b"1_BF.png/"])
def test_a_row_with_a_hostile_path(place: Place, crops: list[Crop], path: bytes) -> None:
    _insert(place, KEY, (path, *_columns(place, crops[0])))
    assert place.known(*crops) == [None, None]
    with place.open() as opened:
        opened.prune(1)
    assert place.known(*crops) == [None, None]


def _columns(place: Place, crop: Crop) -> tuple[object, ...]:
    files = [file_signature(str(path)) for path in (place.image(crop), place.sidecar(crop))]
    assert files[0] and files[1]
    row = to_row(crop.path, files[0], files[1], KNOWN)
    assert row
    return row[1:]


@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_an_index_that_others_may_write_is_not_used(
    place: Place, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    crop = place.add("1_BF.png")
    place.note(crop)
    place.file().chmod(mode)
    assert place.known(crop) == [None]
    assert "others may write" in caplog.text


def test_an_index_of_another_account_is_not_used(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a file away")
    crop = place.add("1_BF.png")
    place.note(crop)
    os.chown(place.file(), 54321, -1)
    assert place.known(crop) == [None]
    assert "another account" in caplog.text


def test_files_beside_the_index_are_left_alone(place: Place, tmp_path: Path) -> None:
    """A link in the place of the index is neither followed nor replaced."""
    crop, target = place.add("1_BF.png"), tmp_path / "target"
    target.write_bytes(b"precious")
    place.file().parent.mkdir(parents=True)
    place.file().symlink_to(target)
    place.note(crop)
    assert place.known(crop) == [None]
    assert target.read_bytes() == b"precious"
