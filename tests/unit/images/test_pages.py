"""Pages of TIFF files by their names, and damaged chains of pages."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from ctcedge.errors import BadImage
from ctcedge.images.pages import has_pages, is_plain, named_pages
from tests.helpers import stacks
from tests.helpers.tiff_writer import write_tiff

IMAGE = np.full((16, 16), 7, np.uint8)
TWO = stacks.pages([IMAGE, IMAGE], stacks.ome(["BF", "DAPI"]))


def test_places_of_channels_follow_the_metadata() -> None:
    (text,) = stacks.ome(["BF", "DAPI"]).values()
    data = b'<TiffData FirstC="0" IFD="1"/><TiffData FirstC="1" IFD="0"/></Pixels>'
    swapped = stacks.pages([IMAGE, IMAGE], {270: text.replace(b"</Pixels>", data)})
    assert [page.name for page in named_pages(swapped)] == ["DAPI", "BF"]


def test_a_chain_that_is_a_loop_is_damaged() -> None:
    (start,) = struct.unpack_from("<I", TWO, 4)
    loop = TWO[:-4] + struct.pack("<I", start)
    assert not has_pages(loop)
    with pytest.raises(BadImage, match="damaged"):
        named_pages(loop)


@pytest.mark.parametrize("cut", range(8, len(TWO), 97))
def test_a_file_that_is_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(BadImage):
        named_pages(TWO[:cut])


def test_a_look_at_a_few_bytes_tells_plain_images(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for order in "<>":
        path.write_bytes(write_tiff(IMAGE, order=order))
        assert is_plain(str(path))
        path.write_bytes(write_tiff(IMAGE, order=order, next_page=8))
        assert not is_plain(str(path))
    for data in (TWO, b"", b"II*\0", stacks.planes([IMAGE] * 2, stacks.imagej(["BF", "PE"]))):
        path.write_bytes(data)
        assert not is_plain(str(path))
    assert not is_plain(str(tmp_path / "gone.tif"))


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"\x89PNG", b"II*"])
def test_what_is_no_tiff_has_no_pages(data: bytes) -> None:
    assert not has_pages(data)
