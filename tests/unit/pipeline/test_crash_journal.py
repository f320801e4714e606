from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ctcedge.pipeline.crash_journal import RECORD, CrashJournal

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def left_by_a_crash(root: Path, *noted: str) -> None:
    """Write the journal as it is while images are decoded, which is what a crash leaves."""
    (root / RECORD).write_bytes(b"".join(map(bytes.fromhex, noted)).ljust(8192, b"\0"))


def suspected(root: Path) -> set[str]:
    """What the next run would suspect, if this one ended here."""
    here = (root / RECORD).read_bytes()
    found = {here[start : start + 32].hex() for start in range(0, len(here), 32)}
    return found - {"0" * 64}


def test_images_are_noted_while_they_are_decoded(tmp_path: Path) -> None:
    with CrashJournal(tmp_path) as in_hand:
        assert in_hand.quarantined == suspected(tmp_path) == set()
        with in_hand.slot() as note:
            note(A)
            with in_hand.slot() as note_too:
                note_too(B)
                assert suspected(tmp_path) == {A, B}
                note(C)
                assert suspected(tmp_path) == {C, B}
            assert suspected(tmp_path) == {C}
        assert suspected(tmp_path) == set()
    assert list(tmp_path.iterdir()) == []


def test_the_same_image_twice_at_once(tmp_path: Path) -> None:
    with CrashJournal(tmp_path) as in_hand, in_hand.slot() as note:
        note(A)
        with in_hand.slot() as note_too:
            note_too(A)
        assert suspected(tmp_path) == {A}


def test_many_threads(tmp_path: Path) -> None:
    def note_some(number: int) -> bool:
        with in_hand.slot() as note:
            for sha256 in (f"{number + 1:064x}", f"{number + 1001:064x}"):
                note(sha256)
                if sha256 not in suspected(tmp_path):
                    return False
        return True

    with CrashJournal(tmp_path) as in_hand, ThreadPoolExecutor(8) as threads:
        assert all(threads.map(note_some, range(200)))
        threads.shutdown()
        assert suspected(tmp_path) == set()


def test_suspects_stay_noted_until_they_are_acquitted(tmp_path: Path) -> None:
    left_by_a_crash(tmp_path, A, B)
    with CrashJournal(tmp_path) as in_hand:
        assert in_hand.quarantined == {A, B}
        with in_hand.slot() as note:
            note(C)
            assert suspected(tmp_path) == {A, B, C}
        in_hand.clear(A)
        assert in_hand.quarantined == suspected(tmp_path) == {B}
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_leaves_what_it_failed_on_and_its_suspects(tmp_path: Path) -> None:
    left_by_a_crash(tmp_path, A)
    with pytest.raises(MemoryError), CrashJournal(tmp_path) as in_hand, in_hand.slot() as note:
        note(B)
        raise MemoryError
    assert suspected(tmp_path) == {A, B}
    with pytest.raises(KeyboardInterrupt), CrashJournal(tmp_path):
        raise KeyboardInterrupt
    with pytest.raises(OSError), CrashJournal(tmp_path):
        raise OSError
    assert list(tmp_path.iterdir()) == []


def test_the_record_does_not_grow(tmp_path: Path) -> None:
    left_by_a_crash(tmp_path, *(f"{number + 1:064x}" for number in range(1000)))
    with CrashJournal(tmp_path) as in_hand, in_hand.slot() as note:
        note(A)
        assert len(suspected(tmp_path)) < 256
        assert (tmp_path / RECORD).stat().st_size == 8192
        assert A in suspected(tmp_path)


@pytest.mark.parametrize("left", [b"", b"\0" * 5000, b"\x11" * 31])
def test_what_is_no_record_names_no_suspects(tmp_path: Path, left: bytes) -> None:
    (tmp_path / RECORD).write_bytes(left)
    with CrashJournal(tmp_path) as in_hand:
        assert in_hand.quarantined == set()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(bytes.fromhex(A))
    for link in (os.symlink, os.link):
        link(precious, tmp_path / RECORD)
        with CrashJournal(tmp_path) as in_hand, in_hand.slot() as note:
            note(B)
            assert not (tmp_path / RECORD).is_symlink()
        assert precious.read_bytes() == bytes.fromhex(A)


def test_where_it_cannot_be_made_there_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / RECORD).mkdir()
    with CrashJournal(tmp_path) as in_hand:
        with in_hand.slot() as note:
            note(A)
            note(B)
    assert len(caplog.records) == 1
    assert RECORD in caplog.text


def test_where_it_cannot_be_written_any_more_there_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with CrashJournal(tmp_path) as in_hand:
        monkeypatch.setattr(os, "pwrite", full)
        with in_hand.slot() as note:
            note(A)
            note(B)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No space left" in caplog.text
    assert list(tmp_path.iterdir()) == []
