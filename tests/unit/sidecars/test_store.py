from __future__ import annotations

import errno
import fcntl
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ctcedge.discovery.naming import Crop
from ctcedge.errors import OutputError
from ctcedge.fs.unfinished import MAX_UNFINISHED_S, UnfinishedFile
from ctcedge.sidecars import files as module
from ctcedge.sidecars.schema import ReviewRecord, Sidecar, history_after
from ctcedge.sidecars.store import NotWritten, SidecarStore, try_writing
from tests.helpers.sidecar_data import HASH, REVIEW, record
from tests.helpers.sidecar_files import as_dict, load, stray, typed, without_chain
from tests.unit.sidecars.stored import CALLED, CROP, SECOND, planted, reviewed

RANDOM = f".ctcedge-{'0f' * 16}.tmp"


def test_places(tmp_path: Path) -> None:
    assert SidecarStore(tmp_path).path(CROP) == tmp_path / "S" / "1_BF.png.ctc.json"
    other = SidecarStore(tmp_path, tmp_path / "o")
    assert other.path(CROP) == tmp_path / "o" / "S" / "1_BF.png.ctc.json"


def test_what_is_written_is_read_back(out: SidecarStore) -> None:
    written = record(cell="0\udcff\n[red]é")
    out.write(CROP, typed(written))
    assert as_dict(out.read(CROP)) == load(out.path(CROP))
    assert without_chain(load(out.path(CROP))) == written
    assert list(out.path(CROP).parent.iterdir()) == [out.path(CROP)]


def test_a_failed_write_leaves_nothing(out: SidecarStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = planted(out, record(cell="before"))

    def full(*arguments: object, **folders: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        out.write(CROP, typed(record()))
    assert load(path)["cell"] == "before"
    assert stray(out.root) == []


@pytest.mark.parametrize("number", sorted(set(errno.errorcode) - {errno.EEXIST}))
def test_whatever_error_one_path_has_the_others_are_written(
    out: SidecarStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    create = UnfinishedFile.create

    def fail(file: UnfinishedFile, name: str) -> None:
        if name.startswith("1_BF.png"):
            raise OSError(number, os.strerror(number))
        create(file, name)

    monkeypatch.setattr(UnfinishedFile, "create", fail)
    with out.batch() as write:
        with pytest.raises(NotWritten, match="sidecar cannot be written: "):
            write(CROP, typed(record()))
        assert (
            write(Crop("T/2_BF.png", "S", "2", "BF"), typed(record(cell="2"))).sidecar.cell == "2"
        )
    assert stray(out.root) == []


@pytest.mark.parametrize(
    "number", sorted(set(errno.errorcode) - {errno.EACCES, errno.EPERM, errno.EEXIST})
)
def test_an_error_of_the_root_is_that_of_all(
    out: SidecarStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    out.root.mkdir()

    def fail(file: UnfinishedFile, name: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(UnfinishedFile, "create", fail)
    with pytest.raises(OutputError, match="what is written stays, run again"):
        out.write(CROP, typed(record()))
    assert stray(out.root) == []


def test_a_folder_that_vanished_with_its_images_does_not_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(NotWritten):
        SidecarStore(tmp_path).write(CROP, typed(record()))


def test_a_folder_at_the_sidecars_place(out: SidecarStore) -> None:
    out.path(CROP).mkdir(parents=True)
    assert out.read(CROP) is None
    with pytest.raises(NotWritten):
        out.write(CROP, typed(record()))
    assert stray(out.root) == []


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_not_opened_but_replaced(out: SidecarStore, make: Any) -> None:
    out.path(CROP).parent.mkdir(parents=True)
    make(out.path(CROP))
    assert out.read(CROP) is None
    out.write(CROP, typed(record()))
    assert without_chain(load(out.path(CROP))) == record()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_sidecar_that_cannot_be_read_now_is_not_taken_for_missing(
    out: SidecarStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    planted(out, record())

    def fail(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.os, "open", fail)
    with pytest.raises(NotWritten, match="cannot be read"):
        out.read(CROP)
    out.check([CROP])


@pytest.mark.parametrize("beside", [True, False])
def test_a_link_below_the_root_does_not_lead_elsewhere(tmp_path: Path, beside: bool) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "out"
    (elsewhere / "deep").mkdir(parents=True)
    root.mkdir()
    (root / "S").symlink_to(elsewhere)
    folder = SidecarStore(root) if beside else SidecarStore(tmp_path / "in", root)
    for path in ("S/1_BF.png", "S/deep/1_BF.png", "S/new/1_BF.png"):
        with pytest.raises(NotWritten, match="cannot be written"):
            folder.write(Crop(path, "S", "1", "BF"), typed(record()))
    assert sorted(elsewhere.rglob("*")) == [elsewhere / "deep"]


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    SidecarStore(tmp_path / "in", tmp_path / "out").write(CROP, typed(record()))
    assert without_chain(load(tmp_path / "real" / "S" / "1_BF.png.ctc.json")) == record()


def test_a_link_planted_under_a_temporary_name_is_not_followed(
    out: SidecarStore, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    below = out.path(CROP).parent
    below.mkdir(parents=True)
    links = [
        folder / f".ctcedge-{os.getpid()}-{number}.tmp"
        for folder, number in ((below, 1), (out.root, 0))
    ]
    for link in links:
        link.symlink_to(precious)
    with out.open():
        try_writing(out.root)
        out.write(CROP, typed(record()))
    assert precious.read_text() == "kept"
    assert without_chain(load(out.path(CROP))) == record()
    assert sorted(stray(out.root)) == sorted(links)


@pytest.mark.parametrize("times", [2, 3])
def test_a_file_that_another_program_puts_in_place_of_a_sidecar_is_noticed(
    out: SidecarStore, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    out.write(CROP, typed(record()))
    out.amend(CROP, reviewed)
    replace, left = UnfinishedFile.replace, iter(range(times))

    def swapped(file: UnfinishedFile, name: str) -> None:
        replace(file, name)
        if next(left, None) is not None:
            (out.path(CROP).parent / "other").write_bytes(b"another cell")
            (out.path(CROP).parent / "other").rename(out.path(CROP))
            file._check(name)

    monkeypatch.setattr(UnfinishedFile, "replace", swapped)
    if times == 3:
        with pytest.raises(NotWritten, match="another program replaced the file"):
            out.write(CROP, typed(record(call="leukocyte")))
    else:
        out.write(CROP, typed(record(call="leukocyte")))
        stored = load(out.path(CROP))
        assert (stored["call"], stored["review"]) == ("leukocyte", REVIEW)
    assert stray(out.root) == []


def test_a_sidecar_that_another_program_writes_meanwhile_is_not_replaced_unread(
    out: SidecarStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = UnfinishedFile.create

    def raced(file: UnfinishedFile, name: str) -> None:
        monkeypatch.setattr(UnfinishedFile, "create", create)
        other = SidecarStore(out.root.parent / "in", out.root)
        other.write(CROP, typed(record()))
        other.amend(CROP, reviewed)
        create(file, name)

    monkeypatch.setattr(UnfinishedFile, "create", raced)
    out.write(CROP, typed(record(call="leukocyte")))
    stored = load(out.path(CROP))
    assert (stored["call"], stored["review"]) == ("leukocyte", REVIEW)
    assert [entry["call"] for entry in stored["history"]] == ["CTC"]


def test_another_samples_sidecar_must_not_be_replaced(out: SidecarStore) -> None:
    planted(out, record(sample="T"))
    with pytest.raises(NotWritten, match="belongs to sample 'T', not 'S'"):
        out.read(CROP)
    with pytest.raises(OutputError, match="its own --out"):
        out.check([CROP])


def test_some_sidecars_that_must_not_be_replaced_do_not_end_the_run(
    out: SidecarStore,
) -> None:
    planted(out, record(sample="T"))
    other = Crop("S/2_BF.png", "S", "2", "BF")
    new = Crop("S/3_BF.png", "S", "3", "BF")
    with pytest.raises(OutputError, match="belongs to sample 'T'"):
        out.check([CROP, other, new])
    out.check([CROP, None])
    mine = record(cell="2", image=record()["image"] | {"name": "2_BF.png"})
    out.write(other, typed(mine))
    for crops in ([CROP, other, new], [other, CROP]):
        out.check(crops)
    with pytest.raises(NotWritten, match="belongs to sample 'T'"):
        out.write(CROP, typed(record()))


def test_beside_the_images_a_sidecar_follows_its_image(tmp_path: Path) -> None:
    beside = SidecarStore(tmp_path)
    planted(beside, record(sample="old name of the folder"))
    assert beside.read(CROP) is not None


def test_what_is_written_keeps_the_review_that_stands_there(out: SidecarStore) -> None:
    out.write(CROP, typed(record()))
    out.amend(CROP, reviewed)
    written, aside = out.write(CROP, typed(record(call="leukocyte", review=None)))
    assert (written.call, as_dict(written)["review"], aside) == ("leukocyte", REVIEW, None)
    assert load(out.path(CROP)) == as_dict(written)


def test_amending_changes_what_stands_there_now(out: SidecarStore) -> None:
    out.write(CROP, typed(record(call="leukocyte")))
    seen = []

    def change(old: Sidecar) -> Sidecar:
        seen.append(old.call)
        return reviewed(old)

    assert as_dict(out.amend(CROP, change)) == load(out.path(CROP))
    assert seen == ["leukocyte"]
    assert stray(out.root) == []


@pytest.mark.parametrize("content", [None, b"{"])
def test_there_is_nothing_to_amend(out: SidecarStore, content: bytes | None) -> None:
    if content is not None:
        planted(out, content)
    with pytest.raises(NotWritten, match="not a whole sidecar"):
        out.amend(CROP, lambda old: old)
    assert out.path(CROP).exists() == (content is not None)


def test_a_review_and_a_new_call_at_the_same_time_lose_nothing(out: SidecarStore) -> None:
    out.write(CROP, typed(record()))
    calls, reviews = 40, 40

    def call_again() -> None:
        for number in range(calls):
            out.write(CROP, typed(record(cell=str(number))))

    def review_again() -> None:
        own = SidecarStore(out.root.parent / "in", out.root)
        for number in range(reviews):
            own.amend(CROP, lambda old, n=number: _next(old, n))

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(call_again), pool.submit(review_again)]:
            done.result()
    found = load(out.path(CROP))
    assert found["cell"] == str(calls - 1)
    assert len(found["review"]["history"]) == reviews - 1


def _next(old: Sidecar, number: int) -> Sidecar:
    entries = as_dict(reviewed(old, note=str(number)))["review"]
    new = msgspec.convert(entries, ReviewRecord).latest
    return msgspec.structs.replace(old, review=ReviewRecord.of((*old.reviews, new)))


def test_a_sidecar_that_another_program_does_not_let_go_of(
    out: SidecarStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    out.write(CROP, typed(record()))
    monkeypatch.setattr(module, "_MAX_LOCK_WAIT_S", 0.05)
    with open(out.path(CROP), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(NotWritten, match="another program holds it"):
            out.write(CROP, typed(record(call="leukocyte")))
    assert load(out.path(CROP))["call"] == "CTC"


def test_history_keeps_each_call_oldest_first() -> None:
    third = msgspec.structs.replace(CALLED, history=history_after(SECOND))
    assert [entry.call for entry in third.history] == ["leukocyte", "review"]
    assert third.history[0].image_sha256 == HASH


def test_history_keeps_no_entry_of_what_was_not_called() -> None:
    unreadable = typed(
        record(status="unreadable", call=None, probability=None, score=None, error="empty")
    )
    unreadable = msgspec.structs.replace(unreadable, history=history_after(CALLED))
    assert [entry.call for entry in history_after(unreadable)] == ["CTC"]
    assert history_after(None) == ()


def test_the_second_writer_is_refused(out: SidecarStore, tmp_path: Path) -> None:
    with out.open():
        second = SidecarStore(tmp_path / "in", tmp_path / "out")
        with pytest.raises(OutputError, match="another ctcedge"), second.open():
            pass
        assert list(out.root.iterdir()) == []
    with second.open():
        pass


def test_a_file_system_that_cannot_lock_is_used_without(
    out: SidecarStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with out.open():
        pass


def test_opening_sweeps_what_a_crash_left_and_nothing_else(out: SidecarStore) -> None:
    below = out.root / "S"
    below.mkdir(parents=True)
    ours = (".ctcedge-4194304-2.tmp", RANDOM)
    others = {"mine.tmp", ".ctcedge-x-2.tmp", ".ctcedge-0f.tmp"}
    for name in (*ours, *others):
        (below / name).touch()
        os.utime(below / name, (1e9, 1e9))
    with out.open():
        assert {path.name for path in below.iterdir()} == others


@pytest.mark.parametrize("name", [".ctcedge-{pid}-1.tmp", ".ctcedge-1-1.tmp", RANDOM])
def test_opening_leaves_what_another_computer_or_container_may_be_writing(
    out: SidecarStore, name: str
) -> None:
    out.root.mkdir(parents=True)
    path = out.root / name.format(pid=os.getpid())
    path.write_bytes(b"half")
    with out.open():
        assert path.exists()
    old = time.time() - MAX_UNFINISHED_S - 60
    os.utime(path, (old, old))
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with out.open():
            assert path.exists()
    with out.open():
        assert not path.exists()


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError), SidecarStore(tmp_path, tmp_path / "file").open():
        pass


def test_many_held_sidecars_are_not_each_waited_for(
    out: SidecarStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    for number in range(5):
        crop = Crop(f"S/{number}_BF.png", "S", str(number), "BF")
        out.write(crop, typed(record(cell=str(number))))
        held.append(open(out.path(crop)))
        fcntl.flock(held[-1], fcntl.LOCK_EX)
    waited: list[bool] = []
    locked_file = module.locked_file

    def counted(*arguments: Any, patient: bool) -> Any:
        waited.append(patient)
        return locked_file(*arguments, patient=patient)

    monkeypatch.setattr(module, "_MAX_LOCK_WAIT_S", 0.02)
    monkeypatch.setattr(module, "locked_file", counted)
    for number in range(5):
        with pytest.raises(NotWritten, match="another program holds it"):
            out.write(Crop(f"S/{number}_BF.png", "S", str(number), "BF"), typed(record()))
    for file in held:
        file.close()
    assert waited == [True, False, False, False, False]
