"""What programs write into images beside pixels: descriptions, scale, orientation; and worse."""

from __future__ import annotations

import random
import struct
import zlib

from tests.fuzz import seeds
from tests.fuzz.mutate_json import changed_bytes

_OME = (
    '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/'
    '2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8"'
    ' SizeX="48" SizeY="48" SizeZ="1" SizeC="1" SizeT="1" PhysicalSizeX="0.5"'
    ' PhysicalSizeXUnit="µm" PhysicalSizeY="0.5" PhysicalSizeYUnit="µm"><Channel ID="Channel:0:0"'
    ' SamplesPerPixel="1"/><TiffData/></Pixels></Image></OME>'
)
_TEXTS = (
    _OME,
    _OME.replace("0.5", "500").replace("µm", "nm"),
    _OME.replace("<", "<ome:").replace("<ome:/", "</ome:").replace("<ome:?", "<?"),
    "ImageJ=1.53t\nimages=1\nslices=1\nunit=micron\nspacing=0.5\nmin=0.0\nmax=255.0\n",
    "ImageJ=1.53t\nunit=\\u00B5m\nc0=-32768.0\nc1=1.0\nvunit=gray\nx=1\nimages=3\nchannels=3\n",
    '{"shape": [48, 48]}',
    "shape=(1, 48, 48)",
    '{"PixelSizeUm": 0.5, "PixelSize": 0.5, "Width": 48}',
    "",
)
_ODD = (
    *("0", "-1", "1e999", "nan", "inf", "-0.0", "9" * 400, "0x10", "1,5", "1_5", "", " ", "\0"),
    *("µm", "mm", "cm", "inch", "pixel", "\\u00B5m", "\\uD800", "&#0;", "&micro;", "&lt;", "\n"),
    *('"', "'", "<", "/>", "]]>", "<![CDATA[", "<!--", "\ufeff", "é", "SizeZ", "PhysicalSizeX"),
    *("images=99999999", "channels=2\nslices=3", "a" * 100_000, "<Image " * 5000, "=" * 5000),
    *(
        'PhysicalSizeX="' * 3000,
        '<!DOCTYPE x [<!ENTITY a "aaaa">]>&a;&a;',
        "(" * 2000,
        "[1," * 3000,
    ),
)
_COUNTS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 72, 96, 255, 300, 10_000, 20_000, 65535, 2**31, 2**32 - 1)


def tiff(rng: random.Random) -> bytes:
    """Make a TIFF with a description, a scale and an orientation, sound or not."""
    tags: dict[int, tuple[str, list[int] | bytes]] = {}
    if rng.random() < 0.8:
        tags[270] = ("B", description(rng))
    if rng.random() < 0.4:
        tags[274] = ("H", [rng.choice(_COUNTS) % 65536])
    if rng.random() < 0.5:
        for tag in (282, 283):
            tags[tag] = ("R", [rng.choice(_COUNTS), rng.choice(_COUNTS)])
        tags[296] = ("H", [rng.choice((0, 1, 2, 3, 4, 65535))])
    for tag in (254, 255, 266, 284, 305, 317, 338, 339, 32997, 34665, 50838, 50839, 65200):
        if rng.random() < 0.04:
            tags[tag] = rng.choice(
                [
                    ("H", [rng.choice(_COUNTS) % 65536] * rng.choice((1, 1, 3))),
                    ("I", [rng.choice(_COUNTS)]),
                    ("B", description(rng)),
                ]
            )
    shape = rng.choice(((8, 1), (16, 1), (8, 3)))
    made = seeds.described_tiff(rng.choice("<>"), rng.random() < 0.3, *shape, tags)
    return changed_bytes(made, rng) if rng.random() < 0.2 else made


def png_chunk_content(rng: random.Random) -> tuple[bytes, bytes]:
    """Make a chunk of metadata: its kind and content."""
    text = description(rng)
    match rng.randrange(6):
        case 0:
            per_metre = [rng.choice((*_COUNTS, 2835, 2_000_000)) for _ in range(2)]
            return b"pHYs", struct.pack(">IIB", *per_metre, rng.choice((0, 1, 2, 255)))
        case 1:
            orientation = rng.choice(_COUNTS) % 65536
            entry = struct.pack(">HHIHH", 274, rng.choice((3, 4, 2)), rng.choice((1, 0, 9)),
                                orientation, 0)  # fmt: skip
            exif = b"MM\0*" + struct.pack(">IH", 8, rng.choice((1, 0, 65535))) + entry + bytes(4)
            return b"eXIf", changed_bytes(exif, rng) if rng.random() < 0.3 else exif
        case 2:
            return b"tEXt", b"Description\0" + text
        case 3:
            return b"zTXt", b"Description\0\0" + zlib.compress(text)
        case 4:
            return b"zTXt", b"Description\0\0" + zlib.compress(bytes(rng.choice((10, 20_000_000))))
        case _:
            flags = bytes([rng.randrange(3), rng.randrange(2)])
            return b"iTXt", b"XML:com.adobe.xmp\0" + flags + b"\0\0" + text


def description(rng: random.Random) -> bytes:
    """Make a description as programs write it, with odd values."""
    text = rng.choice(_TEXTS)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        place = rng.randrange(len(text) + 1)
        match rng.randrange(4):
            case 0:
                text = text[:place] + rng.choice(_ODD) + text[place:]
            case 1:
                numbers = [part for part in ("0.5", "48", '"1"', "1.0", "3", "µm") if part in text]
                if numbers:
                    text = text.replace(rng.choice(numbers), rng.choice(_ODD), rng.choice((1, -1)))
            case 2:
                text = text[:place]
            case _:
                text = text[:place] + text[: rng.choice((20, 400))] + text[place:]
    encoding = rng.choice(("utf-8", "utf-8", "utf-8", "latin-1", "utf-16", "ascii"))
    made = text.encode(encoding, "surrogatepass" if encoding == "utf-16" else "replace")
    return made + b"\0" * rng.choice((0, 1, 1, 3))
