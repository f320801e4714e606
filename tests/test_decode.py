from __future__ import annotations

import struct

import numpy as np
import pytest
from support import encoded, png, png_chunk, tiff

from ctcedge.decode import decode
from ctcedge.errors import BadImage

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_pixels_are_kept_exactly(suffix: str, dtype: type) -> None:
    pixels = NOISE.astype(dtype) * (257 if dtype == np.uint16 else 1)
    decoded = decode(encoded(pixels.astype(dtype), suffix))
    assert decoded.pixels.dtype == dtype
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


def test_a_png_with_too_few_rows_is_unreadable() -> None:
    with pytest.raises(BadImage, match="damaged PNG"):
        decode(png(16, 16, rows=b"\0" * 17 * 8))


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
