"""PNG files: header, checksums and inflated pixels.

Source: PNG specification (W3C, third edition).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from isal import isal_zlib

from ctcedge.errors import BadImage
from ctcedge.images.orientation import UPRIGHT, swaps_sides
from ctcedge.images.scale import png_um_per_px
from ctcedge.images.tiff_directory import Tag, first_directory, is_tiff
from ctcedge.images.types import MAX_PIXELS, ImageHeader, check_limits

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_MAX_CHUNKS = 65_536
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_ANIMATED = "animated PNG: export one image a file"
_KEPT = (b"PLTE", b"tRNS", b"eXIf", b"pHYs")


def png_header(data: bytes) -> ImageHeader:
    """Read and check the header of a PNG file; see `header.read_header`."""
    chunks = _png_chunks(data)
    start = _png_start(chunks)
    extra = dict(start.extra)
    for kind, raw in chunks:
        _note_late_chunk(kind, raw, extra)
    return _upright_header(start.header, _orientation(extra))


class InflatedPng(NamedTuple):
    """A PNG with inflated pixels.

    Attributes:
        header: of the file.
        is_plain_grey: whether it is grey without transparency, not interlaced and not turned.
        orientation: how the stored pixels are turned to be shown.
        rows: filtered rows, each after the number of its filter.
        head: chunks that a PNG of the same pixels begins with.
    """

    header: ImageHeader
    is_plain_grey: bool
    orientation: int
    rows: bytes
    head: tuple[bytes, ...]

    def stored(self) -> bytes:
        """Return a PNG of the pixels alone, uncompressed, for libpng to decode.

        libpng prints warnings about odd metadata and pixel data that do not fit the header; it
        prints none about this. Inflating is most of the work of decoding and is done only once, so
        that the checks cost no time.
        """
        pixels, end = _png_chunk(b"IDAT", zlib.compress(self.rows, 0)), _png_chunk(b"IEND", b"")
        return b"".join((*self.head, *pixels, *end))


def inflated_png(data: bytes, max_pixels: int = MAX_PIXELS) -> InflatedPng:
    """Inflate the pixels of a PNG.

    Args:
        data: the whole file.
        max_pixels: width times height of the largest image.

    Raises:
        BadImage: what `read_header` refuses; or a chunk or the pixel data are damaged.
    """
    chunks = _png_chunks(data)
    start = _png_start(chunks, max_pixels)
    extra = dict(start.extra)
    pixels = [start.pixels]
    for kind, raw in chunks:
        if kind == b"IDAT":
            pixels.append(raw[8:-4])
        else:
            _note_late_chunk(kind, raw, extra)
    width, height, bits, colour, _, _, interlaced = start.fields
    head: list[bytes] = [PNG_MAGIC, start.raw]
    if colour == 3:
        head += _png_chunk(b"PLTE", _whole_palette(extra.get(b"PLTE", b""), bits))
    transparent = b"tRNS" in extra and colour in (0, 2, 3)
    if transparent:
        head += _png_chunk(b"tRNS", _transparency(extra[b"tRNS"], bits, colour))
    pixel_bits = bits * _PNG_SAMPLES[colour]
    rows = _png_rows(b"".join(pixels), _row_lengths(width, height, pixel_bits, interlaced))
    orientation = _orientation(extra)
    turned = orientation != UPRIGHT
    is_plain_grey = colour == 0 and not (interlaced or transparent or turned)
    header = _upright_header(start.header, orientation)
    return InflatedPng(header, is_plain_grey, orientation, rows, tuple(head))


def _note_late_chunk(kind: bytes, raw: bytes, extra: dict[bytes, bytes]) -> None:
    """Keep what a chunk after the first pixels states about the image."""
    if kind in _ANIMATION:
        raise BadImage("unsupported", _ANIMATED)
    if kind == b"eXIf":
        extra.setdefault(kind, raw[8:-4])


def _orientation(extra: Mapping[bytes, bytes]) -> int:
    """The orientation that Exif data state; upright where they state none, or are damaged."""
    exif = extra.get(b"eXIf")
    if exif is None or not is_tiff(exif):
        return UPRIGHT
    try:
        return first_directory(exif).first(Tag.ORIENTATION, UPRIGHT)
    except (struct.error, OverflowError):
        return UPRIGHT


def _upright_header(header: ImageHeader, orientation: int) -> ImageHeader:
    if swaps_sides(orientation):
        return header._replace(width=header.height, height=header.width)
    return header


_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""First column, first row, column step and row step of each pass of an interlaced PNG."""


def _row_lengths(
    width: int, height: int, pixel_bits: int, interlaced: int
) -> list[tuple[int, int]]:
    """Return, for each pass, the bytes of a row with its filter byte, and the number of rows."""
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = [
        (len(range(left, width, column_step)), len(range(top, height, row_step)))
        for left, top, column_step, row_step in passes
    ]
    return [(1 + (columns * pixel_bits + 7) // 8, rows) for columns, rows in sizes if columns]


def _png_rows(compressed: bytes, passes: list[tuple[int, int]]) -> bytes:
    """Inflate the rows of all passes, of the lengths that `_row_lengths` returns."""
    expected = sum(length * rows for length, rows in passes)
    inflate = isal_zlib.decompressobj()
    try:
        rows = inflate.decompress(compressed, expected + 1)
    except isal_zlib.error:  # type: ignore[misc]  # which isal's stubs take for no type
        raise BadImage("unreadable", "damaged PNG: its pixels do not decompress") from None
    if len(rows) != expected or not inflate.eof:
        raise BadImage("unreadable", "damaged PNG: its pixels do not fill its size")
    start = 0
    for length, number in passes:
        end = start + length * number
        if max(rows[start:end:length], default=0) > 4:
            raise BadImage("unreadable", "damaged PNG: a row has an unknown filter")
        start = end
    return rows


def _whole_palette(palette: bytes, bits: int) -> bytes:
    """Return the palette, padded with black to the range of the pixels."""
    if not palette or len(palette) % 3 or len(palette) > 3 * 2**bits:
        raise BadImage("unreadable", "damaged PNG: it lacks a valid palette")
    return palette.ljust(3 * 2**bits, b"\0")


def _transparency(content: bytes, bits: int, colour: int) -> bytes:
    if colour == 3:
        fits = 0 < len(content) <= 2**bits
    else:
        fits = len(content) == 2 * _PNG_SAMPLES[colour] and not (bits == 8 and any(content[::2]))
    if not fits:
        raise BadImage("unreadable", "damaged PNG: its transparency does not fit its colours")
    return content


def _png_chunk(kind: bytes, content: bytes) -> tuple[bytes, bytes, bytes]:
    crc = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I4s", len(content), kind), content, struct.pack(">I", crc)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, whole chunk) up to and with IEND, checking lengths and CRCs."""
    position = len(PNG_MAGIC)
    for _ in range(_MAX_CHUNKS):
        if position + 12 > len(data):
            raise BadImage("unreadable", "truncated PNG")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise BadImage("unreadable", "truncated PNG")
        (crc,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != crc:
            raise BadImage("unreadable", "damaged PNG: a checksum is wrong")
        yield kind, data[position:end]
        if kind == b"IEND":
            return
        position = end
    raise BadImage("unsupported", f"PNG of more than {_MAX_CHUNKS:,} chunks")


class _PngStart(NamedTuple):
    """A PNG up to its first IDAT chunk, inclusive.

    Attributes:
        header: checked.
        raw: the whole IHDR chunk.
        fields: of that chunk.
        extra: contents of PLTE, tRNS, eXIf and pHYs chunks.
        pixels: content of the first IDAT chunk; empty where there is none.
    """

    header: ImageHeader
    raw: bytes
    fields: tuple[int, ...]
    extra: Mapping[bytes, bytes]
    pixels: bytes


def _png_start(chunks: Iterator[tuple[bytes, bytes]], max_pixels: int = MAX_PIXELS) -> _PngStart:
    """Read and check the chunks before the pixels; the iterator continues after the first IDAT."""
    kind, header = next(chunks)
    if kind != b"IHDR" or len(header) != 25:
        raise BadImage("unreadable", "damaged PNG: it does not begin with its header")
    fields = struct.unpack_from(">IIBBBBB", header, 8)
    width, height, bits, colour, compression, filters, interlaced = fields
    if colour not in _PNG_SAMPLES or compression or filters or interlaced > 1:
        raise BadImage("unreadable", "damaged PNG: its header states what no PNG has")
    extra: dict[bytes, bytes] = {}
    pixels = b""
    for kind, raw in chunks:
        if kind in _ANIMATION:
            raise BadImage("unsupported", _ANIMATED)
        if kind == b"IDAT":
            pixels = raw[8:-4]
            break
        if kind in _KEPT:
            extra.setdefault(kind, raw[8:-4])
    palette = colour == 3
    if bits not in ((1, 2, 4, 8) if palette else (8, 16)):
        raise BadImage("unsupported", f"{bits}-bit PNG; 8 to 16 bits are accepted")
    um_per_px = png_um_per_px(extra.get(b"pHYs"))
    checked = check_limits(
        ImageHeader("PNG", width, height, 8 if palette else bits, um_per_px), max_pixels
    )
    return _PngStart(checked, header, fields, extra, pixels)
