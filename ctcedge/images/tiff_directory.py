"""Tags of the first directory of a TIFF or BigTIFF file.

Sources: TIFF 6.0; BigTIFF as libtiff documents it.
"""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple

from ctcedge.images.types import MAX_PIXELS, MIN_SIDE

TIFF_MAGIC = {b"II*\0": "<", b"MM\0*": ">"}
BIGTIFF_MAGIC = {b"II+\0": "<", b"MM\0+": ">"}
_MAX_TEXT = 2**20


class Tag:
    """Tags that are read; of all others it is enough that they exist."""

    NEW_SUBFILE_TYPE = 254
    SUBFILE_TYPE = 255
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    DESCRIPTION = 270
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_COUNTS = 279
    X_RESOLUTION = 282
    Y_RESOLUTION = 283
    PLANAR = 284
    RESOLUTION_UNIT = 296
    PREDICTOR = 317
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_COUNTS = 325
    SUB_DIRECTORIES = 330
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    YCBCR_SUBSAMPLING = 530
    IMAGE_DEPTH = 32997
    TILE_DEPTH = 32998
    METAMORPH_PLANES = 33629
    PAGE_NAME = 285
    IMAGEJ_COUNTS = 50838
    IMAGEJ_DATA = 50839


_LISTS = {Tag.STRIP_OFFSETS, Tag.STRIP_COUNTS, Tag.TILE_OFFSETS, Tag.TILE_COUNTS}
_PER_SAMPLE = {Tag.BITS, Tag.EXTRA_SAMPLES, Tag.SAMPLE_FORMAT}
_TEXTS = {Tag.DESCRIPTION, Tag.JPEG_TABLES}
_PAGE_TEXTS = {Tag.PAGE_NAME, Tag.IMAGEJ_COUNTS, Tag.IMAGEJ_DATA}
"""Read of files of many pages alone."""
_RATIONALS = {Tag.X_RESOLUTION, Tag.Y_RESOLUTION}
_COUNTED = {Tag.SUB_DIRECTORIES, Tag.METAMORPH_PLANES}
"""Tags of which only the number of values is of interest."""
_READ = {number for name, number in vars(Tag).items() if name.isupper()} - _PAGE_TEXTS
_OTHERS = _TEXTS | _RATIONALS | _COUNTED
_INTEGERS = _READ - _OTHERS
_TYPE_FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_SHORT, _RATIONAL = 3, 5
_TEXT_TYPES = (1, 2, 7)
_LONG = 4
_BYTE_ORDERS: dict[str, Literal["little", "big"]] = {"<": "little", ">": "big"}
_LAYOUTS = {
    magic: (
        order,
        big,
        struct.Struct(order + ("Q" if big else "I")),
        struct.Struct(order + ("Q" if big else "H")),
        struct.Struct(order + ("HHQ8s" if big else "HHI4s")),
    )
    for magics, big in ((TIFF_MAGIC, False), (BIGTIFF_MAGIC, True))
    for magic, order in magics.items()
}
"""Order of the bytes, whether it is a BigTIFF, and layouts of an offset, the number of entries and
an entry, by the first bytes of a file."""

Tags = dict[int, tuple[int, ...]]


class Directory(NamedTuple):
    """The first directory of a file.

    Attributes:
        order: of the bytes of a number, `<` or `>`.
        tags: values by tag; the numerator and denominator of a rational number.
        counts: number of values, of tags whose values are not read.
        texts: bytes by tag; at most the first MiB.
        next_page: where the next directory is; 0 where there is none.
    """

    order: str
    tags: Tags
    counts: dict[int, int]
    texts: dict[int, bytes]
    next_page: int

    @property
    def another_page(self) -> bool:
        """Whether another directory follows."""
        return self.next_page != 0

    def first(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        return self.tags.get(tag, (default,))[0]


def is_tiff(data: bytes) -> bool:
    """Whether a file begins as a TIFF or BigTIFF does."""
    return data[:4] in _LAYOUTS


def first_directory(data: bytes) -> Directory:
    """Read the first directory of a file.

    Raises:
        struct.error: an offset leads out of the file, or a tag is not what a TIFF may hold.
        OverflowError: the same, of offsets of 2^63 and more.
    """
    _, big, offset, _, _ = _LAYOUTS[data[:4]]
    (start,) = offset.unpack_from(data, 8 if big else 4)
    return _directory_at(data, start)


def directories(data: bytes, limit: int) -> list[Directory]:
    """Read all directories of a file, with the texts that name pages.

    Args:
        data: the whole file.
        limit: largest number of directories.

    Raises:
        struct.error: as of `first_directory`; it is no TIFF; there are more, or they form a loop.
        OverflowError: as of `first_directory`.
    """
    if data[:4] not in _LAYOUTS:  # for instance of a file that is not filled yet
        raise struct.error
    _, big, offset, _, _ = _LAYOUTS[data[:4]]
    (start,) = offset.unpack_from(data, 8 if big else 4)
    found: list[Directory] = []
    seen: set[int] = set()
    while start:
        if start in seen or len(found) == limit:
            raise struct.error
        seen.add(start)
        found.append(_directory_at(data, start, names=True))
        start = found[-1].next_page
    return found


def _directory_at(data: bytes, start: int, *, names: bool = False) -> Directory:
    order, _, offset, number, entry = _LAYOUTS[data[:4]]
    (entries,) = number.unpack_from(data, start)
    position = start + number.size
    end = position + entries * entry.size
    if end > len(data):
        raise struct.error
    (following,) = offset.unpack_from(data, end)
    tags: Tags = {}
    found = Directory(order, tags, {}, {}, following)
    byte_order = _BYTE_ORDERS[order]
    for tag, kind, count, stored in entry.iter_unpack(data[position:end]):
        if tag in _INTEGERS:
            if tag in tags:
                raise struct.error
            if kind == _SHORT and count == 1:
                tags[tag] = (int.from_bytes(stored[:2], byte_order),)
            else:
                tags[tag] = _integers(data, order, tag, kind, count, stored)
        elif tag in _OTHERS:
            _add_other(found, data, tag, kind, count, stored)
        elif names and tag in _PAGE_TEXTS:
            long = kind == _LONG
            _add_other(found, data, tag, 1 if long else kind, 4 * count if long else count, stored)
    return found


def _integers(
    data: bytes, order: str, tag: int, kind: int, count: int, stored: bytes
) -> tuple[int, ...]:
    max_count = MAX_PIXELS // MIN_SIDE if tag in _LISTS else 2**16 if tag in _PER_SAMPLE else 16
    if kind not in _TYPE_FORMATS or not 0 < count <= max_count:
        raise struct.error
    layout = f"{order}{count}{_TYPE_FORMATS[kind]}"
    if struct.calcsize(layout) <= len(stored):
        return struct.unpack_from(layout, stored)
    return struct.unpack_from(layout, data, _offset(order, stored))


def _offset(order: str, stored: bytes) -> int:
    return int.from_bytes(stored, _BYTE_ORDERS[order])


def _add_other(
    found: Directory, data: bytes, tag: int, kind: int, count: int, stored: bytes
) -> None:
    """Add a number of values, a text or a rational number; one that is damaged is left out."""
    start = _offset(found.order, stored)
    if tag in _COUNTED:
        found.counts[tag] = count
    elif tag in _RATIONALS:
        if kind == _RATIONAL and count == 1:
            if len(stored) == 8:
                found.tags[tag] = struct.unpack(f"{found.order}2I", stored)
            elif start + 8 <= len(data):
                found.tags[tag] = struct.unpack_from(f"{found.order}2I", data, start)
    elif kind in _TEXT_TYPES:
        text = stored[:count] if count <= len(stored) else data[start : start + count]
        found.texts[tag] = text[:_MAX_TEXT]
