from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from ctcedge.errors import BadImage
from ctcedge.images.header import read_header
from ctcedge.images.types import ImageHeader
from tests.helpers.drawn_cells import cell, encoded
from tests.helpers.image_builder import png, tiff


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(20, 30), ImageHeader("PNG", 20, 30, 8)),
        (png(20, 30, bits=16), ImageHeader("PNG", 20, 30, 16)),
        (png(20, 30, colour=2), ImageHeader("PNG", 20, 30, 8)),
        (tiff(20, 30), ImageHeader("TIFF", 20, 30, 8)),
        (tiff(20, 30, bits=16, order=">"), ImageHeader("TIFF", 20, 30, 16)),
        (tiff(20, 30, bits=12), ImageHeader("TIFF", 20, 30, 12)),
        (tiff(20, 30, samples=3), ImageHeader("TIFF", 20, 30, 8)),
        (encoded(cell(side=(30, 20)), ".tif"), ImageHeader("TIFF", 20, 30, 8)),
        (
            encoded(np.stack([cell(side=(30, 20), dtype=np.uint16)] * 3, -1), ".tif"),
            ImageHeader("TIFF", 20, 30, 16),
        ),
    ],
)
def test_headers(data: bytes, expected: ImageHeader) -> None:
    assert read_header(data) == expected


REFUSED = {
    "empty": (b"", "unreadable", "empty"),
    "text": (b"cell,label\n", "unreadable", "not a PNG or TIFF"),
    "zeros": (bytes(1000), "unreadable", "not a PNG or TIFF"),
    "JPEG": (encoded(cell(), ".jpg"), "unsupported", "JPEG"),
    "BMP": (encoded(cell(), ".bmp"), "unsupported", "BMP"),
    "GIF": (b"GIF89a", "unsupported", "GIF"),
}


@pytest.mark.parametrize(("data", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_by_name(data: bytes, status: str, words: str) -> None:
    with pytest.raises(BadImage, match=words) as caught:
        read_header(data)
    assert caught.value.status == status


@pytest.mark.parametrize(
    "data",
    [png(60_000, 60_000, rows=b""), tiff(60_000, 60_000, data=b"")],
    ids=["PNG", "TIFF"],
)
def test_a_claim_of_many_pixels_costs_no_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadImage):
            read_header(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_truncation_is_a_bad_image_or_a_header(suffix: str) -> None:
    data = encoded(cell(side=16), suffix)
    for length in range(len(data)):
        try:
            read_header(data[:length])
        except BadImage as error:
            assert error.status == "unreadable"


@pytest.mark.parametrize("data", [png(16, 16), tiff(), tiff(bits=16, order=">")])
def test_changed_bytes_raise_nothing_but_bad_image(data: bytes) -> None:
    random = np.random.default_rng(1)
    for _ in range(2000):
        changed = bytearray(data)
        for place in random.integers(4, min(len(data), 160), 3):
            changed[place] = random.integers(256)
        try:
            read_header(bytes(changed))
        except BadImage:
            pass
