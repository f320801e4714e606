"""What programs write into the text of a TIFF (ImageDescription) about its planes and values.

ImageJ writes lines of `key=value`, tifffile the shape of an array, OME-TIFF an XML document. They
are read by patterns, not parsed: a text that is odd is no reason to refuse an image.

Sources: ImageJ's TiffEncoder; tifffile; OME-XML 2016-06.
"""

from __future__ import annotations

import math
import re

_IMAGEJ = b"ImageJ="
_IMAGEJ_COUNTS = re.compile(rb"^(images|channels|slices|frames)=(\d{1,9})\s*$", re.MULTILINE)
_IMAGEJ_ZERO = re.compile(rb"^c0=(-32768(?:\.0*)?)\s*$", re.MULTILINE)
_SHAPE = re.compile(rb"""^\s*(?:\{"shape": ?\[|shape=\()(\d{1,9}(?:, ?\d{1,9}){0,63}),?[\])]""")
_OME = re.compile(rb"<(?:\w+:)?OME[\s>]")
_OME_COUNTS = re.compile(rb"""\bSize([CZT])\s*=\s*["'](\d{1,9})["']""")
_OME_SAMPLES = re.compile(rb"""\bSamplesPerPixel\s*=\s*["'](\d{1,4})["']""")
_COLOURS = (3, 4)


def described_planes(text: bytes) -> int:
    """Return the number of planes that a text states for a file; 1 where it states none.

    An OME-XML document that names other files may speak of their planes: it counts as one plane.
    """
    if not text:
        return 1
    if text.startswith(_IMAGEJ):
        counts = {key: int(number) for key, number in _IMAGEJ_COUNTS.findall(text)}
        total = counts.pop(b"images", 1)
        return max(total, math.prod(counts.values()))
    if shape := _SHAPE.match(text):
        return _planes_of_shape([int(number) for number in shape[1].split(b",")])
    if _OME.search(text[:4096]) and b"FileName" not in text:
        return _ome_planes(text)
    return 1


def _planes_of_shape(shape: list[int]) -> int:
    if len(shape) > 2 and shape[-1] in _COLOURS:
        shape = shape[:-1]
    return math.prod(shape[:-2])


def _ome_planes(text: bytes) -> int:
    images = text.count(b"<Image ") + text.count(b":Image ")
    counts: dict[bytes, int] = {}
    for axis, number in _OME_COUNTS.findall(text):
        counts.setdefault(axis, int(number))
    samples = max((int(number) for number in _OME_SAMPLES.findall(text)), default=1)
    planes = math.prod(counts.values()) // (samples if samples in _COLOURS else 1)
    return max(planes, images, 1)


def is_signed(text: bytes) -> bool:
    """Whether ImageJ states that values are signed and were stored with 32768 added."""
    return text.startswith(_IMAGEJ) and _IMAGEJ_ZERO.search(text) is not None
