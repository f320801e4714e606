"""What a PNG or TIFF file claims to be, read before any decoder sees it.

The limits are checked here, so that a file which claims 60,000 x 60,000 pixels costs nothing. What
OpenCV would misread without a word (pages after the first, 16-bit white-is-zero, separate colour
planes, 8-bit strips that end early) is refused by name.

PNG is covered by checksums. TIFF has none, except within deflated strips: bytes that changed and
still make an image cannot be noticed. `decode` says what is noticed of a TIFF that is still being
written.

Sources: PNG specification (W3C, third edition); TIFF 6.0; BigTIFF as libtiff documents it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from isal import isal_zlib

from ctcedge.errors import BadImage

MAX_BYTES = 40 * 1024 * 1024
MAX_PIXELS = 2048 * 2048
MIN_SIDE = 8
_MAX_CHUNKS = 65_536

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_TIFF_MAGIC = {b"II*\0": "<", b"MM\0*": ">"}
_BIGTIFF_MAGIC = {b"II+\0": "<", b"MM\0+": ">"}
_OTHER_FORMATS = {
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WebP or another RIFF",
    b"\0\0\0\x0cjP": "JPEG 2000",
}


class ImageHeader(NamedTuple):
    """What the file's header states.

    Attributes:
        format: by magic bytes, whatever the name ends in.
        width: pixels.
        height: pixels.
        bits: bits a sample as stored, 8 to 16.
    """

    format: Literal["PNG", "TIFF"]
    width: int
    height: int
    bits: int


def read_header(data: bytes) -> ImageHeader:
    """Read and check the header of a PNG or TIFF file.

    Args:
        data: the whole file.

    Raises:
        BadImage: not a PNG or TIFF, damaged, or of a kind that is not supported.
    """
    if not data:
        raise BadImage("unreadable", "empty file")
    if data.startswith(PNG_MAGIC):
        header = _png_start(_png_chunks(data)).header
    elif data[:4] in _TIFF_MAGIC or data[:4] in _BIGTIFF_MAGIC:
        header = _tiff_header(data)
    else:
        _refuse_other_format(data)
    return header


class InflatedPng(NamedTuple):
    """A PNG whose pixels are checked and uncompressed.

    Attributes:
        header: what is told of it.
        grey: whether it is plain grey, its rows one after the other.
        rows: each begins with the number of its filter.
        head: what a PNG of the same pixels begins with.
    """

    header: ImageHeader
    grey: bool
    rows: bytes
    head: tuple[bytes, ...]

    def stored(self) -> bytes:
        """A PNG with nothing but the pixels, stored as they are.

        libpng writes to standard error about odd metadata and about pixel data that do not fit the
        header; it finds nothing to say about this. Inflating is most of the work of decoding, and
        libpng then need not do it: checking costs no time.
        """
        pixels, end = _png_chunk(b"IDAT", zlib.compress(self.rows, 0)), _png_chunk(b"IEND", b"")
        return b"".join((*self.head, *pixels, *end))


def inflated_png(data: bytes) -> InflatedPng:
    """Inflate the pixels of a PNG.

    Args:
        data: the whole file.

    Raises:
        BadImage: what `read_header` refuses; or a chunk or the pixel data are damaged.
    """
    rest = _png_chunks(data)
    start = _png_start(rest)
    compressed = start.pixels + b"".join(raw[8:-4] for kind, raw in rest if kind == b"IDAT")
    width, height, bits, colour, _, _, interlaced = start.fields
    head: list[bytes] = [PNG_MAGIC, start.raw]
    if colour == 3:
        head += _png_chunk(b"PLTE", _whole_palette(start.extra.get(b"PLTE", b""), bits))
    transparent = b"tRNS" in start.extra and colour in (0, 2, 3)
    if transparent:
        head += _png_chunk(b"tRNS", _transparency(start.extra[b"tRNS"], bits, colour))
    pixel_bits = bits * _PNG_SAMPLES[colour]
    rows = _png_rows(compressed, _row_lengths(width, height, pixel_bits, interlaced))
    grey = colour == 0 and not interlaced and not transparent
    return InflatedPng(start.header, grey, rows, tuple(head))


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
"""Of an interlaced PNG: first column, first row, columns apart, rows apart."""


def _row_lengths(
    width: int, height: int, pixel_bits: int, interlaced: int
) -> list[tuple[int, int]]:
    """(bytes of a row with its filter byte, number of rows) of each pass."""
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = [
        (len(range(left, width, across)), len(range(top, height, down)))
        for left, top, across, down in passes
    ]
    return [(1 + (columns * pixel_bits + 7) // 8, rows) for columns, rows in sizes if columns]


def _png_rows(compressed: bytes, passes: list[tuple[int, int]]) -> bytes:
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
    """The palette, made black where it is shorter than the pixels' range."""
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


def _checked(header: ImageHeader) -> ImageHeader:
    if header.width * header.height > MAX_PIXELS:
        raise BadImage(
            "unsupported",
            f"too large: {header.width} x {header.height} pixels (at most {MAX_PIXELS:,} in all)",
        )
    if min(header.width, header.height) < MIN_SIDE:
        raise BadImage(
            "unsupported",
            f"too small: {header.width} x {header.height} pixels (at least {MIN_SIDE} a side)",
        )
    return header


def _refuse_other_format(data: bytes) -> None:
    for magic, name in _OTHER_FORMATS.items():
        if data.startswith(magic):
            raise BadImage("unsupported", f"a {name} file; only PNG and TIFF are accepted")
    raise BadImage("unreadable", "not a PNG or TIFF image")


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
    """A PNG up to and with its first chunk of pixels.

    Attributes:
        header: what is told of it.
        raw: its IHDR chunk, whole.
        fields: what that holds.
        extra: contents of PLTE and tRNS chunks.
        pixels: content of the first IDAT chunk; nothing where there is none.
    """

    header: ImageHeader
    raw: bytes
    fields: tuple[int, ...]
    extra: Mapping[bytes, bytes]
    pixels: bytes


def _png_start(chunks: Iterator[tuple[bytes, bytes]]) -> _PngStart:
    """Read and check what comes before the pixels; what remains of the chunks comes after it."""
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
        if kind == b"acTL":
            raise BadImage("unsupported", "animated PNG: export one image a file")
        if kind == b"IDAT":
            pixels = raw[8:-4]
            break
        if kind in (b"PLTE", b"tRNS"):
            extra.setdefault(kind, raw[8:-4])
    palette = colour == 3
    if bits not in ((1, 2, 4, 8) if palette else (8, 16)):
        raise BadImage("unsupported", f"{bits}-bit PNG; 8 to 16 bits are accepted")
    told = _checked(ImageHeader("PNG", width, height, 8 if palette else bits))
    return _PngStart(told, header, fields, extra, pixels)


_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_COUNTS = 273, 277, 278, 279
_PLANAR, _SAMPLE_FORMAT = 284, 339
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_LISTS = {_STRIP_OFFSETS, _STRIP_COUNTS, _TILE_OFFSETS, _TILE_COUNTS}
_USED = _LISTS | {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _ROWS_PER_STRIP),
    *(_PLANAR, _SAMPLE_FORMAT, _TILE_WIDTH, _TILE_HEIGHT),
}
_TYPE_FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_UNCOMPRESSED, _DEFLATED = {1}, {8, 32946}
_YCBCR = 6
_ZERO_TAIL = bytes(8)
"""No encoder ends a strip so: LZW and JPEG end in a marker, deflate in a checksum, and PackBits
writes equal bytes as one run."""

_Tags = Mapping[int, tuple[int, ...]]


def _tiff_header(data: bytes) -> ImageHeader:
    try:
        tags, another_page = _first_directory(data)
    except (struct.error, OverflowError):  # the latter for BigTIFF offsets of 2^63 and more
        raise BadImage("unreadable", "truncated or damaged TIFF") from None
    if another_page:
        raise BadImage("unsupported", "TIFF with several pages: export one image a file")
    if not {_WIDTH, _HEIGHT} <= tags.keys():
        raise BadImage("unreadable", "damaged TIFF: it states no size")
    samples = tags.get(_SAMPLES, (1,))[0]
    bits = set(tags.get(_BITS, (1,)))
    photometric = tags.get(_PHOTOMETRIC, (1,))[0]
    if set(tags.get(_SAMPLE_FORMAT, (1,))) != {1}:
        raise BadImage(
            "unsupported", "TIFF of signed or floating-point values; 8 to 16 bits are accepted"
        )
    if len(bits) != 1 or not bits <= {8, 10, 12, 14, 16}:
        stated = ", ".join(map(str, sorted(bits)))
        raise BadImage(
            "unsupported", f"TIFF of {stated} bits; 8, 10, 12, 14 and 16 bits are accepted"
        )
    if samples not in (1, 3, 4):
        raise BadImage("unsupported", f"TIFF of {samples} channels; grey and RGB are accepted")
    if photometric == 0:
        raise BadImage("unsupported", "TIFF with white as zero: export with black as zero")
    if photometric not in (1, 2, _YCBCR):
        raise BadImage(
            "unsupported", f"TIFF of colour kind {photometric}; grey and RGB are accepted"
        )
    if samples > 1 and tags.get(_PLANAR, (1,))[0] != 1:
        raise BadImage(
            "unsupported", "TIFF with separate colour planes: export interleaved or grey"
        )
    header = _checked(ImageHeader("TIFF", tags[_WIDTH][0], tags[_HEIGHT][0], min(bits)))
    _check_pixel_data(data, tags, header, samples * header.bits)
    return header


def _check_pixel_data(data: bytes, tags: _Tags, header: ImageHeader, pixel_bits: int) -> None:
    """See that every strip or tile lies in the file and, as far as that shows, is whole."""
    sizes, offsets, counts = _pieces(tags, header, pixel_bits)
    if len(offsets) < len(sizes):
        raise BadImage("unreadable", "damaged TIFF: it does not say where its pixels are")
    compression = tags.get(_COMPRESSION, (1,))[0]
    if compression in _UNCOMPRESSED:
        # Subsampled colours take less room; what a directory states about it is often wrong.
        subsampled = tags.get(_PHOTOMETRIC, (1,))[0] == _YCBCR
        counts = (1,) * len(sizes) if subsampled else sizes
    if len(counts) < len(sizes):
        raise BadImage("unreadable", "damaged TIFF: it does not say where its pixels end")
    if compression not in _UNCOMPRESSED and sum(counts) > len(data):
        raise BadImage("unreadable", "looks half-written: TIFF whose pixels are not all there")
    largest = max(sizes)
    for offset, count, size in zip(offsets, counts, sizes, strict=False):
        end = offset + count
        if offset == 0 or count == 0 or end > len(data):
            raise BadImage("unreadable", "looks half-written: TIFF whose pixels are not all there")
        if compression in _UNCOMPRESSED:
            continue
        if data.endswith(_ZERO_TAIL, offset, end):
            raise BadImage("unreadable", "looks half-written: TIFF whose pixels end in zeros")
        if compression in _DEFLATED:
            _check_deflated(data[offset:end], size, largest)


def _pieces(
    tags: _Tags, header: ImageHeader, pixel_bits: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Bytes once decompressed, offset and stored bytes of every strip or tile."""
    if _TILE_WIDTH in tags or _TILE_HEIGHT in tags:
        width, height = tags.get(_TILE_WIDTH, (0,))[0], tags.get(_TILE_HEIGHT, (0,))[0]
        if not 0 < width * height <= MAX_PIXELS:
            raise BadImage("unreadable", f"damaged TIFF: it has tiles of {width} x {height} pixels")
        number = -(-header.width // width) * -(-header.height // height)
        if number * width * height > 4 * MAX_PIXELS:
            raise BadImage("unreadable", "damaged TIFF: its tiles are far larger than its pixels")
        sizes = ((width * pixel_bits + 7) // 8 * height,) * number
        return sizes, tags.get(_TILE_OFFSETS, ()), tags.get(_TILE_COUNTS, ())
    row = (header.width * pixel_bits + 7) // 8
    rows = min(tags.get(_ROWS_PER_STRIP, (header.height,))[0], header.height)
    if rows == 0:
        raise BadImage("unreadable", "damaged TIFF: it has strips of no rows")
    whole, rest = divmod(header.height, rows)
    sizes = (rows * row,) * whole + ((rest * row,) if rest else ())
    return sizes, tags.get(_STRIP_OFFSETS, ()), tags.get(_STRIP_COUNTS, ())


def _check_deflated(piece: bytes, least: int, most: int) -> None:
    """Inflate to the end, where the checksum is that libtiff does not look at.

    By zlib, as libtiff does: what another inflater lets pass, libtiff may not.

    Args:
        piece: a strip or tile.
        least: bytes that it must hold.
        most: bytes that it may hold: a last strip may be padded to the height of the others.
    """
    inflate = zlib.decompressobj()
    try:
        found = len(inflate.decompress(piece, most + 1))
    except zlib.error:
        found = 0
    if not (least <= found <= most and inflate.eof):
        raise BadImage("unreadable", "damaged TIFF: its pixels do not decompress")


def _first_directory(data: bytes) -> tuple[_Tags, bool]:
    """Return the first directory's tags that are used here, and whether another one follows.

    Raises:
        struct.error: an offset leads out of the file, or a used tag is not what a TIFF may hold.
    """
    big = data[:4] in _BIGTIFF_MAGIC
    order = (_BIGTIFF_MAGIC if big else _TIFF_MAGIC)[data[:4]]
    offset_format, count_format, entry_size = ("Q", "Q", 20) if big else ("I", "H", 12)
    offset_size = struct.calcsize(offset_format)
    (start,) = struct.unpack_from(order + offset_format, data, 8 if big else 4)
    (entries,) = struct.unpack_from(order + count_format, data, start)
    position = start + struct.calcsize(count_format)
    if position + entries * entry_size > len(data):
        raise struct.error
    tags: dict[int, tuple[int, ...]] = {}
    for _ in range(entries):
        tag, kind = struct.unpack_from(order + "HH", data, position)
        (count,) = struct.unpack_from(order + offset_format, data, position + 4)
        value_at = position + 4 + offset_size
        position += entry_size
        if tag not in _USED:
            continue
        most = MAX_PIXELS // MIN_SIDE if tag in _LISTS else 16
        if kind not in _TYPE_FORMATS or not 0 < count <= most or tag in tags:
            raise struct.error
        layout = f"{order}{count}{_TYPE_FORMATS[kind]}"
        if struct.calcsize(layout) > offset_size:
            (value_at,) = struct.unpack_from(order + offset_format, data, value_at)
        tags[tag] = struct.unpack_from(layout, data, value_at)
    (following,) = struct.unpack_from(order + offset_format, data, position)
    return tags, following != 0
