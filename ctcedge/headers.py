"""What a PNG or TIFF file claims to be, read before any decoder sees it.

The limits are checked here, so that a file which claims 60,000 x 60,000 pixels costs nothing. What
OpenCV would misread without a word (pages after the first, 16-bit white-is-zero, separate colour
planes) is refused by name.

Sources: PNG specification (W3C, third edition); TIFF 6.0; BigTIFF as libtiff documents it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ctcedge.errors import BadImage

MAX_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 4096 * 4096
MIN_SIDE = 8

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_TIFF_MAGIC = {b"II*\0": "<", b"MM\0*": ">"}
_BIGTIFF_MAGIC = {b"II+\0": "<", b"MM\0+": ">"}
_OTHER_FORMATS = {
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WebP or another RIFF",
    b"\0\0\0\x0cjP": "JPEG 2000",
}


@dataclass(frozen=True, slots=True)
class ImageHeader:
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
    if data.startswith(_PNG_MAGIC):
        header = _png_header(data)
    elif data[:4] in _TIFF_MAGIC or data[:4] in _BIGTIFF_MAGIC:
        header = _tiff_header(data)
    else:
        _refuse_other_format(data)
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


def png_without_metadata(data: bytes) -> bytes:
    """Return the PNG with nothing but the chunks that carry pixels.

    Colour profiles, text and times do not belong to the measurement, and libpng writes to standard
    error about odd ones.

    Raises:
        BadImage: a chunk is damaged or the file ends early.
    """
    keep = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
    return _PNG_MAGIC + b"".join(raw for kind, raw in _png_chunks(data) if kind in keep)


def _refuse_other_format(data: bytes) -> None:
    for magic, name in _OTHER_FORMATS.items():
        if data.startswith(magic):
            raise BadImage("unsupported", f"a {name} file; only PNG and TIFF are accepted")
    raise BadImage("unreadable", "not a PNG or TIFF image")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, whole chunk) up to and with IEND, checking lengths and CRCs."""
    position = len(_PNG_MAGIC)
    while True:
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


def _png_header(data: bytes) -> ImageHeader:
    chunks = _png_chunks(data)
    kind, raw = next(chunks)
    if kind != b"IHDR" or len(raw) != 25:
        raise BadImage("unreadable", "damaged PNG: it does not begin with its header")
    width, height, bits, colour = struct.unpack_from(">IIBB", raw, 8)
    for kind, _ in chunks:
        if kind == b"acTL":
            raise BadImage("unsupported", "animated PNG: export one image a file")
        if kind == b"IDAT":
            break
    palette = colour == 3
    if bits not in (8, 16) and not palette:
        raise BadImage("unsupported", f"{bits}-bit PNG; 8 to 16 bits are accepted")
    return ImageHeader("PNG", width, height, 8 if palette else bits)


_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 256, 257, 258, 262
_SAMPLES, _PLANAR, _SAMPLE_FORMAT = 277, 284, 339
_TYPE_FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}


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
    if photometric not in (1, 2, 6):
        raise BadImage(
            "unsupported", f"TIFF of colour kind {photometric}; grey and RGB are accepted"
        )
    if samples > 1 and tags.get(_PLANAR, (1,))[0] != 1:
        raise BadImage(
            "unsupported", "TIFF with separate colour planes: export interleaved or grey"
        )
    return ImageHeader("TIFF", tags[_WIDTH][0], tags[_HEIGHT][0], min(bits))


def _first_directory(data: bytes) -> tuple[dict[int, tuple[int, ...]], bool]:
    """Return the first directory's whole-number tags, and whether another directory follows.

    Raises:
        struct.error: an offset leads out of the file.
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
        if kind in _TYPE_FORMATS and 0 < count <= 16:
            layout = f"{order}{count}{_TYPE_FORMATS[kind]}"
            if struct.calcsize(layout) > offset_size:
                (value_at,) = struct.unpack_from(order + offset_format, data, value_at)
            tags[tag] = struct.unpack_from(layout, data, value_at)
        position += entry_size
    (following,) = struct.unpack_from(order + offset_format, data, position)
    return tags, following != 0
