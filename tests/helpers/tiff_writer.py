"""Write one image as TIFF in many ways: byte order, BigTIFF, tiles, strips, compression, bits."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

TagValues: TypeAlias = tuple[int, ...] | bytes
"""Numbers, or the bytes of a text."""

_SHORT, _LONG, _RATIONAL, _TEXT, _LONG8 = 3, 4, 5, 2, 16
_RATIONALS = (282, 283)
_LONGS = (254, 256, 257, 273, 278, 279, 322, 323, 324, 325, 330, 32997, 32998, 33629)
_LAYOUTS = {_SHORT: "H", _LONG: "I", _RATIONAL: "I", _TEXT: "B", _LONG8: "Q"}
_SIZES = {_SHORT: 2, _LONG: 4, _RATIONAL: 8, _TEXT: 1, _LONG8: 8}


def write_tiff(
    pixels: NDArray[np.unsignedinteger],
    *,
    bits: int | None = None,
    order: str = "<",
    big: bool = False,
    compression: int = 1,
    tile: tuple[int, int] | None = None,
    rows: int | None = None,
    differences: bool = False,
    tags: dict[int, TagValues | None] | None = None,
    next_page: int = 0,
) -> bytes:
    """A TIFF of the pixels.

    Args:
        pixels: (height, width) or (height, width, samples), uint8 or uint16.
        bits: of a sample; None for the array's. 10, 12 and 14 bits are packed.
        order: of the bytes, `<` or `>`.
        big: BigTIFF.
        compression: 1, 5 (LZW), 8, 32946 (deflate) or 32773 (PackBits).
        tile: width and height; None for strips.
        rows: of a strip; None for one strip.
        differences: whether rows are stored as differences (predictor 2).
        tags: over and beside the usual ones; None leaves a tag out.
        next_page: offset of a second directory.
    """
    values = pixels if pixels.ndim == 3 else pixels[..., None]
    height, width, samples = values.shape
    bits = bits or 8 * values.itemsize
    if tile:
        pieces = list(_tiles(values, tile))
    else:
        step = rows or height
        pieces = [values[top : top + step] for top in range(0, height, step)]
    stored = [_compressed(_bytes(piece, bits, order, differences), compression) for piece in pieces]
    head = 16 if big else 8
    offsets = [head + sum(map(len, stored[:number])) for number in range(len(stored))]
    counts = [len(piece) for piece in stored]
    everything: dict[int, TagValues | None] = {
        256: (width,),
        257: (height,),
        258: (bits,) * samples,
        259: (compression,),
        262: (1 if samples == 1 else 2,),
        277: (samples,),
    }
    if tile:
        everything |= {322: (tile[0],), 323: (tile[1],), 324: tuple(offsets), 325: tuple(counts)}
    else:
        everything |= {273: tuple(offsets), 278: (rows or height,), 279: tuple(counts)}
    if differences:
        everything[317] = (2,)
    everything |= tags or {}
    kept = {tag: value for tag, value in sorted(everything.items()) if value is not None}
    return _file(b"".join(stored), kept, order, big, next_page)


def packed_bits(data: bytes) -> bytes:
    """PackBits: runs of equal bytes, and literal ones."""
    out, position = bytearray(), 0
    while position < len(data):
        run = 1
        while run < 128 and data[position : position + run + 1] == data[position : position + 1] * (
            run + 1
        ):
            run += 1
        if run > 1:
            out += bytes([257 - run, data[position]])
            position += run
        else:
            literal = data[position : position + 5]
            out += bytes([len(literal) - 1]) + literal
            position += len(literal)
    return bytes(out)


def lzw(data: bytes) -> bytes:
    """LZW without a table: codes of nine bits, which are cleared before they grow."""
    codes = []
    for start in range(0, len(data), 250):
        codes += [256, *data[start : start + 250]]
    text = "".join(f"{code:09b}" for code in (*codes, 257))
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def _compressed(data: bytes, compression: int) -> bytes:
    if compression in (8, 32946):
        return zlib.compress(data)
    if compression == 32773:
        return packed_bits(data)
    return lzw(data) if compression == 5 else data


def _tiles(values: NDArray[np.unsignedinteger], tile: tuple[int, int]) -> Iterator[np.ndarray]:
    width, height = tile
    for top in range(0, values.shape[0], height):
        for left in range(0, values.shape[1], width):
            part = values[top : top + height, left : left + width]
            missing = height - part.shape[0], width - part.shape[1]
            yield np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")


def _bytes(values: np.ndarray, bits: int, order: str, differences: bool) -> bytes:
    if differences:
        values = np.diff(values, axis=1, prepend=np.zeros_like(values[:, :1]))
    if bits == 8:
        return values.astype(np.uint8).tobytes()
    if bits == 16:
        return values.astype(f"{order}u2").tobytes()
    digits = (values.reshape(len(values), -1)[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(digits.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


def _file(
    pixels: bytes, tags: dict[int, TagValues], order: str, big: bool, next_page: int
) -> bytes:
    version, room, count, offset = (43, 8, "Q", "Q") if big else (42, 4, "H", "I")
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", version)
    head += struct.pack(order + "HH", 8, 0) if big else b""
    body = head + bytes(room) + pixels
    entries = struct.pack(order + count, len(tags))
    for tag, values in tags.items():
        kind = _kind(tag, values, big)
        stored = (
            values
            if isinstance(values, bytes)
            else struct.pack(f"{order}{len(values)}{_LAYOUTS[kind]}", *values)
        )
        number = len(stored) // _SIZES[kind]
        if len(stored) > room:
            body += bytes(len(body) % 2)
            body, stored = body + stored, struct.pack(order + offset, len(body))
        entries += struct.pack(f"{order}HH{offset}", tag, kind, number) + stored.ljust(room, b"\0")
    start = struct.pack(order + offset, len(body))
    return (
        body[: len(head)]
        + start
        + body[len(head) + room :]
        + entries
        + struct.pack(order + offset, next_page)
    )


def _kind(tag: int, values: TagValues, big: bool) -> int:
    if isinstance(values, bytes):
        return _TEXT
    if tag in _RATIONALS:
        return _RATIONAL
    if tag in _LONGS:
        return _LONG8 if big else _LONG
    return _SHORT
