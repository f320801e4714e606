"""Header of a PNG or TIFF file, read and checked before any decoder sees the file.

The limits are checked here, so that a file which claims 60,000 x 60,000 pixels costs nothing. What
OpenCV would misread without a word (pages after the first, 16-bit white-is-zero, separate colour
planes, 8-bit strips that end early) is refused by name.
"""

from __future__ import annotations

from typing import NoReturn

from ctcedge.errors import BadImage
from ctcedge.images.png import PNG_MAGIC, png_header
from ctcedge.images.tiff import is_tiff, tiff_header
from ctcedge.images.types import ImageHeader

_OTHER_FORMATS = {
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WebP or another RIFF",
    b"\0\0\0\x0cjP": "JPEG 2000",
}


def read_header(data: bytes) -> ImageHeader:
    """Read and check the header of a PNG or TIFF file.

    Args:
        data: the whole file.

    Raises:
        BadImage: not a PNG or TIFF, damaged, or of a kind that is not supported.
    """
    if not data:
        raise BadImage("unreadable", "empty file")
    if data.startswith(PNG_MAGIC):
        return png_header(data)
    if is_tiff(data):
        return tiff_header(data)
    _refuse_other_format(data)


def _refuse_other_format(data: bytes) -> NoReturn:
    for magic, name in _OTHER_FORMATS.items():
        if data.startswith(magic):
            raise BadImage("unsupported", f"a {name} file; only PNG and TIFF are accepted")
    raise BadImage("unreadable", "not a PNG or TIFF image")
