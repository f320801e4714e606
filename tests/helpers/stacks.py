"""Write TIFF files of several pages or planes, as OME and ImageJ do."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ASCII, _SHORT, _LONG, _BYTE = 2, 3, 4, 1


def pages(images: Sequence[NDArray[np.unsignedinteger]], tags: dict[int, bytes]) -> bytes:
    """A TIFF of one page an image; `tags` are texts of the first page, after their numbers."""
    data = b"II*\0" + bytes(4)
    link = 4
    for number, image in enumerate(images):
        extra = tags if number == 0 else {}
        data, link = _with_page(data, link, image, image.tobytes(), extra)
    return data


def planes(images: Sequence[NDArray[np.unsignedinteger]], tags: dict[int, bytes]) -> bytes:
    """A TIFF of one page, with the planes of all images behind each other, as ImageJ writes."""
    everything = b"".join(image.tobytes() for image in images)
    return _with_page(b"II*\0" + bytes(4), 4, images[0], everything, tags)[0]


def ome(names: Sequence[str], *, um_per_px: float = 0.5, sizes: str = "") -> dict[int, bytes]:
    """The tags of an OME-TIFF with these channels."""
    channels = "".join(f'<Channel ID="Channel:0:{i}" Name="{n}"/>' for i, n in enumerate(names))
    sizes = sizes or f'SizeC="{len(names)}" SizeZ="1" SizeT="1"'
    text = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'<Image ID="Image:0"><Pixels DimensionOrder="XYCZT" {sizes}'
        f' PhysicalSizeX="{um_per_px}" PhysicalSizeY="{um_per_px}" PhysicalSizeXUnit="um">'
        f"{channels}</Pixels></Image></OME>"
    )
    return {270: text.encode()}


def imagej(labels: Sequence[str], *, axis: str = "channels") -> dict[int, bytes]:
    """The tags of an ImageJ stack with these labels of its slices."""
    text = f"ImageJ=1.53t\nimages={len(labels)}\n{axis}={len(labels)}\nhyperstack=true\n"
    stored = [label.encode("utf-16-le") for label in labels]
    header = b"IJIJ" + struct.pack("<II", int.from_bytes(b"labl", "big"), len(labels))
    counts = struct.pack(f"<{1 + len(stored)}I", len(header), *map(len, stored))
    return {270: text.encode(), 50838: counts, 50839: header + b"".join(stored)}


def _with_page(
    data: bytes,
    link: int,
    image: NDArray[np.unsignedinteger],
    pixels: bytes,
    extra: dict[int, bytes],
) -> tuple[bytes, int]:
    """Append a page; return the file and where its link to the next page is."""
    height, width = image.shape
    data += bytes(len(data) % 2)
    offset = len(data)
    data += pixels
    values: dict[int, tuple[int, int, bytes]] = {
        256: (_LONG, 1, struct.pack("<I", width)),
        257: (_LONG, 1, struct.pack("<I", height)),
        258: (_SHORT, 1, struct.pack("<H", 8 * image.itemsize)),
        259: (_SHORT, 1, struct.pack("<H", 1)),
        262: (_SHORT, 1, struct.pack("<H", 1)),
        273: (_LONG, 1, struct.pack("<I", offset)),
        277: (_SHORT, 1, struct.pack("<H", 1)),
        278: (_LONG, 1, struct.pack("<I", height)),
        279: (_LONG, 1, struct.pack("<I", image.nbytes)),
    }
    for tag, text in extra.items():
        kind = _LONG if tag == 50838 else _BYTE if tag == 50839 else _ASCII
        values[tag] = (kind, len(text) // 4 if kind == _LONG else len(text), text)
    entries = b""
    for tag, (kind, count, stored) in sorted(values.items()):
        if len(stored) > 4:
            data += bytes(len(data) % 2)
            data, stored = data + stored, struct.pack("<I", len(data))
        entries += struct.pack("<HHI", tag, kind, count) + stored.ljust(4, b"\0")
    data += bytes(len(data) % 2)
    start = len(data)
    data = data[:link] + struct.pack("<I", start) + data[link + 4 :]
    data += struct.pack("<H", len(values)) + entries + bytes(4)
    return data, len(data) - 4
