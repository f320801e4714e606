from __future__ import annotations

import pytest

from ctcedge.discovery.naming import Crop, Naming, Skipped
from ctcedge.errors import SettingsError


def read(name: str, naming: Naming | None = None) -> Crop:
    found = (naming or Naming()).read(name, "FOLDER")
    assert isinstance(found, Crop), found
    return found


@pytest.mark.parametrize(
    ("name", "cell", "channel"),
    [
        ("00034_BF.png", "00034", "BF"),
        ("00034_bf.PNG", "00034", "BF"),
        ("Cell_00034_Brightfield.tif", "00034", "BF"),
        ("cell-34_bright-field.TIFF", "34", "BF"),
        ("CELL34_Bright_Field.tiff", "34", "BF"),
        ("34 bright field.png", "34", "BF"),
        ("event.7.trans.tif", "7", "BF"),
        ("A_00034_TL.png", "A_00034", "BF"),
        ("img_34_DAPI.tif", "34", "DAPI"),
        ("34_hoechst.tif", "34", "DAPI"),
        ("34_CK.png", "34", "PE"),
        ("34_CD45.png", "34", "APC"),
        ("34_fitc.png", "34", "FITC"),
        ("cell_BF.png", "cell", "BF"),
        ("3[red]4 'x'\n\x1b[31m_BF.png", "3[red]4 'x'\n\x1b[31m", "BF"),
        ("zélie_BF.png", "zélie", "BF"),
        ("0\udcff1_BF.png", "0\udcff1", "BF"),
    ],
)
def test_default_pattern(name: str, cell: str, channel: str) -> None:
    assert read(name) == Crop(name, "FOLDER", cell, channel)


@pytest.mark.parametrize(
    "name",
    ["00034.png", "labels.csv", "00034_BF.jpg", "00034_BF.png.bak", "_BF.png", "34_XYZ.png"],
)
def test_what_the_default_pattern_does_not_understand(name: str) -> None:
    found = Naming().read(name, "FOLDER")
    assert isinstance(found, Skipped)
    assert found.kind == "unmatched"


def test_an_unknown_channel_is_named() -> None:
    found = Naming().read("34_XYZ.png", "FOLDER")
    assert isinstance(found, Skipped)
    assert "'XYZ'" in found.reason


@pytest.mark.parametrize(
    ("path", "sample"), [("1_BF.png", "FOLDER"), ("S1/1_BF.png", "S1"), ("a/b/1_BF.png", "a/b")]
)
def test_the_sample_is_the_parent_folder(path: str, sample: str) -> None:
    assert read(path).sample == sample


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        (r"(?P<cell>\d+)\.png", "S/007.png", Crop("S/007.png", "S", "007", "BF")),
        (
            r"(?P<sample>\w+?)-(?P<cell>\d+)-(?P<channel>\w+)\.png",
            "S/P1-9-DAPI.png",
            Crop("S/P1-9-DAPI.png", "P1", "9", "DAPI"),
        ),
        (
            r"(?P<sample>\w+)/.*/(?P<cell>\d+)\.png",
            "P1/x/y/9.png",
            Crop("P1/x/y/9.png", "P1", "9", "BF"),
        ),
        (r"(?P<cell>\d+)(?P<channel>_\w+)?\.png", "9.png", Crop("9.png", "FOLDER", "9", "BF")),
        (r"(?P<cell> .+)\.png", " 0 9.png", Crop(" 0 9.png", "FOLDER", " 0 9", "BF")),
    ],
)
def test_own_patterns(pattern: str, path: str, expected: Crop) -> None:
    assert read(path, Naming(pattern)) == expected


@pytest.mark.parametrize("name", ["9.png.bak", "x9.png"])
def test_a_pattern_matches_in_full(name: str) -> None:
    assert isinstance(Naming(r"(?P<cell>\d+)\.png").read(name, "FOLDER"), Skipped)


def test_a_pattern_whose_cell_is_empty_is_no_match() -> None:
    found = Naming(r"(?P<cell>\d*)\.png").read(".png", "FOLDER")
    assert isinstance(found, Skipped)
    assert "empty" in found.reason


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(\d+)\.png", "group named cell"),
        (r"(?P<cell>\d+", "not a regular expression"),
        (r"(?P<cell>a{99999999999999999999})", "not a regular expression"),
        (r"(?P<cell>\d+)(?P<Chanel>x)", "unknown group 'Chanel'"),
        ("", "group named cell"),
        (r"(?P<cell>[[a])", "nested set"),
    ],
)
def test_a_wrong_pattern_is_explained(pattern: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Naming(pattern)


def test_own_aliases_replace_those_of_their_channel_alone() -> None:
    naming = Naming(channels={"BF": ("Phase Contrast", "ch1")})
    assert read("1_CH1.png", naming).channel == "BF"
    assert read("1_PhaseContrast.png", naming).channel == "BF"
    assert read("1_DAPI.png", naming).channel == "DAPI"
    assert isinstance(naming.read("1_BF.png", "FOLDER"), Skipped)


def test_own_channels_come_first() -> None:
    assert read("1_TL.png", Naming(channels={"Lamp": ("TL",)})).channel == "Lamp"


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ({"BF": ()}, "at least one alias of BF"),
        ({"A": ("x-y",), "B": ("XY",)}, "'XY' is given for both A and B"),
    ],
)
def test_a_wrong_channel_table_is_explained(
    channels: dict[str, tuple[str, ...]], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        Naming(channels=channels)
