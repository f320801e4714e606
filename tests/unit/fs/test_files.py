from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from ctcedge.fs.files import (
    FileTooLargeError,
    NotRegularFileError,
    atomic_write,
    atomic_writer,
    file_signature,
    read_limited,
)


def test_a_file_is_read_whole_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for size in (0, 1, 9, 10):
        path.write_bytes(b"x" * size)
        assert read_limited(path, 10) == b"x" * size
    path.write_bytes(b"x" * 11)
    with pytest.raises(FileTooLargeError) as caught:
        read_limited(str(path), 10)
    assert caught.value.strerror == "larger than 10 bytes"


def test_a_file_that_grows_while_it_is_read_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    read = os.read

    def grow(descriptor: int, size: int) -> bytes:
        with path.open("ab") as file:
            file.write(b"y")
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", grow)
    with pytest.raises(FileTooLargeError):
        read_limited(path, 10)


def test_a_read_in_pieces_is_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    read = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, size: read(descriptor, min(size, 7)))
    assert read_limited(path, 100) == bytes(range(100))
    with pytest.raises(FileTooLargeError):
        read_limited(path, 99)


def test_what_is_no_regular_file_is_never_read_and_blocks_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(NotRegularFileError) as caught:
            read_limited(path, 10)
        assert caught.value.strerror == "not a regular file"


def test_a_link_is_followed_only_where_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError) as caught:
        read_limited(tmp_path / "link", 10)
    assert caught.value.errno == errno.ELOOP
    assert read_limited(tmp_path / "link", 10, follow=True) == b"1"
    with pytest.raises(FileNotFoundError):
        read_limited(tmp_path / "none", 10)


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    path = tmp_path / "file"
    path.write_bytes(b"old")
    atomic_write(path, b"new", durable=durable)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    assert len(synced) == 2 * durable  # the file, then its folder


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_writer(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_everyone_may_read_it_where_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        for name, readable in (("own", False), ("all", True)):
            atomic_write(tmp_path / name, b"x", world_readable=readable)
            mode = stat.S_IMODE((tmp_path / name).stat().st_mode)
            assert mode == (0o644 if readable else 0o600)
    finally:
        os.umask(before)


def test_the_signature_of_what_is_no_plain_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"123")
    status = path.stat()
    expected = (3, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    assert file_signature(str(path)) == expected
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", "", "none"):
        assert file_signature(str(tmp_path / name)) is None
