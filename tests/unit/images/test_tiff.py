from __future__ import annotations

import struct
import zlib

import pytest

from ctcedge.errors import BadImage
from ctcedge.images.decode import decode
from ctcedge.images.header import read_header
from tests.helpers.image_builder import tiff

_BIGTIFF_ENTRY = struct.pack("<HHQQ", 256, 4, 16, 2**64 - 2)

DEFLATED = zlib.compress(b"\x80" * 256)

REFUSED = {
    "TIFF magic alone": (b"II*\0", "unreadable", "truncated"),
    "TIFF of 60,000 x 60,000": (tiff(60_000, 60_000, data=b""), "unsupported", "too large"),
    "TIFF of 1 bit": (tiff(bits=1), "unsupported", "1 bits"),
    "TIFF of 9 bits": (tiff(bits=9), "unsupported", "9 bits"),
    "TIFF of 32 bits": (tiff(bits=32), "unsupported", "32 bits"),
    "TIFF of floats": (tiff(bits=32, tags={339: (3, 3)}), "unsupported", "floating"),
    "TIFF of signed values": (tiff(bits=16, tags={339: (3, 2)}), "unsupported", "signed"),
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
def test_a_tiff_that_is_refused_by_name(data: bytes, status: str, words: str) -> None:
    with pytest.raises(BadImage, match=words) as caught:
        read_header(data)
    assert caught.value.status == status


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
