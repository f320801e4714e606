"""Edge length of a pixel as an image file states it.

Read are OME-XML, ImageJ's unit, the resolution of a TIFF and that of a PNG. A resolution that no
microscope has (72, 96 or 300 dots per inch is what programs write that know nothing of it) is
ignored, as are pixels that are not square.

Sources: OME-XML 2016-06; ImageJ's TiffEncoder; TIFF 6.0; PNG specification (W3C, third edition).
"""

from __future__ import annotations

import html
import re
import struct

from ctcedge.images.tiff_directory import Directory, Tag

_MIN_UM, _MAX_UM = 0.02, 5.0
"""Edge length of a pixel that a microscope may have, um."""
_MAX_DIFFERENCE = 0.01
"""Largest relative difference of width and height of a square pixel."""
_INCH, _CENTIMETRE = 2, 3
_UM = {
    "um": 1.0,
    "\u00b5m": 1.0,  # micro sign
    "\u03bcm": 1.0,  # Greek mu
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "inch": 25_400.0,
}
"""Length of a unit, um."""
_IMAGEJ_UNIT = re.compile(rb"^unit=([^\r\n]{1,40})", re.MULTILINE)
_OME_SIZE = re.compile(rb"""\bPhysicalSize([XY])\s*=\s*["']([0-9.eE+-]{1,40})["']""")
_OME_UNIT = re.compile(rb"""\bPhysicalSizeXUnit\s*=\s*["']([^"']{1,40})["']""")


def tiff_um_per_px(directory: Directory) -> float | None:
    """Edge length of a pixel that a TIFF states, um; None where it states none, or none usable."""
    tags = directory.tags
    text = directory.texts.get(Tag.DESCRIPTION, b"")
    if b"PhysicalSizeX" in text:
        return _ome(text)
    if Tag.X_RESOLUTION not in tags:
        return None
    across = _ratio(tags[Tag.X_RESOLUTION])
    down = _ratio(tags.get(Tag.Y_RESOLUTION, tags[Tag.X_RESOLUTION]))
    unit = None
    if text.startswith(b"ImageJ=") and (stated := _IMAGEJ_UNIT.search(text)):
        unit = _length(stated[1])
    else:
        number = directory.first(Tag.RESOLUTION_UNIT, _INCH)
        unit = {_INCH: 25_400.0, _CENTIMETRE: 1e4}.get(number)
    if unit is None or not across or not down:
        return None
    return _plausible(unit / across, unit / down)


def png_um_per_px(physical: bytes | None) -> float | None:
    """Edge length of a pixel that a PNG's pHYs chunk states, um; None where it states none."""
    if physical is None or len(physical) != 9 or physical[8] != 1:
        return None
    across, down = struct.unpack_from(">II", physical)
    return _plausible(1e6 / across, 1e6 / down) if across and down else None


def _ome(text: bytes) -> float | None:
    sizes: dict[bytes, float] = {}
    for axis, number in _OME_SIZE.findall(text):
        try:
            sizes.setdefault(axis, float(number))
        except ValueError:
            return None
    stated = _OME_UNIT.search(text)
    unit = _length(stated[1]) if stated else 1.0
    if unit is None or b"X" not in sizes:
        return None
    return _plausible(unit * sizes[b"X"], unit * sizes.get(b"Y", sizes[b"X"]))


def _length(unit: bytes) -> float | None:
    """Length of a unit, um; programs write the micro sign in several ways."""
    try:
        text = unit.decode("utf-8")
    except UnicodeDecodeError:
        text = unit.decode("latin-1")
    text = html.unescape(text).replace("\\u00B5", "\u00b5").replace("\\u00b5", "\u00b5")
    return _UM.get(text.strip().casefold().replace("\u03bc", "\u00b5"))


def _ratio(pair: tuple[int, ...]) -> float:
    return pair[0] / pair[1] if pair[1] else 0.0


def _plausible(across: float, down: float) -> float | None:
    if not _MIN_UM <= across <= _MAX_UM or abs(across - down) > _MAX_DIFFERENCE * across:
        return None
    return float(f"{across:.6g}")
