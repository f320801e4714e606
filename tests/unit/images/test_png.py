from __future__ import annotations

import struct
import tracemalloc
import zlib

import pytest

from ctcedge.errors import BadImage
from ctcedge.images.header import read_header
from ctcedge.images.png import inflated_png
from tests.helpers.image_builder import png, png_chunk

REFUSED = {
    "PNG magic alone": (png(16, 16)[:8], "unreadable", "truncated"),
    "PNG cut in its header": (png(16, 16)[:20], "unreadable", "truncated"),
    "PNG checksum": (png(16, 16).replace(b"IHDR\0", b"IHDR\1"), "unreadable", "checksum"),
    "PNG without header": (
        png(16, 16)[:8] + png_chunk(b"IDAT", b"x"),
        "unreadable",
        "begin with its header",
    ),
    "PNG of 60,000 x 60,000": (png(60_000, 60_000, rows=b""), "unsupported", "too large"),
    "PNG of no width": (png(0, 16, rows=b""), "unsupported", "too small"),
    "PNG of 7 px": (png(7, 16), "unsupported", "too small"),
    "PNG of 1 bit": (png(16, 16, bits=1), "unsupported", "1-bit"),
    "animated PNG": (
        png(16, 16, before=png_chunk(b"acTL", struct.pack(">II", 2, 0))),
        "unsupported",
        "animated",
    ),
    "PNG of an unknown colour kind": (
        png(16, 16).replace(
            png(16, 16)[8:33], png_chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 5, 0, 0, 0))
        ),
        "unreadable",
        "states what no PNG has",
    ),
}


@pytest.mark.parametrize(("data", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_a_png_that_is_refused_by_name(data: bytes, status: str, words: str) -> None:
    with pytest.raises(BadImage, match=words) as caught:
        read_header(data)
    assert caught.value.status == status


def test_metadata_is_dropped_and_pixels_are_kept() -> None:
    text = png_chunk(b"tEXt", b"Comment\0x") + png_chunk(b"iCCP", b"odd")
    inflated = inflated_png(png(16, 16, before=text) + b"trailing")
    assert inflated.header == read_header(png(16, 16))
    assert inflated.stored() == inflated_png(png(16, 16)).stored()


def test_a_png_that_ends_early_is_unreadable() -> None:
    with pytest.raises(BadImage, match="truncated"):
        inflated_png(png(16, 16)[:-1])


def test_rows_are_kept_when_a_png_is_repacked() -> None:
    rows = b"".join(b"\4" + bytes(range(row, row + 16)) for row in range(16))
    repacked = inflated_png(png(16, 16, rows=rows)).stored()
    (length,) = struct.unpack_from(">I", repacked, 33)
    assert zlib.decompress(repacked[41 : 41 + length]) == rows


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png(16, 16, rows=bytes(17 * 16 - 1)), "do not fill its size"),
        (png(16, 16, rows=bytes(17 * 16 + 1)), "do not fill its size"),
        (png(16, 16, rows=bytes(17 * 15) + b"\5" + bytes(16)), "unknown filter"),
        (png(16, 16).replace(b"IDAT", b"IDAx"), "checksum"),
        (png(16, 16)[:33] + png_chunk(b"IEND", b""), "do not fill its size"),
        (png(16, 16)[:33] + png_chunk(b"IDAT", b"xx") + png_chunk(b"IEND", b""), "decompress"),
        (png(16, 16, colour=3), "palette"),
        (png(16, 16, colour=3, before=png_chunk(b"PLTE", bytes(4))), "palette"),
        (png(16, 16, before=png_chunk(b"tRNS", bytes(3))), "transparency"),
        (png(16, 16, colour=2, before=png_chunk(b"tRNS", bytes(2))), "transparency"),
        (png(16, 16, before=png_chunk(b"tRNS", b"\1\0")), "transparency"),
    ],
)
def test_a_png_with_sound_checksums_and_unsound_pixels(data: bytes, words: str) -> None:
    with pytest.raises(BadImage, match=words) as caught:
        inflated_png(data)
    assert caught.value.status == "unreadable"


def test_a_png_of_millions_of_chunks_is_not_walked_through() -> None:
    with pytest.raises(BadImage, match="chunks"):
        inflated_png(png(16, 16, before=png_chunk(b"abCD", b"") * 70_000))


def test_pixels_that_inflate_beyond_their_size_are_not_inflated() -> None:
    data = png(16, 16, rows=bytes(100_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(BadImage):
            inflated_png(data)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
