"""PNG crops that carry where they were cut from.

A crop that is on the disk gets the modification time of the file it was cut from: a later run sees
by it, without reading the file, that nothing changed. One that a power cut left without that time
is compared with what is cut now, and replaced where it differs.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ctcedge.errors import OutputError
from ctcedge.fs.files import atomic_write, read_limited
from ctcedge.images.decode import GreyImage
from ctcedge.images.types import MAX_BYTES

Box = tuple[int, int, int, int]
"""Left, top, width and height in pixels; the first pixel of a page is 0, 0."""

_KEYWORD = b"ctcedge-origin\0"
_HEAD = 33  # bytes of a PNG up to the end of its first chunk


class Origin(NamedTuple):
    """Where a crop was cut from.

    Attributes:
        file: path relative to the searched folder.
        sha256: of the whole file.
        page: counted from 1; None where the file is a single image.
        box: part of the page; None for all of it.
        asked: the same as a table asked for it, which may go beyond the page.
        bytes: size of the file.
        um_per_px: as a table stated it for this cell, um; None where it did not.
    """

    file: str
    sha256: str
    page: int | None
    box: Box | None
    asked: Box | None
    bytes: int
    um_per_px: float | None = None


def crop_png(pixels: GreyImage, origin: Origin, um_per_px: float | None) -> bytes:
    """Return a PNG of grey pixels, which are kept bit by bit, with its origin.

    Args:
        pixels: (height, width), uint8 or uint16.
        origin: where they were cut from.
        um_per_px: edge length of a pixel, um; None where unknown.
    """
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))
    data = encoded.tobytes()
    chunks = _chunk(b"tEXt", _KEYWORD + json.dumps(origin._asdict()).encode("ascii"))
    if um_per_px is not None:
        per_metre = round(1e6 / um_per_px)
        chunks += _chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1))
    return data[:_HEAD] + chunks + data[_HEAD:]


def read_origin(data: bytes) -> Origin | None:
    """Return the origin that a PNG of `crop_png` carries; None where it carries none."""
    if data[_HEAD + 4 : _HEAD + 8 + len(_KEYWORD)] != b"tEXt" + _KEYWORD:
        return None
    (length,) = struct.unpack_from(">I", data, _HEAD)
    try:
        fields = json.loads(data[_HEAD + 8 + len(_KEYWORD) : _HEAD + 8 + length])
        return _checked(fields)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def origin_of(path: Path) -> tuple[Origin | None, int]:
    """Return the origin of a crop on disk and its modification time, ns; (None, 0) without one."""
    try:
        modified = os.lstat(path).st_mtime_ns
        return read_origin(read_limited(path, MAX_BYTES)), modified
    except OSError:
        return None, 0


def write_crop(path: Path, data: bytes) -> bool:
    """Write a crop whole, or leave what is the same already; return whether it was written.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with contextlib.suppress(OSError):
            if read_limited(path, len(data)) == data:
                return False
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, data, durable=False)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}; crops are cut into the folder of --out"
        ) from None
    return True


def touch_crop(path: Path, modified_ns: int) -> None:
    """Give a crop, which is on the disk, the modification time of the file it was cut from."""
    with contextlib.suppress(OSError):
        os.utime(path, ns=(modified_ns, modified_ns), follow_symlinks=False)


def _chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", crc)


def _checked(fields: dict[str, Any]) -> Origin | None:
    page = fields["page"]
    boxes = {
        name: None if fields[name] is None else tuple(map(int, fields[name]))
        for name in ("box", "asked")
    }
    origin = Origin(**{**fields, **boxes})
    is_good = (
        isinstance(origin.file, str)
        and isinstance(origin.sha256, str)
        and len(origin.sha256) == 64
        and (origin.box is None or (len(origin.box) == 4 and min(origin.box) >= 0))
        and (page is None or (isinstance(page, int) and page > 0))
        and isinstance(origin.bytes, int)
    )
    return origin if is_good else None
