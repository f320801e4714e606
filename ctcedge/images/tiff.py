"""TIFF files: header, and whether the pixel data are complete as far as that can be checked.

TIFF has no checksums, except within deflated strips: bytes that changed and still make an image
cannot be noticed. `decode.decode` lists what is noticed of a TIFF that is still being written.

Sources: TIFF 6.0; BigTIFF as libtiff documents it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from ctcedge.errors import BadImage
from ctcedge.images.types import MAX_PIXELS, MIN_SIDE, ImageHeader, check_limits

_TIFF_MAGIC = {b"II*\0": "<", b"MM\0*": ">"}
_BIGTIFF_MAGIC = {b"II+\0": "<", b"MM\0+": ">"}
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
"""End of a strip that is not written yet. No encoder ends one with zeros: LZW and JPEG end in a
marker, deflate in a checksum, and PackBits writes equal bytes as one run."""

_Tags = Mapping[int, tuple[int, ...]]


def is_tiff(data: bytes) -> bool:
    """Whether a file begins as a TIFF or BigTIFF does."""
    return data[:4] in _TIFF_MAGIC or data[:4] in _BIGTIFF_MAGIC


def tiff_header(data: bytes) -> ImageHeader:
    """Read and check the header of a TIFF file; see `header.read_header`."""
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
    header = check_limits(ImageHeader("TIFF", tags[_WIDTH][0], tags[_HEIGHT][0], min(bits)))
    _check_pixel_data(data, tags, header, samples * header.bits)
    return header


def _check_pixel_data(data: bytes, tags: _Tags, header: ImageHeader, pixel_bits: int) -> None:
    """Check that every strip or tile is in the file and, as far as can be checked, complete."""
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
    whole, last_rows = divmod(header.height, rows)
    sizes = (rows * row,) * whole + ((last_rows * row,) if last_rows else ())
    return sizes, tags.get(_STRIP_OFFSETS, ()), tags.get(_STRIP_COUNTS, ())


def _check_deflated(piece: bytes, min_bytes: int, max_bytes: int) -> None:
    """Inflate a strip or tile to the end, where the checksum is that libtiff ignores.

    By zlib, as libtiff does: another inflater may accept what libtiff refuses.

    Args:
        piece: the strip or tile.
        min_bytes: that it must hold.
        max_bytes: that it may hold: a last strip may be padded to the height of the others.
    """
    inflate = zlib.decompressobj()
    try:
        size = len(inflate.decompress(piece, max_bytes + 1))
    except zlib.error:
        size = 0
    if not (min_bytes <= size <= max_bytes and inflate.eof):
        raise BadImage("unreadable", "damaged TIFF: its pixels do not decompress")


def _first_directory(data: bytes) -> tuple[_Tags, bool]:
    """Return the tags of the first directory that are used here, and whether another one follows.

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
        max_count = MAX_PIXELS // MIN_SIDE if tag in _LISTS else 16
        if kind not in _TYPE_FORMATS or not 0 < count <= max_count or tag in tags:
            raise struct.error
        layout = f"{order}{count}{_TYPE_FORMATS[kind]}"
        if struct.calcsize(layout) > offset_size:
            (value_at,) = struct.unpack_from(order + offset_format, data, value_at)
        tags[tag] = struct.unpack_from(layout, data, value_at)
    (following,) = struct.unpack_from(order + offset_format, data, position)
    return tags, following != 0
