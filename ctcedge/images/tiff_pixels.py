"""Pixels of a TIFF, decoded as its header states.

Values without compression and deflated ones are read here; LZW, PackBits and JPEG by OpenCV, from a
TIFF of the same strips or tiles with the tags that matter to them and no other.
"""

from __future__ import annotations

import os
import struct
from typing import Any, TypeAlias

from ctcedge.errors import BadImage
from ctcedge.images.orientation import UPRIGHT
from ctcedge.images.tiff import (
    BLACK_IS_ZERO,
    DEFLATED,
    JPEG,
    NO_COMPRESSION,
    TiffLayout,
    inflated_pieces,
)
from ctcedge.images.tiff_directory import Tag
from ctcedge.images.types import MAX_FRAME_PIXELS, MAX_PIXELS

os.environ.setdefault(
    "OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_FRAME_PIXELS)
)  # read at OpenCV's import

import cv2
import numpy as np
from numpy.typing import NDArray

_Lists: TypeAlias = dict[int, tuple[int, ...] | bytes]
_NUMBERS = {True: (3, "H"), False: (4, "I")}
"""Number and layout of the types SHORT and LONG."""
_SHORTS = {
    *(Tag.BITS, Tag.COMPRESSION, Tag.PHOTOMETRIC, Tag.SAMPLES, Tag.PREDICTOR),
    *(Tag.EXTRA_SAMPLES, Tag.YCBCR_SUBSAMPLING),
}


def tiff_pixels(data: bytes, layout: TiffLayout) -> NDArray[Any]:
    """Decode the pixels of a TIFF.

    Args:
        data: the whole file.
        layout: from `tiff.tiff_layout`.

    Returns:
        (height, width) or (height, width, samples), blue first, uint8 or uint16; values and rows
        as stored: neither inverted nor turned.

    Raises:
        BadImage: the pixel data are damaged.
    """
    if layout.compression == NO_COMPRESSION:
        pieces = [
            data[offset : offset + size]
            for offset, size in zip(layout.offsets, layout.sizes, strict=False)
        ]
        pixels = _unpacked(pieces, layout)
    elif layout.compression in DEFLATED:
        pixels = _unpacked(inflated_pieces(data, layout), layout)
    elif layout.header.bits in (8, 16):
        pixels = _by_opencv(data, layout)
    else:
        pixels = _packed_by_opencv(data, layout)
    return pixels


def _unpacked(pieces: list[bytes], layout: TiffLayout) -> NDArray[Any]:
    """Pixels of decompressed strips or tiles."""
    columns = layout.tile[0] if layout.tile else layout.width
    row_bytes = (columns * layout.pixel_bits + 7) // 8
    rows = np.frombuffer(b"".join(pieces), np.uint8).reshape(-1, row_bytes)
    values = _values(rows, columns, layout)
    if layout.has_differences:
        values = np.add.accumulate(values, axis=1, dtype=values.dtype)
    if layout.tile:
        values = _joined(values, layout, layout.tile)
    if layout.samples == 1:
        return values[..., 0]
    # Blue first, as OpenCV has it; opacity stays last.
    return values[..., [2, 1, 0, 3][: layout.samples]]


def _values(rows: NDArray[np.uint8], columns: int, layout: TiffLayout) -> NDArray[Any]:
    """(rows, columns, samples) of native byte order."""
    bits = layout.header.bits
    if bits == 8:
        return rows.reshape(len(rows), columns, layout.samples)
    if bits == 16:
        stored = rows.view(f"{layout.directory.order}u2")
        return stored.astype(np.uint16).reshape(len(rows), columns, layout.samples)
    # The first bit of a byte is its highest, whatever the order of the bytes.
    digits = np.unpackbits(rows, axis=1)[:, : columns * bits].reshape(len(rows), columns, bits)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
    return np.asarray((digits * weights).sum(axis=2, dtype=np.uint16))[..., None]


def _joined(values: NDArray[Any], layout: TiffLayout, tile: tuple[int, int]) -> NDArray[Any]:
    """Put tiles together that lie one below the other."""
    width, height = tile
    across, down = -(-layout.width // width), -(-layout.height // height)
    tiles = values.reshape(down, across, height, width, layout.samples)
    whole = tiles.swapaxes(1, 2).reshape(down * height, across * width, layout.samples)
    return whole[: layout.height, : layout.width]


def _packed_by_opencv(data: bytes, layout: TiffLayout) -> NDArray[Any]:
    """Pixels of 10 to 14 bits, whose bytes OpenCV decompresses as if they were pixels."""
    columns = layout.tile[0] if layout.tile else layout.width
    row_bytes = (columns * layout.pixel_bits + 7) // 8
    lines = sum(layout.sizes) // row_bytes
    if lines * row_bytes > MAX_PIXELS:
        raise BadImage("unsupported", f"too large: compressed TIFF of {layout.header.bits} bits")
    tags: _Lists = {Tag.ROWS_PER_STRIP: (layout.sizes[0] // row_bytes,)}
    rows = _opencv_pixels(data, layout, row_bytes, lines, tags, bits=8)
    return _unpacked([rows.tobytes()], layout)


def _by_opencv(data: bytes, layout: TiffLayout) -> NDArray[Any]:
    """Pixels of LZW, PackBits or JPEG, from the file itself where OpenCV would not turn them."""
    size = layout.width, layout.height
    if (
        layout.orientation == UPRIGHT
        and layout.samples == 1
        and layout.photometric == BLACK_IS_ZERO
        and layout.compression != JPEG
    ):
        return _by_opencv_alone(data, *size, layout.header.bits, 1)
    tags: _Lists = {Tag.PREDICTOR: (2,)} if layout.has_differences else {}
    if layout.tile:
        tags |= {Tag.TILE_WIDTH: (layout.tile[0],), Tag.TILE_HEIGHT: (layout.tile[1],)}
    else:
        rows = layout.directory.first(Tag.ROWS_PER_STRIP, layout.height)
        tags[Tag.ROWS_PER_STRIP] = (min(rows, layout.height),)
    return _opencv_pixels(data, layout, *size, tags, bits=layout.header.bits)


def _opencv_pixels(
    data: bytes, layout: TiffLayout, width: int, height: int, tags: _Lists, *, bits: int
) -> NDArray[Any]:
    """Decode the strips or tiles, under a directory with what matters to them alone."""
    samples = layout.samples if bits == layout.header.bits else 1
    photometric = BLACK_IS_ZERO if samples == 1 else layout.photometric
    tags = tags | {
        Tag.WIDTH: (width,),
        Tag.HEIGHT: (height,),
        Tag.BITS: (bits,) * samples,
        Tag.COMPRESSION: (layout.compression,),
        Tag.PHOTOMETRIC: (photometric,),
        Tag.SAMPLES: (samples,),
    }
    if samples == 4:
        tags[Tag.EXTRA_SAMPLES] = (2,)
    if layout.compression == JPEG:
        if subsampling := layout.directory.tags.get(Tag.YCBCR_SUBSAMPLING):
            tags[Tag.YCBCR_SUBSAMPLING] = subsampling
        if tables := layout.directory.texts.get(Tag.JPEG_TABLES):
            tags[Tag.JPEG_TABLES] = tables
    return _by_opencv_alone(_rewritten(data, layout, tags), width, height, bits, samples)


def _by_opencv_alone(data: bytes, width: int, height: int, bits: int, samples: int) -> NDArray[Any]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    shape = (height, width) if samples == 1 else (height, width, samples)
    dtype = np.uint8 if bits == 8 else np.uint16
    if pixels is None or pixels.shape != shape or pixels.dtype != dtype:
        raise BadImage("unreadable", "truncated or damaged TIFF")
    return pixels


def _rewritten(data: bytes, layout: TiffLayout, tags: _Lists) -> bytes:
    """A TIFF of the same strips or tiles and in the same byte order, its directory at its end."""
    order = layout.directory.order
    file = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    offsets = []
    for offset, count, _ in zip(layout.offsets, layout.counts, layout.sizes, strict=False):
        offsets.append(len(file))
        file += data[offset : offset + count]
    tiled = Tag.TILE_WIDTH in tags
    counts = layout.counts[: len(offsets)]
    tags = tags | {
        (Tag.TILE_OFFSETS if tiled else Tag.STRIP_OFFSETS): tuple(offsets),
        (Tag.TILE_COUNTS if tiled else Tag.STRIP_COUNTS): counts,
    }
    entries = struct.pack(f"{order}H", len(tags))
    for tag, values in sorted(tags.items()):
        kind, layout_of = (7, "B") if isinstance(values, bytes) else _NUMBERS[tag in _SHORTS]
        stored = struct.pack(f"{order}{len(values)}{layout_of}", *values)
        if len(stored) > 4:
            file += bytes(len(file) % 2)
            at = len(file)
            file += stored
            stored = struct.pack(f"{order}I", at)
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + stored.ljust(4, b"\0")
    file += bytes(len(file) % 2)
    file[4:8] = struct.pack(f"{order}I", len(file))
    return bytes(file + entries + bytes(4))
