"""Sound files of every kind that is read, for the mutations to start from; made, never stored."""

from __future__ import annotations

import io
import json
import struct
import tempfile
import zlib
from functools import cache
from pathlib import Path

import cv2
import msgspec
import numpy as np

from ctcedge.sidecars.chain import chained
from ctcedge.sidecars.parse import parse
from tests.helpers import disk_model, drawn_cells, image_builder

SIDE = 48
_TILE = 32
_NOISE = np.random.default_rng(0).integers(1, 255, (SIDE, SIDE, 4), dtype=np.uint8)


@cache
def png() -> tuple[bytes, ...]:
    colours = {0: (8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    palette = image_builder.png_chunk(b"PLTE", bytes(range(6)))
    drawn = [
        image_builder.png(
            SIDE, SIDE, bits=bits, colour=colour, before=palette if colour == 3 else b""
        )
        for colour, depths in colours.items()
        for bits in depths
    ]
    return (*drawn, *(drawn_cells.encoded(pixels) for pixels in _pixels()), _interlaced())


@cache
def tiff() -> tuple[bytes, ...]:
    encoded = []
    for pixels in _pixels():
        for compression in (1, 5, 8, 32773):
            options = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
            encoded.append(cv2.imencode(".tif", pixels, options)[1].tobytes())
    built = [
        _tiff(order, big, compression, bits, samples, tiled)
        for order in "<>"
        for big in (False, True)
        for compression in (1, 8, 32773)
        for bits, samples in ((8, 1), (12, 1), (16, 1), (8, 3), (16, 3))
        for tiled in (False, True)
    ]
    jpeg = _tiff("<", False, 7, 8, 1, False)
    return (*encoded, *built, jpeg)


@cache
def sidecar() -> tuple[bytes, ...]:
    hash_ = "0" * 64
    model = {"name": "m", "version": "1", "sha256": hash_, "variant": "int8"}
    earlier = {
        "created": "2026-01-02T03:04:05.678Z",
        "call": "CTC",
        "probability": 0.9,
        "prior": 0.5,
        "threshold": 0.5,
        "reasons": [],
        "sample": "S",
        "cell": "1",
        "model": model,
        "settings_sha256": hash_,
        "software": {"ctcedge": "0", "onnxruntime": "0", "provider": "cpu"},
    }
    image = {
        "name": "1_BF.png",
        "sha256": hash_,
        "bytes": 1,
        "width": 8,
        "height": 8,
        "bit_depth": 8,
        "um_per_px": 0.5,
        "um_per_px_assumed": False,
    }
    whole = {
        "schema": "ctcedge/sidecar/1",
        "status": "classified",
        "error": None,
        "review_band": [0.4, 0.6],
        "image": image,
        "history": [],
        **earlier,
    }
    added = {
        "operating_point": "screening",
        "score": 2.197225,
        "cluster": True,
        "quality": {"reasons": ["debris"], "cells": 2.0},
        "unlike": {"distance": 21.5, "p": 0.25, "traits": [0.5, -1.0]},
        "inference_sha256": hash_,
    }
    seen = {"call": "CTC", "reviewer": "Ada", "time": earlier["created"], "from": "CTC"}
    seen |= {"note": "", "image_sha256": hash_, "channels": ["BF"], "blinded": True, "weight": 9.5}
    newer = {**whole, **added, "schema": "ctcedge/sidecar/2", "review": {**seen, "history": [seen]}}
    ood = {"distance": 21.5, "p_value": 0.25, "features": [0.5, -1.0]}
    newest = {key: value for key, value in newer.items() if key != "unlike"}
    newest |= {"schema": "ctcedge/sidecar/3", "ood": ood}
    bad = {**whole, "status": "unreadable", "call": None, "probability": None, "error": "empty"}
    again = {**whole, "history": [{**earlier, "image_sha256": hash_}] * 3}
    found = tuple(json.dumps(record).encode() for record in (whole, newer, newest, bad, again))
    return (*found, *(_chained(record) for record in (found[1], found[4])))


def _chained(data: bytes) -> bytes:
    """The sidecar in the present schema, with its hash chain."""
    parsed = parse(data)
    assert parsed is not None
    record = chained(parsed.sidecar, None)
    return json.dumps(msgspec.to_builtins(record)).encode()


@cache
def settings() -> tuple[bytes, ...]:
    images = r"""[images]
pattern = '(?P<sample>[^/]+)/run\d+/(?P<cell>\d+)_(?P<channel>\w+)\.png'
um_per_px = 0.5
channels.BF = ["BF", "Brightfield", "Vis"]
"""
    whole = 'model = "m"\nprovider = "cpu"\nout = "/data"\nbatch_size = 64\n'
    watch = "[watch]\nstability_delay = 1.0\nrescan_interval = 60.0\n"
    watch += "decode_timeout = 30.0\nreport_idle = 600\n"
    watch += "[decision]\noperating_point = 'confirm'\nprevalence = 0.0002\n"
    plain = "[images]\npattern = '(?P<cell>.+)_BF.png'\n[images.channels]\nDAPI = ['x']\n"
    return tuple(text.encode() for text in (images, whole + images + watch, plain, "", watch))


@cache
def model_files() -> dict[str, bytes]:
    """The files of a small sound model folder, by name."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "disks"
        disk_model.build(folder)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def _pixels() -> list[np.ndarray]:
    grey, rgb = _NOISE[..., 0], _NOISE[..., :3]
    opaque = _NOISE.copy()
    opaque[..., 3] = 255
    eight = [grey, rgb, opaque]
    return eight + [pixels.astype(np.uint16) * 257 for pixels in eight]


def _interlaced() -> bytes:
    sizes = [(6, 6), (6, 6), (12, 6), (12, 12), (24, 12), (24, 24), (48, 24)]
    rows = b"".join((b"\0" + b"\x80" * columns) * number for columns, number in sizes)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(image_builder.png_chunk(*chunk) for chunk in chunks)


def described_tiff(
    order: str, big: bool, bits: int, samples: int, tags: dict[int, tuple[str, list[int] | bytes]]
) -> bytes:
    """A TIFF with further tags, whose layouts are those of `struct`, or `R` for a fraction."""
    return _tiff(order, big, 1, bits, samples, False, tags)


def _tiff(
    order: str,
    big: bool,
    compression: int,
    bits: int,
    samples: int,
    tiled: bool,
    more: dict[int, tuple[str, list[int] | bytes]] | None = None,
) -> bytes:
    """A TIFF of strips or tiles, in any order of bytes, classic or BigTIFF."""
    side = _TILE if tiled else SIDE
    pieces = []
    for number in range(4 if tiled else 3):
        rows = _TILE if tiled else 16
        raw = bytes(1 + (number * 7 + i) % 200 for i in range(side * samples * bits // 8 * rows))
        pieces.append(_compressed(raw, compression, rows))
    word, head = ("Q", 16) if big else ("I", 8)
    kinds = {"B": 2, "H": 3, "I": 4, "R": 5, "Q": 16}
    data_at = [head + sum(map(len, pieces[:i])) for i in range(len(pieces))]
    offsets, counts = (324, 325) if tiled else (273, 279)
    tags: dict[int, tuple[str, list[int] | bytes]] = {
        256: ("I", [SIDE]),
        257: ("I", [SIDE]),
        258: ("H", [bits] * samples),
        259: ("H", [compression]),
        262: ("H", [1 if samples == 1 else 2]),
        277: ("H", [samples]),
        offsets: (word, data_at),
        counts: ("I", [len(piece) for piece in pieces]),
    }
    tags |= {322: ("H", [_TILE]), 323: ("H", [_TILE])} if tiled else {278: ("H", [16])}
    tags |= more or {}
    body = b"".join(pieces)
    entries, room = b"", struct.calcsize(order + word)
    for tag, (layout, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{layout.replace('R', 'I')}", *values)
        count = len(values) // 2 if layout == "R" else len(values)
        entries += struct.pack(order + "HH" + word, tag, kinds[layout], count)
        if len(packed) > room:
            entries += struct.pack(order + word, head + len(body))
            body += packed
        else:
            entries += packed.ljust(room, b"\0")
    start = struct.pack(order + word, head + len(body))
    magic = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", 43 if big else 42)
    magic += struct.pack(order + "HH", 8, 0) if big else b""
    number_of = struct.pack(order + ("Q" if big else "H"), len(tags))
    return magic + start + body + number_of + entries + struct.pack(order + word, 0)


def _compressed(raw: bytes, compression: int, rows: int) -> bytes:
    if compression == 8:
        return zlib.compress(raw)
    if compression == 32773:
        runs = [raw[i : i + 128] for i in range(0, len(raw), 128)]
        return b"".join(bytes([len(run) - 1]) + run for run in runs)
    if compression == 7:
        return drawn_cells.encoded(np.frombuffer(raw, np.uint8).reshape(rows, -1), ".jpg")
    return raw


def npz(**arrays: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.savez(data, **arrays)
    return data.getvalue()
