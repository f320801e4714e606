"""Pages and planes of a TIFF by the names that its metadata give them.

Names come from OME-XML (`Channel Name`, or its fluorophore), from the labels that ImageJ keeps for
each slice, or from the name of each page. A file with several focal planes, times or fields is
refused by name: which of them a cell's image is, nobody has said.

Sources: OME-TIFF 6.0 and OME-XML 2016-06; ImageJ's TiffEncoder and TiffDecoder; TIFF 6.0.
"""

from __future__ import annotations

import html
import os
import re
import struct
from typing import Literal, NamedTuple

from ctcedge.errors import BadImage
from ctcedge.fs.descriptors import close_unwritten
from ctcedge.images.description import described_planes
from ctcedge.images.tiff import NO_COMPRESSION, TiffLayout, check_pixel_data, page_layout
from ctcedge.images.tiff_directory import Directory, Tag, directories
from ctcedge.images.types import MAX_FRAME_PIXELS

MAX_PAGES = 4096
_OME = re.compile(rb"<(?:\w+:)?OME[\s>]")
_OME_IMAGE = re.compile(rb"<(?:\w+:)?Image[\s>]")
_OME_SIZE = re.compile(rb"""\bSize([CZT])\s*=\s*["'](\d{1,9})["']""")
_OME_CHANNEL = re.compile(rb"<(?:\w+:)?Channel\s([^<>]*)>")
_OME_DATA = re.compile(rb"<(?:\w+:)?TiffData\b([^<>]*)>")
_ATTRIBUTE = re.compile(rb"""([\w:]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_IMAGEJ_COUNT = re.compile(rb"^(channels|slices|frames|images)=(\d{1,9})\s*$", re.MULTILINE)
_LABELS = int.from_bytes(b"labl", "big")
_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
_PEEKED = 2048  # bytes of a directory
_PREVIEW = 5  # bits of NewSubfileType: a smaller copy, or a mask


class NamedPage(NamedTuple):
    """One page, or one plane behind the directory of the first.

    Attributes:
        number: from 0.
        name: in the metadata; empty where they give none.
        layout: how its pixels are stored.
    """

    number: int
    name: str
    layout: TiffLayout


def named_pages(data: bytes) -> list[NamedPage]:
    """Return the pages of a TIFF, or its planes, in the order of their numbers.

    Args:
        data: the whole file.

    Raises:
        BadImage: it is damaged, of a kind that is not supported, or has several focal planes, times
            or fields.
    """
    try:
        found = directories(data, MAX_PAGES)
    except (struct.error, OverflowError):
        raise BadImage("unreadable", "truncated or damaged TIFF") from None
    if not found:
        raise BadImage("unreadable", "damaged TIFF: it has no page")
    layouts = [
        (number, page_layout(directory, MAX_FRAME_PIXELS))
        for number, directory in enumerate(found)
        if not directory.first(Tag.NEW_SUBFILE_TYPE, 0) & _PREVIEW
    ]
    if len(found) == 1:
        layouts = list(enumerate(_planes(found[0])))
    for _, layout in layouts:
        check_pixel_data(data, layout)
    names = _names(found, len(layouts))
    return [
        NamedPage(number, name, layout)
        for (number, layout), name in zip(layouts, names, strict=True)
    ]


def has_pages(data: bytes) -> bool:
    """Whether a TIFF has several pages or planes; False where it is damaged."""
    try:
        found = directories(data, MAX_PAGES)
    except (struct.error, OverflowError):
        return False
    return len(found) > 1 or (
        len(found) == 1 and described_planes(found[0].texts.get(Tag.DESCRIPTION, b"")) > 1
    )


def is_plain(path: str) -> bool:
    """Whether a TIFF has one page and no text about planes, by a few bytes of it.

    False also of what cannot be read, or is no TIFF: it is to be looked into.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        head = os.pread(descriptor, 8, 0)
        order = _ORDERS.get(head[:4])
        if order is None:
            return False
        start = int.from_bytes(head[4:], order)
        directory = os.pread(descriptor, _PEEKED, start)
        end = 2 + 12 * int.from_bytes(directory[:2], order)
        tags = {directory[at : at + 2] for at in range(2, end, 12)}
        following = directory[end : end + 4]
        return following == bytes(4) and Tag.DESCRIPTION.to_bytes(2, order) not in tags
    except OSError:
        return False
    finally:
        close_unwritten(descriptor)


def _planes(directory: Directory) -> list[TiffLayout]:
    """The planes that follow each other behind one directory, as ImageJ writes large stacks."""
    layout = page_layout(directory, MAX_FRAME_PIXELS)
    planes = described_planes(directory.texts.get(Tag.DESCRIPTION, b""))
    if planes == 1:
        return [layout]
    if planes > MAX_PAGES or layout.compression != NO_COMPRESSION or layout.tile:
        raise BadImage("unsupported", f"TIFF of {planes:,} planes behind one page, compressed")
    size, start = sum(layout.sizes), min(layout.offsets, default=0)
    return [
        layout._replace(offsets=(start + plane * size,), counts=(size,), sizes=(size,))
        for plane in range(planes)
    ]


def _names(found: list[Directory], count: int) -> list[str]:
    text = found[0].texts.get(Tag.DESCRIPTION, b"")
    if _OME.search(text[:4096]):
        return _ome_names(text, count)
    if text.startswith(b"ImageJ="):
        counts = {key: int(number) for key, number in _IMAGEJ_COUNT.findall(text)}
        if counts.get(b"channels", 1) > 1:  # else channels may be the slices of a plain stack
            _refuse_stack(counts.get(b"slices", 1), counts.get(b"frames", 1))
        labels = _imagej_labels(found[0])
        if len(labels) >= count:
            return labels[:count]
    names = [_text(page.texts.get(Tag.PAGE_NAME, b"")) for page in found]
    return names if len(names) == count else [""] * count


def _refuse_stack(planes: int, times: int) -> None:
    for number, what in ((planes, "focal planes"), (times, "times")):
        if number > 1:
            raise BadImage(
                "unsupported", f"TIFF of {number:,} {what}: export one, with its channels"
            )


def _ome_names(text: bytes, count: int) -> list[str]:
    if b"FileName" in text and text.count(b"<UUID") > 1:
        files = {value for value in re.findall(rb"""FileName\s*=\s*["']([^"']*)""", text)}
        if len(files) > 1:
            raise BadImage(
                "unsupported", "OME-TIFF whose channels are in several files: export one a file"
            )
    images = len(_OME_IMAGE.findall(text))
    if images > 1:
        raise BadImage("unsupported", f"OME-TIFF of {images:,} fields: export one a file")
    sizes = {axis: int(number) for axis, number in _OME_SIZE.findall(text)}
    _refuse_stack(sizes.get(b"Z", 1), sizes.get(b"T", 1))
    channels = [_ome_channel(attributes) for attributes in _OME_CHANNEL.findall(text)]
    names = [""] * count
    for channel, page in _ome_places(text, len(channels)):
        if 0 <= page < count and 0 <= channel < len(channels):
            names[page] = channels[channel]
    return names


def _ome_channel(attributes: bytes) -> str:
    values = _attributes(attributes)
    name = values.get("Name") or values.get("Fluor") or ""
    is_bright = values.get("ContrastMethod") == "Brightfield"
    return name or ("Brightfield" if is_bright else "")


def _ome_places(text: bytes, channels: int) -> list[tuple[int, int]]:
    """The page of each channel: (channel, page)."""
    places: list[tuple[int, int]] = []
    for attributes in _OME_DATA.findall(text):
        values = _attributes(attributes)
        try:
            first, page = int(values.get("FirstC", 0)), int(values.get("IFD", 0))
            planes = int(values.get("PlaneCount", 1 if "IFD" in values else channels))
        except ValueError:
            continue
        places += [(first + plane, page + plane) for plane in range(min(planes, channels))]
    return places or [(channel, channel) for channel in range(channels)]


def _attributes(text: bytes) -> dict[str, str]:
    return {
        name.decode(): html.unescape(_text(double or single))
        for name, double, single in _ATTRIBUTE.findall(text)
    }


def _imagej_labels(directory: Directory) -> list[str]:
    """The labels of slices among ImageJ's own data."""
    order = directory.order
    counts = directory.texts.get(Tag.IMAGEJ_COUNTS, b"")
    data = directory.texts.get(Tag.IMAGEJ_DATA, b"")
    sizes = struct.unpack(f"{order}{len(counts) // 4}I", counts[: len(counts) // 4 * 4])
    if not sizes or sizes[0] > len(data) or sizes[0] < 4:
        return []
    kinds = struct.unpack(f"{order}{(sizes[0] - 4) // 4}I", data[4 : sizes[0] // 4 * 4])
    position, place = sizes[0], 1
    encoding = "utf-16-le" if order == "<" else "utf-16-be"
    labels: list[str] = []
    for kind, number in zip(kinds[::2], kinds[1::2], strict=False):
        for size in sizes[place : place + number]:
            if kind == _LABELS:
                labels.append(data[position : position + size].decode(encoding, "replace"))
            position += size
        place += number
    return labels


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("utf-8", "replace").strip()
