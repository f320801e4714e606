"""TIFF files: what the header states, and whether the pixel data are all there.

Whatever the header states is either heeded by `tiff_pixels` or refused here by name, before
anything is decoded: a sound file of a kind that is not read is `unsupported`, never `unreadable`.

TIFF has no checksums, except within deflated strips: bytes that changed and still make an image
cannot be noticed. `decode.decode` lists what is noticed of a TIFF that is still being written.

Sources: TIFF 6.0 and its supplements; libtiff's list of compressions.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple, NoReturn

from ctcedge.errors import BadImage
from ctcedge.images.description import described_planes, is_signed
from ctcedge.images.orientation import UPRIGHT, swaps_sides
from ctcedge.images.scale import tiff_um_per_px
from ctcedge.images.tiff_directory import Directory, Tag, first_directory
from ctcedge.images.types import MAX_PIXELS, ImageHeader, check_limits

NO_COMPRESSION, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 7, 8, 32946, 32773
DEFLATED = {DEFLATE, OLD_DEFLATE}
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, YCBCR = 0, 1, 2, 6
_READ_COMPRESSIONS = {NO_COMPRESSION, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS}
_WITH_PREDICTOR = {LZW, *DEFLATED}
_COMPRESSIONS = {
    2: "CCITT",
    3: "CCITT fax",
    4: "CCITT fax",
    6: "old-style JPEG",
    9: "JBIG",
    10: "JBIG",
    32766: "NeXT",
    32771: "CCITT",
    32809: "ThunderScan",
    32908: "Pixar",
    32909: "Pixar",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34676: "SGI Log",
    34677: "SGI Log",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    34925: "LZMA",
    34933: "PNG",
    34934: "JPEG XR",
    22610: "JPEG XR",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_COLOUR_KINDS = {
    3: "palette colours",
    4: "a transparency mask",
    5: "CMYK colours",
    8: "CIE L*a*b* colours",
    9: "ICC L*a*b* colours",
    10: "ITU L*a*b* colours",
    32803: "raw colour-filter values",
    32844: "SGI LogL values",
    32845: "SGI LogLuv colours",
    34892: "raw linear values",
}
_SAMPLE_FORMATS = {
    2: "signed values",
    3: "floating-point values",
    4: "values of undefined type",
    5: "complex signed values",
    6: "complex floating-point values",
}
_ZERO_TAIL = bytes(8)
"""End of a strip that is not written yet. No encoder ends one with zeros: LZW and JPEG end in a
marker, deflate in a checksum, and PackBits writes equal bytes as one run."""
_BITS = {8, 10, 12, 14, 16}
_EXPORT_ONE = "export one image a file, or name the channels in the metadata and give --out"
_EXPORT_GREY = "export as grey of 8 or 16 bits, without compression or with LZW or deflate"


class TiffLayout(NamedTuple):
    """How the pixels of a TIFF are stored, all of it supported.

    Attributes:
        header: of the image as it is shown.
        directory: the tags.
        width: of the stored pixels.
        height: of the stored pixels.
        samples: values a pixel.
        photometric: one of the constants of this module.
        compression: one of the constants of this module.
        has_differences: whether a row holds differences between neighbours (predictor 2).
        orientation: how the stored pixels are turned to be shown.
        tile: width and height of a tile; None for strips.
        offsets: of the strips or tiles in the file.
        counts: stored bytes of each.
        sizes: bytes of each once it is decompressed.
    """

    header: ImageHeader
    directory: Directory
    width: int
    height: int
    samples: int
    photometric: int
    compression: int
    has_differences: bool
    orientation: int
    tile: tuple[int, int] | None
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def pixel_bits(self) -> int:
        """Bits of a pixel."""
        return self.samples * self.header.bits


def tiff_header(data: bytes) -> ImageHeader:
    """Read and check the header of a TIFF file; see `header.read_header`."""
    layout = tiff_layout(data)
    if layout.compression in DEFLATED:
        for _ in inflated_pieces(data, layout):
            pass
    return layout.header


def tiff_layout(data: bytes) -> TiffLayout:
    """Read the header of a TIFF file, and check that its pixel data are all there.

    Raises:
        BadImage: the file is damaged, as far as can be seen without decompressing it, or of a kind
            that is not supported.
    """
    try:
        directory = first_directory(data)
    except (struct.error, OverflowError):
        raise BadImage("unreadable", "truncated or damaged TIFF") from None
    if directory.another_page:
        _refuse("several pages", _EXPORT_ONE)
    _check_size(directory)
    _check_planes(directory)
    layout = page_layout(directory, MAX_PIXELS)
    check_pixel_data(data, layout)
    return layout


def _check_size(directory: Directory) -> None:
    if Tag.WIDTH not in directory.tags or Tag.HEIGHT not in directory.tags:
        raise BadImage("unreadable", "damaged TIFF: it states no size")


def page_layout(directory: Directory, max_pixels: int) -> TiffLayout:
    """Read how the pixels of one page are stored, whatever other pages or planes there are.

    Args:
        directory: of the page.
        max_pixels: width times height of the largest page that is read.

    Raises:
        BadImage: it is damaged or of a kind that is not supported.
    """
    _check_size(directory)
    tags = directory.tags
    bits = _checked_bits(directory)
    samples = directory.first(Tag.SAMPLES, 1)
    _check_colours(directory, samples, bits)
    _check_compression(directory, bits)
    width, height = tags[Tag.WIDTH][0], tags[Tag.HEIGHT][0]
    orientation = directory.first(Tag.ORIENTATION, UPRIGHT)
    shown = (height, width) if swaps_sides(orientation) else (width, height)
    header = check_limits(ImageHeader("TIFF", *shown, bits, tiff_um_per_px(directory)), max_pixels)
    tile, offsets, counts, sizes = _pieces(directory, width, height, samples * bits, max_pixels)
    return TiffLayout(
        header,
        directory,
        width,
        height,
        samples,
        tags[Tag.PHOTOMETRIC][0],
        directory.first(Tag.COMPRESSION, NO_COMPRESSION),
        directory.first(Tag.PREDICTOR, 1) == 2,
        orientation,
        tile,
        offsets,
        counts,
        sizes,
    )


def _refuse(kind: str, cure: str) -> NoReturn:
    raise BadImage("unsupported", f"TIFF with {kind}: {cure}")


def _check_planes(directory: Directory) -> None:
    """Refuse a file that holds more than one image, or only part of one."""
    if directory.counts.get(Tag.SUB_DIRECTORIES, 0):
        _refuse("further images in SubIFDs", _EXPORT_ONE)
    if directory.first(Tag.NEW_SUBFILE_TYPE, 0) & 5 or directory.first(Tag.SUBFILE_TYPE, 1) == 2:
        _refuse("a preview or a mask alone", "export the image itself")
    planes = directory.counts.get(Tag.METAMORPH_PLANES, 1)
    if Tag.IMAGE_DEPTH in directory.tags or Tag.TILE_DEPTH in directory.tags:
        planes = max(directory.first(Tag.IMAGE_DEPTH, 1), directory.first(Tag.TILE_DEPTH, 1))
    if planes == 1 and directory.texts:
        planes = described_planes(directory.texts.get(Tag.DESCRIPTION, b""))
    if planes != 1:
        _refuse(f"{planes:,} planes in one page", _EXPORT_ONE)


def _checked_bits(directory: Directory) -> int:
    """The bits of each sample, all alike and unsigned."""
    tags = directory.tags
    for number in tags.get(Tag.SAMPLE_FORMAT, ()):
        if number != 1:
            kind = _SAMPLE_FORMATS.get(number, f"sample format {number}, which the standard lacks")
            _refuse(kind, "export unsigned values of 8 or 16 bits")
    if directory.texts and is_signed(directory.texts.get(Tag.DESCRIPTION, b"")):
        _refuse("signed values, which ImageJ wrote", "export unsigned values of 8 or 16 bits")
    stated = tags.get(Tag.BITS, (1,))
    bits = stated[0]
    if bits not in _BITS or stated.count(bits) != len(stated):
        names = ", ".join(map(str, sorted(set(stated))))
        raise BadImage(
            "unsupported", f"TIFF of {names} bits; 8, 10, 12, 14 and 16 bits are accepted"
        )
    return bits


def _check_colours(directory: Directory, samples: int, bits: int) -> None:
    """Refuse what is neither one grey value a pixel nor RGB, opaque where it states opacity."""
    tags = directory.tags
    photometric = directory.first(Tag.PHOTOMETRIC, -1)
    if samples < 1:
        raise BadImage("unreadable", "damaged TIFF: it states no value a pixel")
    if photometric == -1:
        _refuse("no statement whether it is grey (PhotometricInterpretation)", _EXPORT_GREY)
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, YCBCR):
        kind = _COLOUR_KINDS.get(photometric, "unknown colours")
        _refuse(f"{kind} (colour kind {photometric})", _EXPORT_GREY)
    grey = photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO)
    stated_bits = len(tags.get(Tag.BITS, ()))
    if grey and max(samples, stated_bits) > 1:
        number = max(samples, stated_bits)
        _refuse(f"{number} grey values a pixel ({number} channels)", "export one channel a file")
    if not grey and (samples not in (3, 4) or stated_bits not in (1, samples)):
        _refuse(f"{samples} channels of colour", "export grey or RGB")
    if samples == 4 and len(tags.get(Tag.EXTRA_SAMPLES, (0,))) != 1:
        _refuse("channels that do not fit its colours", "export grey or RGB")
    planar = directory.first(Tag.PLANAR, 1)
    if planar != 1 and (samples > 1 or planar != 2):
        _refuse("separate colour planes", "export interleaved or grey")
    if samples > 1 and bits not in (8, 16):
        _refuse(f"colours of {bits} bits", _EXPORT_GREY)


def _check_compression(directory: Directory, bits: int) -> None:
    photometric = directory.tags[Tag.PHOTOMETRIC][0]
    compression = directory.first(Tag.COMPRESSION, NO_COMPRESSION)
    if compression not in _READ_COMPRESSIONS:
        kind = _COMPRESSIONS.get(compression, "an unknown")
        _refuse(
            f"{kind} compression ({compression})",
            "export without compression, or with LZW or deflate",
        )
    if compression == JPEG and (bits != 8 or photometric == WHITE_IS_ZERO):
        _refuse(f"JPEG compression of {bits} bits, or with white as zero", _EXPORT_GREY)
    if photometric == YCBCR and (compression != JPEG or directory.first(Tag.SAMPLES, 1) != 3):
        _refuse(f"YCbCr colours (colour kind {YCBCR}) that are not JPEG's", _EXPORT_GREY)
    predictor = directory.first(Tag.PREDICTOR, 1)
    if predictor == 2 and (compression not in _WITH_PREDICTOR or bits not in (8, 16)):
        _refuse("differences (predictor 2) where no standard has them", _EXPORT_GREY)
    if predictor not in (1, 2):
        _refuse(f"predictor {predictor}", _EXPORT_GREY)
    if directory.first(Tag.FILL_ORDER, 1) != 1:
        _refuse("reversed bits (FillOrder)", _EXPORT_GREY)


def check_pixel_data(data: bytes, layout: TiffLayout) -> None:
    """Check that every strip or tile is in the file and, as far as can be checked, complete."""
    offsets, counts, sizes = layout.offsets, layout.counts, layout.sizes
    if len(offsets) < len(sizes):
        raise BadImage("unreadable", "damaged TIFF: it does not say where its pixels are")
    if layout.compression == NO_COMPRESSION:
        if Tag.COMPRESSION not in layout.directory.tags and 0 < sum(counts) < sum(sizes):
            _refuse("a compression that it does not state", _EXPORT_GREY)
        counts = sizes
    elif len(counts) < len(sizes):
        raise BadImage("unreadable", "damaged TIFF: it does not say where its pixels end")
    elif sum(counts) > len(data):
        raise BadImage("unreadable", "looks half-written: TIFF whose pixels are not all there")
    for offset, count, _ in zip(offsets, counts, sizes, strict=False):
        end = offset + count
        if offset == 0 or count == 0 or end > len(data):
            raise BadImage("unreadable", "looks half-written: TIFF whose pixels are not all there")
        if layout.compression != NO_COMPRESSION and data.endswith(_ZERO_TAIL, offset, end):
            raise BadImage("unreadable", "looks half-written: TIFF whose pixels end in zeros")


def _pieces(
    directory: Directory, width: int, height: int, pixel_bits: int, max_pixels: int
) -> tuple[tuple[int, int] | None, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Size of a tile; and of every strip or tile its offset, stored and decompressed bytes."""
    tags = directory.tags
    if Tag.TILE_WIDTH in tags or Tag.TILE_HEIGHT in tags:
        tile = directory.first(Tag.TILE_WIDTH, 0), directory.first(Tag.TILE_HEIGHT, 0)
        if not 0 < tile[0] * tile[1] <= max_pixels:
            raise BadImage(
                "unreadable", f"damaged TIFF: it has tiles of {tile[0]} x {tile[1]} pixels"
            )
        number = -(-width // tile[0]) * -(-height // tile[1])
        if number * tile[0] * tile[1] > 4 * max_pixels:
            raise BadImage("unreadable", "damaged TIFF: its tiles are far larger than its pixels")
        sizes = ((tile[0] * pixel_bits + 7) // 8 * tile[1],) * number
        # Some writers store tiles under the tags of strips.
        offsets = tags.get(Tag.TILE_OFFSETS) or tags.get(Tag.STRIP_OFFSETS, ())
        counts = tags.get(Tag.TILE_COUNTS) or tags.get(Tag.STRIP_COUNTS, ())
        return tile, offsets, counts, sizes
    row = (width * pixel_bits + 7) // 8
    rows = min(directory.first(Tag.ROWS_PER_STRIP, height), height)
    if rows == 0:
        raise BadImage("unreadable", "damaged TIFF: it has strips of no rows")
    whole, last_rows = divmod(height, rows)
    sizes = (rows * row,) * whole + ((last_rows * row,) if last_rows else ())
    return None, tags.get(Tag.STRIP_OFFSETS, ()), tags.get(Tag.STRIP_COUNTS, ()), sizes


def inflated_pieces(data: bytes, layout: TiffLayout) -> list[bytes]:
    """Inflate each strip or tile to its end, where the checksum is.

    By zlib, as libtiff does: another inflater may accept what libtiff refuses.

    Raises:
        BadImage: one is damaged, or shorter or longer than it may be: a last strip may be padded to
            the height of the others.
    """
    largest = max(layout.sizes)
    pieces = []
    for offset, count, size in zip(layout.offsets, layout.counts, layout.sizes, strict=False):
        inflate = zlib.decompressobj()
        try:
            piece = inflate.decompress(data[offset : offset + count], largest + 1)
        except zlib.error:
            piece = b""
        if not (size <= len(piece) <= largest and inflate.eof):
            raise BadImage("unreadable", "damaged TIFF: its pixels do not decompress")
        pieces.append(piece[:size])
    return pieces
