"""Images whose names are not understood are found; other channels are not among them."""

from __future__ import annotations

import pytest

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.naming import Crop, Naming
from ctcedge.discovery.not_understood import is_image_like, not_understood

ALIAS_FREE = r"(?P<cell>\d+)_hell\.png"
BY_FOLDER = r"(?P<sample>[^/]+)/ch0/(?P<cell>\d+)\.png"


def missed(pattern: str | None, *paths: str) -> list[str]:
    naming = Naming(pattern)
    entries = [naming.read(path, "F") for path in paths]
    crops = [e.path for e in entries if isinstance(e, Crop) and e.channel == BRIGHT_FIELD]
    skipped = [entry for entry in entries if not isinstance(entry, Crop)]
    return [entry.path for entry in not_understood(skipped, crops, naming)]


@pytest.mark.parametrize(
    "path",
    [
        "S/2.png",
        "S/2_BF.jpg",
        "S/2_BF.bmp",
        "S/1_BF.jpg",  # the same cell, of a format that is not read
        "S/1_BF (2).png",
        "S/1_BF_copy.png",
        "S/2_XYZ.png",
        "S/2_XYZ.czi",
        "S/BF_1.tif",
        "T/1_XYZ.png",  # another folder
    ],
)
def test_images_that_no_rule_understands(path: str) -> None:
    assert missed(None, "S/1_BF.png", "S/1_DAPI.png", path) == [path]


@pytest.mark.parametrize(
    "path", ["S/1_XYZ.png", "S/1_DAPI.jpg", "S/labels.csv", "S/1_DAPI.png", "ctcedge-report.html"]
)
def test_other_channels_and_other_files_are_not_counted(path: str) -> None:
    assert missed(None, "S/1_BF.png", path) == []


@pytest.mark.parametrize(
    ("pattern", "crop", "others", "counted"),
    [
        (r"(?P<cell>\d+)_BF\.png", "1_BF.png", ["1_DAPI.png", "1_odd.tif"], ["2_DAPI.png"]),
        (r"(?P<cell>\d+)_Bright Field\.png", "1_Bright Field.png", ["1_DAPI.png"], ["1_x y.png"]),
        (ALIAS_FREE, "1_hell.png", ["1_dunkel.png"], ["2_dunkel.png", "1_hell.jpg"]),
        (r"(?P<cell>\d+)_DAPI\.png", "1_DAPI.png", ["1_BF.png", "1_PE.png"], ["2_BF.png"]),
        (r"(?P<cell>\d+)\.png", "1.png", ["1_DAPI.png", "DAPI-1.png"], ["1_odd.png", "2_PE.png"]),
        (r"P1_(?P<cell>\d+)\.png", "P1_1.png", ["P1_1_PE.png"], ["P2_1.png"]),
        (BY_FOLDER, "S/ch0/1.png", [], ["S/ch0/2.jpg", "S/3.png"]),
        (
            r"(?P<sample>[^/]+)/BF/(?P<cell>\d+)\.png",
            "S/BF/1.png",
            ["S/DAPI/1.png", "S/odd/1.png"],
            ["S/DAPI/2.png"],
        ),
    ],
)
def test_other_channels_under_a_pattern_without_channel(
    pattern: str, crop: str, others: list[str], counted: list[str]
) -> None:
    assert missed(pattern, crop, *others, *counted) == counted


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a/1.PNG", True), ("1.jpeg", True), ("1.ome.tiff", True), ("1.txt", False), ("png", False)],
)
def test_what_looks_like_an_image(path: str, *, expected: bool) -> None:
    assert is_image_like(path) == expected
