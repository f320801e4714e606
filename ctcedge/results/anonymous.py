"""An anonymised description of an export, which a lab can send to the maintainers.

It has the shapes of names (`AA99/99_<BF>.png`), sizes and headers, and neither names nor values of
metadata; pixels only where asked for.
"""

from __future__ import annotations

import base64
import platform
import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ctcedge.discovery.naming import Crop, Naming
from ctcedge.discovery.not_understood import is_image_like
from ctcedge.discovery.scan import CropListing, list_folder
from ctcedge.errors import BadImage
from ctcedge.fs.tree import Tree
from ctcedge.images.decode import decode
from ctcedge.images.header import read_header
from ctcedge.images.png import PNG_MAGIC
from ctcedge.images.tiff_directory import Tag, directories, is_tiff
from ctcedge.images.types import MAX_FRAME_BYTES
from ctcedge.settings import ImageSettings
from ctcedge.version import __version__

SCHEMA = "ctcedge/export-description/1"
MAX_READ = 2000
"""Images whose headers are read."""

_MAX_SHAPES = 500
_PIXELS_OF = 3
_MAX_PAGES = 1000
_WORD = re.compile(r"[^\W_]+|\W|_")
_ENDING = re.compile(r"(?:\.ome)?\.[A-Za-z0-9]{1,5}$")
_ENDINGS = frozenset("png tif tiff txt csv tsv xml json xlsx xls ini log html pdf toml db".split())


def describe_export(folder: Path, images: ImageSettings, *, pixels: bool = False) -> dict[str, Any]:
    """Describe an export without names.

    Args:
        folder: the export.
        images: how names are read.
        pixels: whether to add the pixels of the first few bright-field crops.

    Raises:
        SetupError: the folder cannot be read.
    """
    naming = images.naming()
    listing = list_folder(folder, naming)
    paths = sorted(path for path, _ in _entries(listing))
    kinds = Counter((kind, name_shape(path, naming)) for path, kind in _entries(listing))
    samples = Counter(crop.sample for crop in listing.crops)
    readable = [path for path in paths if is_image_like(path)]
    step = max(1, len(readable) // MAX_READ)
    headers: Counter[tuple[tuple[str, Any], ...]] = Counter()
    sizes: list[int] = []
    with Tree(folder) as tree:
        for path in readable[::step]:
            header, size = _described(tree, path, naming)
            headers[tuple(header.items())] += 1
            sizes.append(size)
    description = {
        "schema": SCHEMA,
        "ctcedge": __version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "own_pattern": images.pattern is not None,
        "um_per_px": images.um_per_px,
        "samples": len(samples),
        "crops_per_sample": _spread(list(samples.values())),
        "names": [
            {"kind": kind, "shape": shape, "files": count}
            for (kind, shape), count in kinds.most_common(_MAX_SHAPES)
        ],
        "headers_read": len(sizes),
        "bytes": _spread(sizes),
        "headers": [
            {**dict(header), "files": count} for header, count in headers.most_common(_MAX_SHAPES)
        ],
    }
    if pixels:
        description["pixels"] = list(_pixels(folder, listing.crops[:_PIXELS_OF]))
    return description


def name_shape(path: str, naming: Naming) -> str:
    """Return a path with each letter and digit replaced by its kind; channels by their key."""
    ending = _ENDING.search(path)
    kept = ending[0] if ending and ending[0].rpartition(".")[2].lower() in _ENDINGS else ""
    stem = path[: len(path) - len(kept)]
    return "".join(_word_shape(word[0], naming) for word in _WORD.finditer(stem)) + kept.lower()


def _word_shape(word: str, naming: Naming) -> str:
    channel = naming.channel_of(word) if word.isalnum() else None
    if channel is not None:
        return f"<{channel}>"
    return "".join(map(_letter_shape, word))


def _letter_shape(letter: str) -> str:
    if letter.isdigit():
        return "9"
    if letter.isalpha():
        return ("A" if letter.isupper() else "a") if letter.isascii() else "x"
    return letter if letter.isascii() and letter.isprintable() else "?"


def _entries(listing: CropListing) -> Iterator[tuple[str, str]]:
    for crop in listing.crops:
        yield crop.path, "bright field"
    for crop in listing.other_channels:
        yield crop.path, "other channel"
    for entry in listing.skipped:
        yield entry.path, entry.kind


def _described(tree: Tree, path: str, naming: Naming) -> tuple[dict[str, Any], int]:
    """The header of an image as plain values, and its size in bytes."""
    try:
        data = tree.read(path, MAX_FRAME_BYTES)
    except OSError as error:
        return {"problem": f"cannot be read: {error.strerror}"}, 0
    facts: dict[str, Any] = {}
    try:
        facts |= read_header(data)._asdict()
    except BadImage as error:
        facts["problem"] = f"{error.status}: {error}"
    if is_tiff(data):
        facts |= _tiff_facts(data)
    elif data.startswith(PNG_MAGIC):
        facts["chunks"] = " ".join(_chunks(data))
    else:
        facts["begins_with"] = data[:4].hex()
    return facts, len(data)


def _tiff_facts(data: bytes) -> dict[str, Any]:
    try:
        pages = directories(data, _MAX_PAGES)
    except (struct.error, OverflowError):
        return {"tiff": "damaged"}
    first = pages[0].tags if pages else {}
    text = pages[0].texts.get(Tag.DESCRIPTION, b"") if pages else b""
    writers = {b"<OME": "OME", b":OME": "OME", b"ImageJ=": "ImageJ", b'{"shape"': "tifffile"}
    return {
        "pages": len(pages),
        "compression": first.get(Tag.COMPRESSION, (1,))[0],
        "photometric": first.get(Tag.PHOTOMETRIC, (-1,))[0],
        "samples": first.get(Tag.SAMPLES, (1,))[0],
        "tiled": Tag.TILE_WIDTH in first,
        "tags": " ".join(map(str, sorted(first))),
        "text": next((name for mark, name in writers.items() if mark in text[:4096]), ""),
    }


def _chunks(data: bytes) -> Iterator[str]:
    """The kinds of a PNG's chunks, each once."""
    seen, position = set[bytes](), 8
    while position + 8 <= len(data) and len(seen) < 50:
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind not in seen and kind.isalpha():
            seen.add(kind)
            yield kind.decode("ascii")
        position += 12 + length


def _spread(numbers: list[int]) -> dict[str, int]:
    ordered = sorted(numbers) or [0]
    return {"min": ordered[0], "median": ordered[len(ordered) // 2], "max": ordered[-1]}


def _pixels(folder: Path, crops: list[Crop]) -> Iterator[str]:
    """The pixels of crops as PNG in base64, without any metadata."""
    with Tree(folder) as tree:
        for crop in crops:
            try:
                image = decode(tree.read(crop.path, MAX_FRAME_BYTES)).pixels
            except (OSError, BadImage):
                continue
            data = cv2.imencode(".png", np.ascontiguousarray(image))[1].tobytes()
            yield base64.b64encode(data).decode("ascii")
