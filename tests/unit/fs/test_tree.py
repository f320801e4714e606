"""Files below a folder, with links in any place; with the kernel's call, and step by step."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctcedge.fs import tree
from ctcedge.fs.files import FileTooLargeError, NotRegularFileError
from ctcedge.fs.tree import FolderLostError, Tree, read_beneath, walk


@pytest.fixture(params=["openat2", "folder by folder"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "openat2":
        if tree._openat2() is None:
            pytest.skip("the kernel has no openat2, or does not permit it")
    else:
        monkeypatch.setattr(tree, "_openat2", lambda: None)
    yield request.param


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file at each depth, beside one with secrets."""
    below = tmp_path / "folder" / "a" / "b" / "c"
    below.mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "1").write_bytes(b"secret")
    for parent in (below, *below.parents[:3]):
        (parent / "1").write_bytes(parent.name.encode())
    return tmp_path / "folder"


def test_files_are_read_at_any_depth(folder: Path, way: str) -> None:
    with Tree(folder) as opened:
        for path, text in (("1", b"folder"), ("a/1", b"a"), ("a/b/1", b"b"), ("a/b/c/1", b"c")):
            assert opened.read(path, 10) == text
            assert read_beneath(folder, path, 10) == text
        with pytest.raises(FileTooLargeError) as caught:
            opened.read("1", 5)
        assert caught.value.size == 6
        for name in ("a", "a/b"):
            with pytest.raises(NotRegularFileError):
                opened.read(name, 10)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_a_link_on_the_way_is_never_followed(folder: Path, way: str, depth: int) -> None:
    path = folder.joinpath(*["a", "b", "c", "1"][: depth + 1])
    path.rename(folder.parent / "moved")
    path.symlink_to(folder.parent / "secret" if depth < 3 else folder.parent / "secret" / "1")
    for name in ("1", "b/1", "b/c/1", "1/b"):
        inside = os.path.relpath(path if depth == 3 else path / name, folder)
        with Tree(folder) as opened:
            with pytest.raises(OSError):
                opened.read(inside, 100)
            assert opened.is_gone(inside)


def test_a_folder_that_is_swapped_between_two_files_is_not_followed(folder: Path, way: str) -> None:
    with Tree(folder) as opened:
        assert opened.read("a/b/1", 10) == b"b"
        (folder / "a").rename(folder / "old")
        (folder / "a").symlink_to(folder.parent / "secret")
        assert opened.read("a/b/1", 10) == b"b"  # of the folder that was opened
        with pytest.raises(OSError):
            opened.read("a/1", 10)


def test_a_folder_swapped_all_the_time_never_gives_the_secret(folder: Path, way: str) -> None:
    (folder / "link").symlink_to(folder.parent / "secret")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (folder / "a").rename(folder / "aside")
            (folder / "link").rename(folder / "a")
            (folder / "a").rename(folder / "link")
            (folder / "aside").rename(folder / "a")

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        for _ in range(2000):
            try:
                seen.add(read_beneath(folder, "a/1", 100))
            except OSError:
                continue
    finally:
        stop.set()
        thread.join()
    assert b"secret" not in seen


def test_the_folder_itself_may_be_a_link_and_may_be_lost(folder: Path, way: str) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert read_beneath(link, "a/1", 10) == b"a"
    with Tree(folder.parent / "none") as opened:
        with pytest.raises(FolderLostError, match="No such file"):
            opened.read("1", 10)
        assert not opened.is_gone("1")
        assert opened.identity() is None


def test_descriptors_are_closed(folder: Path, way: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with Tree(folder) as opened:
            opened.read("a/b/1", 10)
            for path in ("a/none", "none/1", "a/b/c", "1/1"):
                with pytest.raises(OSError):
                    opened.read(path, 10)
        for listed in walk(folder):
            if listed.path == "a":
                break
    assert len(os.listdir("/proc/self/fd")) == before


def make_deep(folder: Path, depth: int) -> None:
    """Folders named d, one in the other."""
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


def test_a_walk_visits_all_without_links_at_any_depth(folder: Path, way: str) -> None:
    (folder / "link").symlink_to(folder.parent / "secret")
    make_deep(folder, 1500)
    try:
        seen = {listed.path: (set(listed.folders), set(listed.others)) for listed in walk(folder)}
    finally:
        subprocess.run(["rm", "-r", folder / "d"], check=True)  # deeper than pytest can remove
    assert seen[""] == ({"a", "d"}, {"1", "link"})
    assert seen["a/b"] == ({"c"}, {"1"})
    assert len(seen) == 1504


def test_what_cannot_be_walked_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = []
    list(walk(folder / "none", lambda path, error: failed.append((path, error.strerror))))
    listed = tree._names

    def names(descriptor: int) -> tuple[list[str], list[str]]:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("/b"):
            raise OSError(5, "Input/output error")
        return listed(descriptor)

    monkeypatch.setattr(tree, "_names", names)
    seen = [
        found.path for found in walk(folder, lambda path, error: failed.append((path, str(error))))
    ]
    assert seen == ["", "a"]
    assert failed == [("", "No such file or directory"), ("a/b", "[Errno 5] Input/output error")]
