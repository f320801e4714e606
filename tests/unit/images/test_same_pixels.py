"""One image, written in every way that is read, gives the same pixels; else it is refused."""

from __future__ import annotations

import itertools
import struct

import cv2
import numpy as np
import pytest

from ctcedge.errors import BadImage
from ctcedge.images.decode import decode
from ctcedge.images.header import read_header
from ctcedge.images.tiff_directory import Tag, first_directory
from tests.helpers.image_builder import png, png_chunk
from tests.helpers.tiff_writer import TagValues, write_tiff

GREY = np.random.default_rng(5).integers(1, 256, (37, 41), dtype=np.uint8)
GREY[5:9, 3:20] = 77
WIDE = GREY.astype(np.uint16) * 257
COMPRESSIONS = {"none": 1, "LZW": 5, "deflate": 8, "old deflate": 32946, "PackBits": 32773}
PIECES = {"one strip": {}, "strips": {"rows": 5}, "tiles": {"tile": (16, 16)}}


@pytest.mark.parametrize("compression", COMPRESSIONS.values(), ids=COMPRESSIONS)
@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
@pytest.mark.parametrize("differences", [False, True])
def test_a_tiff_gives_the_same_pixels_however_it_is_stored(
    compression: int, pieces: dict[str, object], differences: bool
) -> None:
    if differences and compression in (1, 32773):
        pytest.skip("no standard has differences there")
    for order, big, pixels, colours in itertools.product("<>", (False, True), (GREY, WIDE), (1, 3)):
        stored = pixels if colours == 1 else np.stack([pixels] * 3, -1)
        data = write_tiff(
            stored,
            order=order,
            big=big,
            compression=compression,
            differences=differences,
            **pieces,  # type: ignore[arg-type]
        )
        decoded = decode(data)
        assert decoded.pixels.dtype == pixels.dtype
        np.testing.assert_array_equal(decoded.pixels, pixels)
        assert read_header(data) == decoded.header


@pytest.mark.parametrize("compression", COMPRESSIONS.values(), ids=COMPRESSIONS)
@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
def test_packed_bits_are_values_as_stored(
    compression: int, bits: int, pieces: dict[str, object]
) -> None:
    pixels = (GREY.astype(np.uint16) * 257) >> (16 - bits)
    data = write_tiff(pixels, bits=bits, compression=compression, **pieces)  # type: ignore[arg-type]
    np.testing.assert_array_equal(decode(data).pixels, pixels)
    assert decode(data).header.bits == bits


@pytest.mark.parametrize("compression", COMPRESSIONS.values(), ids=COMPRESSIONS)
@pytest.mark.parametrize("pixels", [GREY, WIDE], ids=["8 bits", "16 bits"])
def test_white_as_zero_is_inverted(compression: int, pixels: np.ndarray) -> None:
    data = write_tiff(
        np.iinfo(pixels.dtype).max - pixels, compression=compression, tags={262: (0,)}
    )
    np.testing.assert_array_equal(decode(data).pixels, pixels)


TURNED = {
    1: lambda shown: shown,
    2: np.fliplr,
    3: lambda shown: np.rot90(shown, 2),
    4: np.flipud,
    5: lambda shown: shown.T,
    6: lambda shown: np.rot90(shown, 1),
    7: lambda shown: np.rot90(shown, 2).T,
    8: lambda shown: np.rot90(shown, -1),
}
"""What is stored, by orientation, of an image that is shown."""


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("compression", COMPRESSIONS.values(), ids=COMPRESSIONS)
@pytest.mark.parametrize("pixels", [GREY, WIDE], ids=["8 bits", "16 bits"])
def test_every_orientation_shows_the_same_image(
    orientation: int, compression: int, pixels: np.ndarray
) -> None:
    stored = np.ascontiguousarray(TURNED[orientation](pixels))
    decoded = decode(write_tiff(stored, compression=compression, tags={274: (orientation,)}))
    np.testing.assert_array_equal(decoded.pixels, pixels)
    assert (decoded.header.height, decoded.header.width) == pixels.shape


def _exif(orientation: int) -> bytes:
    entry = struct.pack(">HHIH2x", 274, 3, 1, orientation)
    return b"MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("late", [False, True])
def test_the_orientation_of_a_png_is_heeded(orientation: int, late: bool) -> None:
    stored = np.ascontiguousarray(TURNED[orientation](GREY))
    rows = b"".join(b"\0" + row.tobytes() for row in stored)
    chunk = png_chunk(b"eXIf", _exif(orientation))
    data = png(*stored.shape[::-1], rows=rows, before=b"" if late else chunk)
    if late:
        data = data[:-12] + chunk + data[-12:]
    decoded = decode(data)
    np.testing.assert_array_equal(decoded.pixels, GREY)
    assert read_header(data) == decoded.header


def test_a_value_that_the_standard_lacks_states_no_orientation() -> None:
    for orientation in (0, 9, 65535):
        np.testing.assert_array_equal(
            decode(write_tiff(GREY, tags={274: (orientation,)})).pixels, GREY
        )


def test_a_png_and_a_tiff_of_one_image_agree() -> None:
    for pixels in (GREY, WIDE):
        data = cv2.imencode(".png", pixels)[1].tobytes()
        np.testing.assert_array_equal(decode(data).pixels, decode(write_tiff(pixels)).pixels)


def test_jpeg_in_a_tiff_is_read_near_enough() -> None:
    smooth = cv2.GaussianBlur(GREY, (0, 0), 3)
    stream = cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    jpeg = write_tiff(smooth, tags={259: (7,), 273: (8,), 279: (len(stream),)})
    decoded = decode(jpeg.replace(smooth.tobytes(), stream.ljust(smooth.size, b"\1")))
    assert np.abs(decoded.pixels.astype(int) - smooth).max() < 8


def _shape(description: str) -> dict[int, TagValues | None]:
    return {270: description.encode() + b"\0"}


OME = '<?xml version="1.0"?><OME xmlns="x"><Image ID="Image:0"><Pixels {}/></Image></OME>'
UNSUPPORTED: dict[str, tuple[np.ndarray, dict[int, TagValues | None], str]] = {
    "two grey values": (np.stack([GREY] * 2, -1), {262: (1,)}, "2 grey values a pixel"),
    "three grey values": (np.stack([GREY] * 3, -1), {262: (1,)}, "3 grey values a pixel"),
    "three grey values of 16 bits": (np.stack([WIDE] * 3, -1), {262: (1,)}, "3 grey values"),
    "four grey values of 16 bits": (np.stack([WIDE] * 4, -1), {262: (1,)}, "4 grey values"),
    "bits of three values": (GREY, {258: (8, 8, 8)}, "3 grey values"),
    "twenty values": (np.stack([GREY] * 20, -1), {262: (1,)}, "20 grey values"),
    "RGB of one value": (GREY, {262: (2,)}, "1 channels of colour"),
    "RGB of five values": (np.stack([GREY] * 5, -1), {}, "5 channels of colour"),
    "values of different bits": (np.stack([GREY] * 3, -1), {258: (8, 8, 16)}, "8, 16 bits"),
    "signed": (WIDE, {339: (2,)}, "signed values"),
    "floating point": (WIDE, {339: (3,)}, "floating-point"),
    "undefined type": (WIDE, {339: (4,)}, "undefined type"),
    "complex": (WIDE, {339: (6,)}, "complex"),
    "unknown type": (WIDE, {339: (9,)}, "sample format 9"),
    "type zero": (GREY, {339: (0,)}, "sample format 0"),
    "no statement of bits": (GREY, {258: None}, "1 bits"),
    "no photometric interpretation": (GREY, {262: None}, "no statement whether it is grey"),
    "palette": (GREY, {262: (3,)}, "palette"),
    "mask": (GREY, {262: (4,)}, "mask"),
    "CMYK": (np.stack([GREY] * 4, -1), {262: (5,)}, "CMYK"),
    "YCbCr": (np.stack([GREY] * 3, -1), {262: (6,)}, "YCbCr"),
    "L*a*b*": (np.stack([GREY] * 3, -1), {262: (8,)}, r"L\*a\*b\*"),
    "camera raw": (GREY, {262: (32803,)}, "colour-filter"),
    "unknown colours": (GREY, {262: (77,)}, "unknown colours"),
    "separate planes": (np.stack([GREY] * 3, -1), {284: (2,)}, "separate colour planes"),
    "unknown planes": (GREY, {284: (7,)}, "colour planes"),
    "floating predictor": (GREY, {317: (3,)}, "predictor 3"),
    "unknown predictor": (GREY, {317: (0,)}, "predictor 0"),
    "predictor without compression": (GREY, {317: (2,)}, "predictor 2"),
    "reversed bits": (GREY, {266: (2,)}, "reversed bits"),
    "preview": (GREY, {254: (1,)}, "preview"),
    "old preview": (GREY, {255: (2,)}, "preview"),
    "SubIFDs": (GREY, {330: (8,)}, "SubIFDs"),
    "depth": (GREY, {32997: (3,)}, "3 planes"),
    "MetaMorph stack": (GREY, {33629: (1, 1, 1, 1)}, "4 planes"),
    "ImageJ stack": (GREY, _shape("ImageJ=1.54f\nimages=3\nslices=3\n"), "3 planes"),
    "ImageJ channels": (GREY, _shape("ImageJ=1.54f\nchannels=2\nframes=3\n"), "6 planes"),
    "ImageJ signed": (WIDE, _shape("ImageJ=1.54f\nc0=-32768.0\nc1=1.0\n"), "signed"),
    "tifffile stack": (GREY, _shape('{"shape": [3, 37, 41]}'), "3 planes"),
    "old tifffile stack": (GREY, _shape("shape=(2, 3, 37, 41)"), "6 planes"),
    "OME channels": (GREY, _shape(OME.format('SizeC="3" SizeZ="2" SizeT="1"')), "6 planes"),
    **{
        f"{name} compression": (GREY, {259: (number,)}, f"{name} compression")
        for number, name in (
            *((0, "unknown"), (2, "CCITT"), (4, "CCITT fax"), (6, "JPEG"), (34712, "JPEG 2000")),
            *((34887, "LERC"), (34925, "LZMA"), (50000, "Zstandard"), (50001, "WebP")),
            *((12345, "unknown"), (34933, "PNG"), (50002, "JPEG XL")),
        )
    },
}


@pytest.mark.parametrize("case", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_is_not_read_is_unsupported_by_name_and_told_how_to_export(
    case: tuple[np.ndarray, dict[int, TagValues | None], str],
) -> None:
    pixels, tags, words = case
    for read, order, big in itertools.product((read_header, decode), "<>", (False, True)):
        with pytest.raises(BadImage, match=words) as caught:
            read(write_tiff(pixels, tags=tags, order=order, big=big))
        assert caught.value.status == "unsupported"
        assert "export" in str(caught.value) or "accepted" in str(caught.value)


def test_a_compression_that_is_not_stated_is_unsupported() -> None:
    np.testing.assert_array_equal(decode(write_tiff(GREY, tags={259: None})).pixels, GREY)
    squeezed = write_tiff(np.full_like(GREY, 9), compression=8, tags={259: None})
    with pytest.raises(BadImage, match="does not state") as caught:
        decode(squeezed + bytes(GREY.size))
    assert caught.value.status == "unsupported"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ImageJ=1.54f\nunit=micron\nimages=1\n",
        '{"shape": [37, 41]}',
        '{"shape": [1, 37, 41]}',
        "images=3",
        OME.format('SizeC="1" SizeZ="1" SizeT="1"'),
        OME.format('SizeC="3"><TiffData><UUID FileName="x.tif"/></TiffData><Pixels a=""'),
        "\0\xff<OME",
    ],
)
def test_a_text_that_states_one_plane_or_nothing_is_no_reason(text: str) -> None:
    np.testing.assert_array_equal(decode(write_tiff(GREY, tags=_shape(text))).pixels, GREY)


def test_opaque_samples_beside_colours_are_dropped() -> None:
    for pixels in (GREY, WIDE):
        full = np.full_like(pixels, np.iinfo(pixels.dtype).max)
        for compression, extra in itertools.product((1, 5, 8), (0, 1, 2)):
            data = write_tiff(
                np.stack([pixels, pixels, pixels, full], -1),
                compression=compression,
                tags={338: (extra,)},
            )
            np.testing.assert_array_equal(decode(data).pixels, pixels)
            with pytest.raises(BadImage, match="transparent"):
                decode(write_tiff(np.stack([pixels] * 4, -1), tags={338: (extra,)}))


@pytest.mark.parametrize("kind", [b"acTL", b"fcTL", b"fdAT"])
@pytest.mark.parametrize("late", [False, True])
def test_an_animated_png_is_unsupported(kind: bytes, late: bool) -> None:
    chunk = png_chunk(kind, bytes(8))
    data = png(16, 16, before=b"" if late else chunk)
    if late:
        data = data[:-12] + chunk + data[-12:]
    for read in (read_header, decode):
        with pytest.raises(BadImage, match="animated") as caught:
            read(data)
        assert caught.value.status == "unsupported"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"\0\0\0\x1cftypheic", "HEIC"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"P5\n16 16\n255\n", "PNM"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"II\xbc\x01", "JPEG XR"),
    ],
)
def test_another_format_is_unsupported_by_name(data: bytes, name: str) -> None:
    for read in (read_header, decode):
        with pytest.raises(BadImage, match=name) as caught:
            read(data)
        assert caught.value.status == "unsupported"


@pytest.mark.parametrize("compression", COMPRESSIONS.values(), ids=COMPRESSIONS)
@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("photometric", [0, 1])
def test_a_half_written_tiff_is_noticed_however_it_is_turned(
    compression: int, orientation: int, photometric: int
) -> None:
    tags: dict[int, TagValues | None] = {274: (orientation,), 262: (photometric,)}
    whole = write_tiff(GREY, compression=compression, tags=tags)
    begin = 8
    end = begin + first_directory(whole).tags[Tag.STRIP_COUNTS][0]
    kept = begin + (end - begin) // 3
    half = whole[:kept] + bytes(end - kept) + whole[end:]
    with pytest.raises(BadImage, match="half-written"):
        decode(half)
