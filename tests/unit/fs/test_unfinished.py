"""Files that get their name when they are complete."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctcedge.fs import unfinished
from ctcedge.fs.files import atomic_write, atomic_writer
from ctcedge.fs.unfinished import (
    MAX_UNFINISHED_S,
    TEMPORARY,
    ReplacedError,
    UnfinishedFile,
    make_folders,
    open_folder,
    remove_abandoned,
    sync_folder,
    try_in,
)


@pytest.fixture(params=["unnamed", "named", "no /proc", "no hard links"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the file system can do."""

    def no_unnamed_files() -> None:
        monkeypatch.setattr(unfinished, "_UNNAMED", os.O_RDWR | os.O_DIRECTORY)

    link = os.link

    def no_proc(source: str, target: str, **arguments: object) -> None:
        if source.startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        link(source, target, **arguments)  # type: ignore[arg-type]

    def no_links(*arguments: object, **others: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    if request.param == "named":
        no_unnamed_files()
    elif request.param == "no /proc":
        monkeypatch.setattr(os, "link", no_proc)
    elif request.param == "no hard links":
        no_unnamed_files()
        monkeypatch.setattr(os, "link", no_links)
    return str(request.param)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    descriptor = open_folder(tmp_path)
    yield descriptor
    os.close(descriptor)


def written(directory: int, data: bytes = b"new") -> UnfinishedFile:
    file = UnfinishedFile(directory, 0o640)
    file.write(data)
    return file


def test_a_file_is_created_whole_and_replaces_nothing(
    tmp_path: Path, directory: int, kind: str
) -> None:
    file = written(directory)
    file.create("file")
    file.close()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    for name, target in (("file", None), ("link", "nowhere"), ("loop", "loop")):
        if target is not None:
            (tmp_path / name).symlink_to(target)
        second = written(directory, b"second")
        with pytest.raises(FileExistsError):
            second.create(name)
        second.close()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link", "loop"}


def test_a_file_replaces_a_file_or_a_link_itself(tmp_path: Path, directory: int, kind: str) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("precious")
    (tmp_path / "folder link").symlink_to(tmp_path)
    for name in ("file", "link", "folder link", "nothing"):
        file = written(directory)
        file.replace(name)
        file.close()
        assert (tmp_path / name).read_bytes() == b"new"
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 5


def test_what_did_not_get_a_name_is_removed(tmp_path: Path, directory: int, kind: str) -> None:
    written(directory).close()
    (tmp_path / "folder").mkdir()
    file = written(directory)
    with pytest.raises(IsADirectoryError):
        file.replace("folder")
    file.close()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_temporary_names_cannot_be_guessed_and_are_locked(
    tmp_path: Path, directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "_UNNAMED", os.O_RDWR | os.O_DIRECTORY)
    monkeypatch.setattr(os, "getpid", lambda: 1)  # as in two containers
    files = [UnfinishedFile(directory) for _ in range(50)]
    paths = list(tmp_path.iterdir())
    assert len(paths) == 50
    assert all(TEMPORARY.fullmatch(path.name) for path in paths)
    with paths[0].open("rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for file in files:
        file.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("operation", ["create", "replace"])
def test_a_file_that_another_writer_puts_under_the_temporary_name_is_noticed(
    tmp_path: Path, directory: int, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    monkeypatch.setattr(unfinished, "_UNNAMED", os.O_RDWR | os.O_DIRECTORY)
    file = written(directory)
    (temporary,) = tmp_path.iterdir()
    temporary.unlink()
    temporary.write_bytes(b"bad")
    with pytest.raises(ReplacedError) as caught:
        getattr(file, operation)("file")
    assert caught.value.strerror == "another program replaced the file while it was written"
    file.close()


def test_a_file_that_is_removed_before_it_gets_its_name_is_an_error(
    tmp_path: Path, directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "_UNNAMED", os.O_RDWR | os.O_DIRECTORY)
    file = written(directory)
    next(tmp_path.iterdir()).unlink()
    with pytest.raises(FileNotFoundError):
        file.replace("file")
    file.close()


@pytest.mark.parametrize("same", [True, False])
def test_where_inodes_do_not_last_the_content_decides(
    tmp_path: Path, directory: int, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    monkeypatch.setattr(unfinished, "_BLOCK", 2)
    file = written(directory, b"content")
    file.replace("file")
    (tmp_path / "other").write_bytes(b"content" if same else b"contenT")
    (tmp_path / "other").rename(tmp_path / "file")
    if same:
        file._check("file")
    else:
        with pytest.raises(ReplacedError):
            file._check("file")
    file.close()


def test_what_a_network_file_system_reports_on_closing_is_raised_before_the_file_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def full(file: UnfinishedFile) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(UnfinishedFile, "_flush", full)
    with pytest.raises(OSError) as caught:
        atomic_write(tmp_path / "file", b"new")
    assert (caught.value.errno, caught.value.filename) == (errno.EDQUOT, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    replace, sync = UnfinishedFile.replace, os.fsync

    def fsync(descriptor: int) -> None:
        steps.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(
        UnfinishedFile, "replace", lambda *words: (steps.append("name"), replace(*words))
    )
    with atomic_writer(tmp_path / "file") as file:
        file.write(b"new")
    assert steps == [False, "name", True]


def test_a_folder_that_cannot_be_synced_is_an_error_unless_nothing_can(
    tmp_path: Path, directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (errno.EINVAL, errno.EROFS, errno.EIO, errno.ENOSPC):

        def fail(descriptor: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fail)
        if number in (errno.EIO, errno.ENOSPC):
            with pytest.raises(OSError):
                sync_folder(directory)
        else:
            sync_folder(directory)


def test_folders_that_are_made_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda d: synced.append(os.readlink(f"/proc/self/fd/{d}")))
    make_folders(tmp_path / "a" / "b")
    assert sorted(synced) == [str(tmp_path), str(tmp_path / "a")]
    make_folders(tmp_path / "a" / "b")
    assert len(synced) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_must_not_be_listed_can_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o300)
    try:
        atomic_write(tmp_path / "file", b"new")
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_is_tried_without_a_trace(
    tmp_path: Path, directory: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, failures = os.unlink, [errno.EIO]

    def failing(*arguments: Any, **others: Any) -> None:
        if failures:
            raise OSError(failures.pop(), "fails once")
        unlink(*arguments, **others)

    monkeypatch.setattr(os, "unlink", failing)
    assert abs(try_in(directory) - time.time()) < 60
    assert failures == ([errno.EIO] if kind in ("unnamed", "no /proc") else [])
    assert list(tmp_path.iterdir()) == []


def test_only_old_files_that_nobody_uses_are_removed(tmp_path: Path, directory: int) -> None:
    now = try_in(directory)
    assert abs(now - time.time()) < 60
    names = [f".ctcedge-{number:032x}.tmp" for number in range(4)]
    fresh, old, linked, folder = (tmp_path / name for name in names)
    fresh.touch()
    old.touch()
    linked.symlink_to("nowhere")
    folder.mkdir()
    os.utime(old, (now - MAX_UNFINISHED_S - 1,) * 2)
    remove_abandoned(directory, [*names, "no such file"], now)
    assert {path.name for path in tmp_path.iterdir()} == {fresh.name, linked.name, folder.name}


@pytest.mark.parametrize("durable", [True, False])
def test_a_durable_write_removes_what_crashes_left_in_the_folder(
    tmp_path: Path, durable: bool
) -> None:
    left = tmp_path / f".ctcedge-{7:032x}.tmp"
    left.touch()
    os.utime(left, (1e9, 1e9))
    atomic_write(tmp_path / "file", b"new", durable=durable)
    assert left.exists() != durable
