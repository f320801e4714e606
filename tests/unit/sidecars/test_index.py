from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ctcedge.discovery.naming import Crop
from ctcedge.sidecars import index
from ctcedge.sidecars.index import IndexEntry, index_key, index_path
from tests.unit.sidecars.index_place import KNOWN, Place, plain

pytestmark = pytest.mark.usefixtures("eager")


@pytest.mark.parametrize("path", ["1_BF.png", "a b/é/x\n_BF.tif", "0\udcff1_BF.png"])
@pytest.mark.parametrize(
    "known",
    [
        KNOWN,
        IndexEntry("CTC", (), False, None, ()),
        IndexEntry(None, (), False, "unreadable: half of it is missing", ()),
    ],
)
def test_a_recorded_crop_is_known_at_the_next_start(
    place: Place, path: str, known: IndexEntry
) -> None:
    crop, other = place.add(path), place.add("other_BF.png")
    place.note(crop, known=known)
    assert place.known(other, crop) == [None, known]


def test_missing_features_are_falsy(place: Place) -> None:
    crop = place.add("1_BF.png")
    place.note(crop, known=KNOWN._replace(features=()))
    (known,) = place.known(crop)
    assert known is not None
    assert not known.features


def test_the_signature_of_a_sidecar_written_since_is_taken_again(place: Place) -> None:
    crop = place.add("1_BF.png")
    with place.open() as opened:
        (looked,) = opened.lookup([crop])
        place.sidecar(crop).write_bytes(b"a new one")
        opened.record(looked, KNOWN, sha256="", written=True)
    assert place.known(crop) == [KNOWN]


def test_a_sidecar_that_changed_while_it_was_read_is_not_known(place: Place) -> None:
    crop = place.add("1_BF.png")
    with place.open() as opened:
        (looked,) = opened.lookup([crop])
        place.sidecar(crop).write_bytes(b"a new one")
        opened.record(looked, KNOWN, sha256="", written=False)
    assert place.known(crop) == [None]


def rewritten_with_its_size_and_mtime(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"x" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def replaced_by_the_same(path: Path) -> None:
    before, data = path.stat(), path.read_bytes()
    (path.parent / "new").write_bytes(data)
    os.utime(path.parent / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (path.parent / "new").rename(path)


def replaced_by_a_link(path: Path) -> None:
    path.rename(path.parent / "elsewhere")
    path.symlink_to("elsewhere")


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES = [
    rewritten_with_its_size_and_mtime,
    replaced_by_the_same,
    replaced_by_a_link,
    replaced_by_a_folder,
    Path.unlink,
    lambda path: path.write_bytes(b""),
    lambda path: path.chmod(0),
]


@pytest.mark.parametrize("of", [Place.image, Place.sidecar])
@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_a_file_makes_its_crop_unknown(
    place: Place, change: Callable[[Path], object], of: Callable[[Place, Crop], Path]
) -> None:
    first, second = place.add("1_BF.png"), place.add("2_BF.png")
    place.note(first, second)
    change(of(place, first))
    assert place.known(first, second) == [None, KNOWN]


def test_an_entry_is_for_one_model_and_its_settings(place: Place) -> None:
    crop = place.add("1_BF.png")
    place.note(crop)
    for other in (index_key("a" * 64, "c" * 64), index_key("c" * 64, "b" * 64)):
        assert place.known(crop, key=other) == [None]
    assert place.known(crop) == [KNOWN]


def test_each_folder_and_each_sidecar_folder_has_its_own(place: Place, tmp_path: Path) -> None:
    places = {
        index_path(place.folder, place.out),
        index_path(place.folder, place.folder),
        index_path(place.out, place.folder),
    }
    assert len(places) == 3
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to("in")
    assert index_path(tmp_path / "link", place.out) == index_path(place.folder, place.out)


def test_a_recent_image_is_recorded_once_it_is_older_and_still_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop, changed = place.add("1_BF.png"), place.add("2_BF.png")
    monkeypatch.setattr(index, "TIMESTAMP_GRANULARITY", 3600.0)
    with place.open() as opened:
        first, second = opened.lookup([crop, changed])
        opened.record(first, KNOWN, sha256=hashlib.sha256(b"image").hexdigest(), written=True)
        # As if it had been written to without a trace, within the grain of the clock.
        opened.record(second, KNOWN, sha256=hashlib.sha256(b"other").hexdigest(), written=True)
        monkeypatch.setattr(index, "TIMESTAMP_GRANULARITY", 0.0)
    assert place.known(crop, changed) == [KNOWN, None]


def test_a_recent_image_is_not_recorded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    crop = place.add("1_BF.png")
    monkeypatch.setattr(index, "TIMESTAMP_GRANULARITY", 3600.0)
    place.note(crop, written=True)
    assert place.known(crop) == [None]


def test_a_recent_sidecar_that_was_found_is_not_recorded(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop = place.add("1_BF.png")
    os.utime(place.image(crop), (0, 0))
    monkeypatch.setattr(index, "TIMESTAMP_GRANULARITY", 3600.0)
    with place.open() as opened:
        (looked,) = opened.lookup([crop])
        monkeypatch.setattr(
            index, "_recently_modified", lambda found, moment: found == looked.sidecar
        )
        opened.record(looked, KNOWN, sha256="", written=False)
    assert place.known(crop) == [None]


def test_a_few_rows_are_not_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MIN_WRITE", 3)
    crops = place.many(3)
    place.note(*crops[:2])
    assert place.known(*crops) == [None] * 3
    place.note(*crops)
    assert place.known(*crops) == [KNOWN] * 3


def test_many_are_written_as_they_come_in_bounded_memory(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_WRITE_BATCH", 50)
    monkeypatch.setattr(index, "_MAX_QUEUED", 60)
    crops = place.many(400)
    with place.open() as opened:
        for number, looked in enumerate(opened.lookup(crops)):
            opened.record(looked, KNOWN, sha256="", written=False)
            assert len(opened._queue) <= 60
            if number % 50 == 49:
                for thread in opened._threads:
                    thread.join()
        assert [plain(looked) for looked in opened.lookup(crops)] == [KNOWN] * 400


def test_nobody_else_may_read_it(place: Place) -> None:
    crop = place.add("1_BF.png")
    with place.open() as opened:
        (looked,) = opened.lookup([crop])
        opened.record(looked, KNOWN, sha256="", written=False)
        for path in place.file().parent.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(place.file().parent.stat().st_mode) == 0o700
