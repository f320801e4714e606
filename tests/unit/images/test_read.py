from __future__ import annotations

import os
from pathlib import Path

import pytest

from ctcedge.errors import BadImage
from ctcedge.fs.tree import Tree
from ctcedge.images.read import read_file
from ctcedge.images.types import MAX_BYTES


def test_an_image_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "1_BF.png").write_bytes(b"123")
    with Tree(tmp_path) as tree:
        assert read_file(tree, "1_BF.png") == b"123"


def test_what_is_no_regular_file_counts_as_gone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "dangling", "folder", "fifo", "none", "file/below"):
        with pytest.raises(FileNotFoundError), Tree(tmp_path) as tree:
            read_file(tree, name)


def test_a_file_larger_than_any_image_is_unsupported(tmp_path: Path) -> None:
    with (tmp_path / "large.tif").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    too_large = pytest.raises(BadImage, match="too large: 41,943,041 bytes")
    with too_large as caught, Tree(tmp_path) as tree:
        read_file(tree, "large.tif")
    assert caught.value.status == "unsupported"
