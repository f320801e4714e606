from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.sidecars.index_place import KNOWN, Place

pytestmark = pytest.mark.usefixtures("eager")


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
