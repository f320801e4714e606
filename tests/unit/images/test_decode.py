from __future__ import annotations

import itertools
import struct

import cv2
import numpy as np
import pytest

from ctcedge.errors import BadImage
from ctcedge.images.decode import decode
from tests.helpers.drawn_cells import encoded
from tests.helpers.image_builder import png, png_chunk, tiff
from tests.helpers.real_data import DATA

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_pixels_are_kept_exactly(suffix: str, dtype: type) -> None:
    pixels = NOISE.astype(dtype) * (257 if dtype == np.uint16 else 1)
    decoded = decode(encoded(pixels.astype(dtype), suffix))
    assert decoded.pixels.dtype == dtype
    np.testing.assert_array_equal(decoded.pixels, pixels)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [1, 0], [2, 1], [0, 1, 2, 3, 4]])
def test_every_filter_of_a_png_is_undone_as_libpng_does(filters: list[int], bits: int) -> None:
    values = np.random.default_rng(1).integers(0, 256, (21, 14 * bits // 8), dtype=np.uint8)
    number = itertools.cycle(filters)
    rows = b"".join(bytes([next(number)]) + row.tobytes() for row in values)
    data = png(14, 21, bits=bits, rows=rows)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    decoded = decode(data)
    assert decoded.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(decoded.pixels, pixels)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_equal_channels_become_the_same_grey(suffix: str, dtype: type) -> None:
    pixels = NOISE.astype(dtype) * (257 if dtype == np.uint16 else 1)
    decoded = decode(encoded(np.stack([pixels.astype(dtype)] * 3, -1), suffix))
    np.testing.assert_array_equal(decoded.pixels, pixels)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_unequal_channels_are_weighed(suffix: str) -> None:
    blue_green_red = np.zeros((16, 16, 3), np.uint8)
    blue_green_red[..., 2] = 200
    assert set(decode(encoded(blue_green_red, suffix)).pixels.ravel()) == {60}


@pytest.mark.parametrize("alpha", [255, 254])
def test_only_opaque_alpha_is_dropped(alpha: int) -> None:
    pixels = np.dstack([NOISE, NOISE, NOISE, np.full_like(NOISE, 255)])
    pixels[3, 4, 3] = alpha
    if alpha == 255:
        np.testing.assert_array_equal(decode(encoded(pixels)).pixels, NOISE)
    else:
        with pytest.raises(BadImage, match="transparent"):
            decode(encoded(pixels))


def test_a_palette_becomes_its_colours() -> None:
    palette = png_chunk(b"PLTE", bytes([7, 7, 7] * 128 + [90, 90, 90] * 128))
    assert set(decode(png(16, 16, colour=3, before=palette)).pixels.ravel()) == {90}


def test_big_endian_values_are_read_in_their_order() -> None:
    data = struct.pack(">H", 1000) * 256
    assert set(decode(tiff(bits=16, order=">", data=data)).pixels.ravel()) == {1000}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_truncated_file_is_unreadable(suffix: str, share: float) -> None:
    data = encoded(NOISE, suffix)
    with pytest.raises(BadImage) as caught:
        decode(data[: int(len(data) * share)])
    assert caught.value.status == "unreadable"


@pytest.mark.parametrize("missing", [1, 100, 255])
def test_a_tiff_whose_pixels_end_early_is_unreadable(missing: int) -> None:
    with pytest.raises(BadImage) as caught:
        decode(tiff()[:-missing])
    assert caught.value.status == "unreadable"


@pytest.mark.parametrize(
    "data",
    [
        png(16, 16, rows=b"\0" * 17 * 8),
        png(16, 16, rows=b"\5" * 17 * 16),
        png(16, 16, colour=3),
        png(16, 16, before=png_chunk(b"tRNS", b"x")),
    ],
    ids=["too few rows", "unknown filter", "no palette", "transparency"],
)
def test_a_png_with_wrong_pixels_is_unreadable_and_libpng_silent(
    data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadImage, match="damaged PNG"):
        decode(data)
    assert capfd.readouterr() == ("", "")


def test_an_index_beyond_the_palette_is_black(capfd: pytest.CaptureFixture[str]) -> None:
    data = png(16, 16, colour=3, before=png_chunk(b"PLTE", bytes([9, 9, 9])))
    assert set(decode(data).pixels.ravel()) == {0}
    assert capfd.readouterr() == ("", "")


def test_an_interlaced_png_is_read() -> None:
    rows = b"".join(
        (b"\0" + bytes([shade]) * columns) * number
        for shade, columns, number in (
            *((10, 2, 2), (20, 2, 2), (30, 4, 2), (40, 4, 4)),
            *((50, 8, 4), (60, 8, 8), (70, 16, 8)),
        )
    )
    data = bytearray(png(16, 16, rows=rows))
    data[8:33] = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 1))
    pixels = decode(bytes(data)).pixels
    assert (pixels[1::2] == 70).all()
    assert pixels[0, :8].tolist() == [10, 60, 40, 60, 20, 60, 40, 60]


COMPRESSIONS = {"none": 1, "LZW": 5, "deflate": 8, "PackBits": 32773}


@pytest.mark.parametrize("compression", COMPRESSIONS.values(), ids=COMPRESSIONS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_with_a_zero_tail_looks_half_written(
    compression: int, channels: int, dtype: type
) -> None:
    pixels = np.maximum(NOISE, 1).astype(dtype)
    pixels = pixels if channels == 1 else np.stack([pixels] * 3, -1)
    options = [cv2.IMWRITE_TIFF_COMPRESSION, compression, cv2.IMWRITE_TIFF_ROWSPERSTRIP, 24]
    whole = cv2.imencode(".tif", pixels, options)[1].tobytes()
    begin, end = _only_strip(whole)
    for share in (0.0, 0.3, 0.7):
        kept = begin + int((end - begin) * share) | 1
        half = whole[:kept] + bytes(end - kept) + whole[end:]
        with pytest.raises(BadImage, match="half-written") as caught:
            decode(half)
        assert caught.value.status == "unreadable"
    decode(whole)


def _only_strip(data: bytes) -> tuple[int, int]:
    (start,) = struct.unpack_from("<I", data, 4)
    (number,) = struct.unpack_from("<H", data, start)
    entries = (struct.unpack_from("<HHII", data, start + 2 + 12 * i) for i in range(number))
    values = {tag: value for tag, _, _, value in entries}
    return values[273], values[273] + values[279]


def _black_from(row: int, column: int) -> np.ndarray:
    pixels = np.full((20, 30), 99, np.uint8)
    pixels.reshape(-1)[row * 30 + column :] = 0
    return pixels


@pytest.mark.parametrize(
    "pixels",
    [
        _black_from(15, 0),
        _black_from(19, 5),
        np.where(np.arange(600).reshape(20, 30) % 7, _black_from(15, 5), 0).astype(np.uint8),
        _black_from(15, 5)[::-1],
    ],
    ids=["padded with black rows", "less than a row", "fluorescence", "black at the top"],
)
def test_black_that_may_be_an_image_is_read(pixels: np.ndarray) -> None:
    data = encoded(pixels, ".tif")
    np.testing.assert_array_equal(decode(data).pixels, pixels)


def test_real_crops_are_not_taken_for_half_written() -> None:
    if not DATA.is_dir():
        pytest.skip(f"no {DATA}")
    paths = itertools.chain(
        itertools.islice(DATA.glob("jurkat/*/*.tif"), 500),
        itertools.islice(DATA.glob("breast/*/*.png"), 500),
    )
    for path in paths:
        pixels = decode(path.read_bytes()).pixels
        np.testing.assert_array_equal(decode(encoded(pixels, ".tif")).pixels, pixels)


@pytest.mark.parametrize(
    "data",
    [
        tiff(tags={65000: (3, 7), 700: (4, 9), 34675: (3, 1), 33723: (4, 1)}),
        png(16, 16, before=png_chunk(b"iCCP", b"x\0\0odd") + png_chunk(b"gAMA", bytes(4))),
        png(16, 16, before=png_chunk(b"sBIT", b"\xff") + png_chunk(b"tIME", b"odd")),
    ],
    ids=["TIFF tags", "PNG profile", "PNG time"],
)
def test_odd_metadata_is_no_reason_to_chatter(
    data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    decode(data)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("difference", "is_colour"), [(0, False), (2, False), (40, True)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_that_differ_are_noticed(
    suffix: str, difference: int, is_colour: bool, dtype: type
) -> None:
    grey = np.full((16, 16), 100)
    grey[0, 0] = 120
    pixels = np.stack([grey, grey, grey], -1)
    pixels[4, 5, 1] += difference
    pixels = (pixels * (257 if dtype == np.uint16 else 1)).astype(dtype)
    assert decode(encoded(pixels, suffix)).is_colour is is_colour
    assert not decode(encoded(pixels[..., 0], suffix)).is_colour


def test_a_colourful_palette_is_noticed() -> None:
    for shade, is_colour in ((90, False), (200, True)):
        palette = png_chunk(b"PLTE", bytes([90, shade, 90] * 256))
        assert decode(png(16, 16, colour=3, before=palette)).is_colour is is_colour
