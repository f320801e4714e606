from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from ctcedge.errors import BadImage
from ctcedge.images.decode import decode
from ctcedge.images.header import ImageHeader, inflated_png, read_header
from tests.helpers.support import cell, encoded, png, png_chunk, tiff


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


_BIGTIFF_ENTRY = struct.pack("<HHQQ", 256, 4, 16, 2**64 - 2)

DEFLATED = zlib.compress(b"\x80" * 256)

REFUSED = {
    "empty": (b"", "unreadable", "empty"),
    "text": (b"cell,label\n", "unreadable", "not a PNG or TIFF"),
    "zeros": (bytes(1000), "unreadable", "not a PNG or TIFF"),
    "JPEG": (encoded(cell(), ".jpg"), "unsupported", "JPEG"),
    "BMP": (encoded(cell(), ".bmp"), "unsupported", "BMP"),
    "GIF": (b"GIF89a", "unsupported", "GIF"),
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
    "TIFF magic alone": (b"II*\0", "unreadable", "truncated"),
    "TIFF of 60,000 x 60,000": (tiff(60_000, 60_000, data=b""), "unsupported", "too large"),
    "TIFF of 1 bit": (tiff(bits=1), "unsupported", "1 bits"),
    "TIFF of 9 bits": (tiff(bits=9), "unsupported", "9 bits"),
    "TIFF of 32 bits": (tiff(bits=32), "unsupported", "32 bits"),
    "TIFF of floats": (tiff(bits=32, tags={339: (3, 3)}), "unsupported", "floating"),
    "TIFF of signed values": (tiff(bits=16, tags={339: (3, 2)}), "unsupported", "signed"),
    "TIFF white is zero": (tiff(tags={262: (3, 0)}), "unsupported", "white as zero"),
    "TIFF palette": (tiff(tags={262: (3, 3)}), "unsupported", "colour kind 3"),
    "TIFF of two channels": (tiff(samples=2), "unsupported", "2 channels"),
    "TIFF of separate planes": (tiff(samples=3, tags={284: (3, 2)}), "unsupported", "planes"),
    "TIFF of several pages": (tiff(next_page=8), "unsupported", "several pages"),
    "TIFF without size": (tiff(tags={256: (0, 0)}), "unreadable", "no size"),
    "TIFF whose width has an unknown type": (tiff(tags={256: (8, 16)}), "unreadable", "damaged"),
    "TIFF without strips": (tiff(tags={273: (0, 0)}), "unreadable", "where its pixels are"),
    "TIFF of too few strips": (tiff(tags={278: (3, 8)}), "unreadable", "where its pixels are"),
    "TIFF of strips without rows": (tiff(tags={278: (3, 0)}), "unreadable", "no rows"),
    "TIFF that ends early": (tiff()[:-1], "unreadable", "half-written"),
    "deflated TIFF without lengths": (
        tiff(tags={259: (3, 8), 279: (0, 0)}),
        "unreadable",
        "where its pixels end",
    ),
    "deflated TIFF that ends early": (
        tiff(data=DEFLATED, tags={259: (3, 8)})[:-1],
        "unreadable",
        "half-written",
    ),
    "deflated TIFF with a zero tail": (
        tiff(data=DEFLATED[:10] + bytes(10), tags={259: (3, 8)}),
        "unreadable",
        "half-written",
    ),
    "deflated TIFF with a wrong checksum": (
        tiff(data=DEFLATED[:-1] + b"\2", tags={259: (3, 8)}),
        "unreadable",
        "do not decompress",
    ),
    "deflated TIFF of too few rows": (
        tiff(data=zlib.compress(b"\x80" * 255), tags={259: (3, 8)}),
        "unreadable",
        "do not decompress",
    ),
    "deflated TIFF of too many rows": (
        tiff(data=zlib.compress(b"\x80" * 257), tags={259: (3, 8)}),
        "unreadable",
        "do not decompress",
    ),
    "deflated TIFF of another window": (
        tiff(data=b"\x88\x1c" + DEFLATED[2:], tags={259: (3, 8)}),
        "unreadable",
        "do not decompress",
    ),
    "TIFF of huge tiles": (
        tiff(tags={322: (4, 2**30), 323: (4, 2**30)}),
        "unreadable",
        "tiles of",
    ),
    "TIFF of tiles far larger than its pixels": (
        tiff(tags={322: (4, 1), 323: (4, 2**21)}),
        "unreadable",
        "far larger",
    ),
    "BigTIFF offset of 2^64": (
        b"II+\0" + struct.pack("<HHQ", 8, 0, 2**64 - 1),
        "unreadable",
        "truncated",
    ),
    "BigTIFF value beyond 2^63": (
        b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 1) + _BIGTIFF_ENTRY + bytes(8),
        "unreadable",
        "truncated",
    ),
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


def of_strips(rows: int, offsets: list[int], counts: list[int]) -> bytes:
    """A deflated TIFF of 16 x 16 pixels in strips, up to where its pixels may begin, at 250."""
    number = len(offsets)
    entries = b"".join(
        struct.pack("<HHII", tag, 4, count, value)
        for tag, count, value in (
            *((256, 1, 16), (257, 1, 16), (258, 1, 8), (259, 1, 8), (262, 1, 1)),
            *((273, number, 110), (278, 1, rows), (279, number, 110 + 4 * number)),
        )
    )
    lists = struct.pack(f"<{2 * number}I", *offsets, *counts)
    start = struct.pack("<4sIH", b"II*\0", 8, 8) + entries + bytes(4) + lists
    return start.ljust(250, b"\0")


def test_strips_that_overlap_are_refused() -> None:
    data = of_strips(1, [250] * 16, [20] * 16)
    with pytest.raises(BadImage, match="half-written"):
        read_header(data + zlib.compress(bytes(16)).ljust(20, b"\1"))


def test_a_last_strip_may_be_padded() -> None:
    strips = [zlib.compress(bytes([level]) * 160) for level in (100, 200)]
    lengths = [len(strip) for strip in strips]
    data = of_strips(10, [250, 250 + lengths[0]], lengths) + b"".join(strips)
    pixels = decode(data).pixels
    assert (pixels[:10] == 100).all() and (pixels[10:] == 200).all()
