"""um/px that image files state."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from ctcedge.images.decode import decode
from ctcedge.images.header import read_header
from tests.helpers.image_builder import png, png_chunk
from tests.helpers.tiff_writer import TagValues, write_tiff

GREY = np.full((16, 16), 99, np.uint8)


def text(description: str, encoding: str = "utf-8") -> dict[int, TagValues | None]:
    return {270: description.encode(encoding) + b"\0"}


def ome(attributes: str) -> dict[int, TagValues | None]:
    return text(f'<?xml version="1.0"?><OME xmlns="x"><Image ID="I"><Pixels {attributes}/></Image>')


def resolution(
    across: tuple[int, int], unit: int | None, down: tuple[int, int] | None = None
) -> dict[int, TagValues | None]:
    return {282: across, 283: down or across, 296: None if unit is None else (unit,)}


def imagej(unit: str, encoding: str = "utf-8") -> dict[int, TagValues | None]:
    return resolution((2_000_000, 1_000_000), 1) | text(
        f"ImageJ=1.54f\nunit={unit}\nloop=false\n", encoding
    )


STATED: dict[str, tuple[dict[int, TagValues | None], float | None]] = {
    "OME": (ome('PhysicalSizeX="0.25"'), 0.25),
    "OME, single quotes": (ome("PhysicalSizeX='0.25' PhysicalSizeY='0.25'"), 0.25),
    "OME in um": (ome('PhysicalSizeX="0.25" PhysicalSizeXUnit="\u00b5m"'), 0.25),
    "OME in Greek um": (ome('PhysicalSizeX="0.25" PhysicalSizeXUnit="\u03bcm"'), 0.25),
    "OME in escaped um": (ome('PhysicalSizeX="0.25" PhysicalSizeXUnit="&#xB5;m"'), 0.25),
    "OME in nm": (ome('PhysicalSizeX="250" PhysicalSizeXUnit="nm"'), 0.25),
    "OME in mm": (ome('PhysicalSizeX="2.5E-4" PhysicalSizeXUnit="mm"'), 0.25),
    "OME in pixels": (ome('PhysicalSizeX="1" PhysicalSizeXUnit="pixel"'), None),
    "OME not square": (ome('PhysicalSizeX="0.25" PhysicalSizeY="0.5"'), None),
    "OME far too large": (ome('PhysicalSizeX="352"'), None),
    "OME no number": (ome('PhysicalSizeX="1.2.3"'), None),
    "OME infinite": (ome('PhysicalSizeX="1e999"'), None),
    "OME zero": (ome('PhysicalSizeX="0"'), None),
    "ImageJ micron": (imagej("micron"), 0.5),
    "ImageJ um": (imagej("um"), 0.5),
    "ImageJ escaped": (imagej("\\u00B5m"), 0.5),
    "ImageJ UTF-8": (imagej("\u00b5m"), 0.5),
    "ImageJ Latin-1": (imagej("\u00b5m", "latin-1"), 0.5),
    "ImageJ pixel": (imagej("pixel"), None),
    "ImageJ inch": (imagej("inch"), None),
    "ImageJ without unit": (resolution((2, 1), 1) | text("ImageJ=1.54f\n"), None),
    "pixels per cm": (resolution((20_000, 1), 3), 0.5),
    "pixels per inch": (resolution((50_800, 1), 2), 0.5),
    "pixels per inch by default": (resolution((50_800, 1), None), 0.5),
    "no unit": (resolution((2, 1), 1), None),
    "unknown unit": (resolution((2, 1), 9), None),
    "72 dpi": (resolution((72, 1), 2), None),
    "96 dpi": (resolution((96, 1), 2), None),
    "300 dpi": (resolution((300, 1), 2), None),
    "1200 dpi": (resolution((1200, 1), 2), None),
    "72 dpi in cm": (resolution((28_346, 1000), 3), None),
    "not square": (resolution((20_000, 1), 3, (10_000, 1)), None),
    "nothing": ({}, None),
    "a division by zero": (resolution((20_000, 0), 3), None),
    "zero": (resolution((0, 1), 3), None),
}


@pytest.mark.parametrize(("tags", "expected"), STATED.values(), ids=STATED)
def test_what_a_tiff_states(tags: dict[int, TagValues | None], expected: float | None) -> None:
    for order in "<>":
        for big in (False, True):
            data = write_tiff(GREY, tags=tags, order=order, big=big)
            assert read_header(data).um_per_px == expected
            assert decode(data).header.um_per_px == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (struct.pack(">IIB", 2_000_000, 2_000_000, 1), 0.5),
        (struct.pack(">IIB", 2835, 2835, 1), None),
        (struct.pack(">IIB", 2_000_000, 2_000_000, 0), None),
        (struct.pack(">IIB", 2_000_000, 1_000_000, 1), None),
        (struct.pack(">IIB", 0, 0, 1), None),
        (b"odd", None),
    ],
    ids=["2 per um", "72 dpi", "no unit", "not square", "zero", "damaged"],
)
def test_what_a_png_states(content: bytes, expected: float | None) -> None:
    data = png(16, 16, before=png_chunk(b"pHYs", content))
    assert read_header(data).um_per_px == expected
    assert decode(data).header.um_per_px == expected
