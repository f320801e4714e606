"""Header of a PNG or TIFF file, read and checked before any decoder sees the file.

The limits are checked here, so that a file which claims 60,000 x 60,000 pixels costs nothing.
Whatever a header states and the decoder does not heed is refused by name.
"""

from __future__ import annotations

from typing import NoReturn

from ctcedge.errors import BadImage
from ctcedge.images.png import PNG_MAGIC, png_header
from ctcedge.images.tiff import tiff_header
from ctcedge.images.tiff_directory import is_tiff
from ctcedge.images.types import ImageHeader

_OTHER_FORMATS = {
    b"\xff\xd8\xff": "JPEG",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL": "JPEG XL",
    b"II\xbc": "JPEG XR",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WebP or another RIFF",
    b"\x8aMNG": "MNG",
    b"\x8bJNG": "JNG",
    b"IIRO": "camera raw",
    b"IIU\0": "camera raw",
    b"8BPS": "Photoshop",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"\x89HDF": "HDF5",
    b"\x93NUMPY": "NumPy",
    b"ZISRAWFILE": "Zeiss CZI",
    b"\xda\xce\xbe\x0a": "Nikon ND2",
    b"SIMPLE  =": "FITS",
    b"%PDF": "PDF",
    b"\x1f\x8b": "gzip",
    b"PK\3\4": "ZIP",
    **{f"P{number}{space}".encode(): "PNM" for number in range(1, 8) for space in "\n \r\t"},
}
_BOX_FORMATS = {b"avif": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF"}


def read_header(data: bytes) -> ImageHeader:
    """Read and check the header of a PNG or TIFF file.

    Args:
        data: the whole file.

    Raises:
        BadImage: not a PNG or TIFF, damaged, or of a kind that is not supported.
    """
    if data.startswith(PNG_MAGIC):
        return png_header(data)
    if is_tiff(data):
        return tiff_header(data)
    refuse_other_format(data)


def refuse_other_format(data: bytes) -> NoReturn:
    """Refuse a file that is neither PNG nor TIFF, by the name of its format where it is known."""
    if not data:
        raise BadImage("unreadable", "empty file")
    name = _BOX_FORMATS.get(data[8:12]) if data[4:8] == b"ftyp" else None
    if data[128:132] == b"DICM":
        name = "DICOM"
    if name is not None:
        raise BadImage("unsupported", f"a {name} file; only PNG and TIFF are accepted")
    for magic, name in _OTHER_FORMATS.items():
        if data.startswith(magic):
            raise BadImage("unsupported", f"a {name} file; only PNG and TIFF are accepted")
    raise BadImage("unreadable", "not a PNG or TIFF image")
