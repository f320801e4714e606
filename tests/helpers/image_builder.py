"""Build PNG and TIFF files by hand, byte by byte."""

from __future__ import annotations

import struct
import zlib


def png_chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png(
    width: int,
    height: int,
    *,
    bits: int = 8,
    colour: int = 0,
    rows: bytes | None = None,
    before: bytes = b"",
) -> bytes:
    """A PNG put together by hand; `before` is put between header and pixels."""
    per_pixel = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if rows is None:
        rows = (b"\0" + b"\x80" * ((width * per_pixel * bits + 7) // 8)) * height
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + before
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def tiff(
    width: int = 16,
    height: int = 16,
    *,
    bits: int = 8,
    samples: int = 1,
    data: bytes | None = None,
    tags: dict[int, tuple[int, int]] | None = None,
    order: str = "<",
    next_page: int = 0,
) -> bytes:
    """An uncompressed TIFF put together by hand, its directory before its pixels.

    Args:
        width: pixels.
        height: pixels.
        bits: of a sample.
        samples: of a pixel.
        data: the pixels; None for mid-grey.
        tags: (type, value) by number, over or beside the usual ones; type 0 leaves a tag out.
        order: of the bytes, `<` or `>`.
        next_page: offset of a second directory.
    """
    if data is None:
        data = b"\x80" * (width * height * samples * bits // 8)
    all_tags = {
        256: (4, width),
        257: (4, height),
        258: (3, bits),
        259: (3, 1),
        262: (3, 1 if samples == 1 else 2),
        273: (4, 0),
        277: (3, samples),
        278: (4, height),
        279: (4, len(data)),
    } | (tags or {})
    kept = sorted((tag, kind, value) for tag, (kind, value) in all_tags.items() if kind)
    start = 8 + 2 + 12 * len(kept) + 4
    entries = b""
    for tag, kind, value in kept:
        stored = struct.pack(order + ("H2x" if kind == 3 else "I"), start if tag == 273 else value)
        entries += struct.pack(order + "HHI", tag, kind, 1) + stored
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    directory = struct.pack(order + "H", len(kept)) + entries + struct.pack(order + "I", next_page)
    return head + directory + data
