from __future__ import annotations

import unicodedata

import pytest

from ctcedge.discovery.naming import Crop, Naming, Skipped
from ctcedge.errors import SettingsError


@pytest.mark.parametrize(
    ("template", "path", "sample", "cell", "channel"),
    [
        ("{sample}/cell {cell}_{channel}.png", "P1/cell 0034_BF.png", "P1", "0034", "BF"),
        ("{sample}/cell {cell}_{channel}.png", "P1/CELL 3_dapi.PNG", "P1", "3", "DAPI"),
        ("{sample}/{cell}_{channel}.png", "2025/P1/3_BF.png", "2025/P1", "3", "BF"),
        ("{sample}/{channel}/{cell}.tif", "a/P1/Hellfeld/7.tif", "a/P1", "7", "BF"),
        ("{sample}/{sample}_{cell}.png", "P1/P1_3.png", "P1", "3", "BF"),
        ("{cell}_{channel}", "P1/3_BF.tif", "P1", "3", "BF"),
        ("{cell}_{channel}", "P1/3_bright field.ome.tif", "P1", "3", "BF"),
        ("{cell}_*.png", "3_2026.png", "FOLDER", "3", "BF"),
        ("x{{{cell}}} (1+).png", "x{3} (1+).png", "FOLDER", "3", "BF"),
        ("{cell}.*", "3.tif", "FOLDER", "3", "BF"),
    ],
)
def test_names_that_a_template_reads(
    template: str, path: str, sample: str, cell: str, channel: str
) -> None:
    assert Naming(template).read(path, "FOLDER") == Crop(path, sample, cell, channel)


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("{sample}/{cell}.png", "3.png"),
        ("{sample}/{sample}_{cell}.png", "P1/P2_3.png"),
        ("cell {cell}.png", "3.png"),
        ("{cell}.png", "3.tif"),
        ("x/{cell}.png", "y/3.png"),
        ("{cell}.png", "3.png.bak"),
        ("a.{cell}.png", "ab3.png"),
    ],
)
def test_names_that_a_template_does_not_read(template: str, path: str) -> None:
    assert isinstance(Naming(template).read(path, "FOLDER"), Skipped)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{sample}.png", r"needs \{cell\}"),
        ("cells.png", r"needs \{cell\}.*group named cell"),
        ("{cell}_{colour}.png", r"unknown field '\{colour\}'"),
        ("{}_{cell}.png", r"unknown field '\{\}'"),
        ("{sample}{cell}.png", r"nothing between '\{sample\}' and '\{cell\}'"),
        ("{cell}*.png", r"nothing between '\{cell\}' and '\*'"),
        ("{cell_1.png", "single '{': write '{{'"),
        ("{cell}_}.png", "single '}': write '}}'"),
    ],
)
def test_a_wrong_template_is_explained(template: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Naming(template)


@pytest.mark.parametrize(
    ("word", "channel"),
    [
        ("Hellfeld", "BF"),
        ("Campo chiaro", "BF"),
        ("champ_clair", "BF"),
        ("CAMPO-CLARO", "BF"),
        ("Lumière transmise", "BF"),
        ("lumiere-transmise", "BF"),
        ("明场", "BF"),
        ("Zellkern", "DAPI"),
        ("Núcleo", "DAPI"),
        ("细胞核", "DAPI"),
        ("Cytokératine", "PE"),
    ],
)
def test_channels_in_several_languages(word: str, channel: str) -> None:
    for form in ("NFC", "NFD"):
        path = unicodedata.normalize(form, f"3_{word}.png")
        assert Naming().read(path, "F") == Crop(path, "F", "3", channel)
        assert Naming("{cell}_{channel}.png").read(path, "F") == Crop(path, "F", "3", channel)


def test_own_channels_of_several_words() -> None:
    naming = Naming(channels={"BF": ("Phase Contrast 2",)})
    assert naming.read("3_phase_contrast_2.png", "F") == Crop(
        "3_phase_contrast_2.png", "F", "3", "BF"
    )
