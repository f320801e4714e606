from __future__ import annotations

import hashlib
import logging
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ctcedge.discovery.naming import SIDECAR_SUFFIX, Crop, Naming
from ctcedge.discovery.scan import iter_entries
from ctcedge.sidecars import index
from ctcedge.sidecars.index import DoneIndex, IndexEntry, Lookup, index_key, index_path

KEY = index_key("a" * 64, "b" * 64)
KNOWN = IndexEntry("review", ("near-threshold", "empty"), True, None, (0.5, -1.25, 8.0))


class Place:
    """Images and sidecars; the index reads none of them but recently modified images."""

    def __init__(self, root: Path) -> None:
        self.folder, self.out = root / "in", root / "out"

    def add(self, path: str, content: bytes = b"image") -> Crop:
        for place in (self.folder / path, self.out / (path + SIDECAR_SUFFIX)):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        return Crop(path, "S", path, "BF")

    def many(self, count: int) -> list[Crop]:
        return [self.add(f"P{i % 7}/{i:05}_BF.png", b"%d" % i) for i in range(count)]

    def image(self, crop: Crop) -> Path:
        return self.folder / crop.path

    def sidecar(self, crop: Crop) -> Path:
        return self.out / (crop.path + SIDECAR_SUFFIX)

    def open(self, key: bytes = KEY) -> DoneIndex:
        return DoneIndex(self.folder, self.out, key)

    def file(self) -> Path:
        return index_path(self.folder, self.out)

    def note(self, *crops: Crop, known: IndexEntry = KNOWN, written: bool = False) -> None:
        with self.open() as opened:
            for looked in opened.lookup(crops):
                data = (self.folder / looked.path).read_bytes()
                sha256 = hashlib.sha256(data).hexdigest()
                opened.record(looked, known, sha256=sha256, written=written)

    def known(self, *crops: Crop, key: bytes = KEY) -> list[IndexEntry | None]:
        with self.open(key) as opened:
            return [plain(looked) for looked in opened.lookup(crops)]


def plain(looked: Lookup) -> IndexEntry | None:
    """The entry with features that can be compared."""
    return looked.entry and looked.entry._replace(features=tuple(looked.entry.features))


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every file is old enough, and every row is written."""
    monkeypatch.setenv("CTCEDGE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(index, "TIMESTAMP_GRANULARITY", 0.0)
    monkeypatch.setattr(index, "MIN_WRITE", 1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


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


def junk(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(50_000))


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def no_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE crops")
    connection.close()


def another_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def first_version(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE entries (path BLOB PRIMARY KEY, entry BLOB NOT NULL) WITHOUT ROWID"
        )
        connection.execute("INSERT INTO entries VALUES (X'00', X'00')")
        connection.execute(f"PRAGMA application_id = {0x63746365}")
        connection.execute("PRAGMA user_version = 1")
    connection.close()


def another_program(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA application_id = 5")
        connection.execute("CREATE TABLE entries (path BLOB, entry BLOB)")
    connection.close()


DAMAGES = [
    junk,
    halved,
    no_table,
    another_version,
    first_version,
    another_program,
    lambda path: path.write_bytes(b""),
    lambda path: os.truncate(path, 100),
    lambda path: path.with_name(path.name + "-wal").write_bytes(b"junk" * 5000),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_recreated(place: Place, damage: Callable[[Path], object]) -> None:
    crops = place.many(300)
    place.note(*crops)
    assert place.known(*crops) == [KNOWN] * 300
    damage(place.file())
    assert set(place.known(*crops)) <= {None, KNOWN}
    place.note(*crops)
    place.note(*crops)
    assert place.known(*crops) == [KNOWN] * 300


def test_a_damaged_byte_never_makes_a_wrong_entry(place: Place) -> None:
    crops, chance = place.many(60), random.Random(3)
    place.note(*crops)
    whole = place.file().read_bytes()
    lost = 0
    for _ in range(300):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        place.file().write_bytes(data)
        answers = place.known(*crops)
        assert set(answers) <= {None, KNOWN}
        lost += answers.count(None)
    assert lost


@pytest.mark.parametrize(
    "change",
    [
        "call = 'CTC'",
        "call = NULL",
        "reasons = ''",
        "reasons = 'near-threshold'",
        "cluster = 0",
        "cluster = 'x'",
        "error = 'unreadable'",
        "features = X'00000000'",
        "features = 'text'",
        "features = 5",
        "checksum = checksum + 1",
        "checksum = 'x'",
        "path = X'" + b"other_BF.png".hex() + "'",
    ],
)
def test_a_row_that_was_changed_is_not_used(place: Place, change: str) -> None:
    crop, other = place.add("1_BF.png"), place.add("other_BF.png")
    place.note(crop)
    assert place.known(crop) == [KNOWN]
    with sqlite3.connect(place.file()) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '')")
    connection.close()
    with sqlite3.connect(place.file()) as connection:
        connection.execute(f"UPDATE crops SET {change}")
    connection.close()
    assert place.known(crop, other) == [None, None]


def recording_program(count: int) -> str:
    """A program that records crops `start` to `stop`, endlessly unless its last word is `once`."""
    return f"""
import sys
from pathlib import Path
from ctcedge.sidecars import index
from ctcedge.discovery.naming import Naming
from ctcedge.discovery.scan import iter_entries
index.TIMESTAMP_GRANULARITY, index.MIN_WRITE, index._WRITE_BATCH = 0.0, 1, {count}
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
crops = list(iter_entries(folder, Naming()))[int(sys.argv[3]):int(sys.argv[4])]
known = index.IndexEntry("review", ("near-threshold", "empty"), True, None, (0.5, -1.25, 8.0))
print("ready", flush=True)
sys.stdin.read(1)
while True:
    with index.DoneIndex(folder, out, bytes.fromhex("{KEY.hex()}")) as opened:
        for looked in opened.lookup(crops):
            opened.record(looked, known, sha256="", written=False)
        print("noted", flush=True)
    if "once" in sys.argv:
        break
"""


def started(place: Place, *words: object, batch: int = 50) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", recording_program(batch), place.folder, place.out, *words]
    return subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def listed(place: Place) -> list[Crop]:
    return [found for found in iter_entries(place.folder, Naming()) if isinstance(found, Crop)]


def test_two_processes_may_use_it_at_once(place: Place) -> None:
    place.many(600)
    crops = listed(place)
    both = [started(place, 0, 300, "once"), started(place, 300, 600, "once")]
    for each in both:
        assert each.stdout is not None
        assert each.stdout.readline() == b"ready\n"
    for each in both:
        _, complaints = each.communicate(b"x")
        assert (each.returncode, complaints) == (0, b"")
    assert place.known(*crops) == [KNOWN] * 600


def test_a_process_that_is_killed_leaves_nothing_wrong(place: Place) -> None:
    place.many(300)
    crops = listed(place)
    for delay in (0.0, 0.003, 0.01, 0.03, 0.1):
        process = started(place, 0, 300)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        while b"noted" not in process.stdout.readline():
            pass
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()
        assert set(place.known(*crops)) <= {None, KNOWN}
    place.note(*crops)
    assert place.known(*crops) == [KNOWN] * 300


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
