"""Bins, snapshots and what the setting `ignore` names are passed over, and listed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from unicodedata import normalize

import pytest

from ctcedge.discovery.ignore import BIN_REASON, IGNORE_REASON
from ctcedge.discovery.naming import Naming
from ctcedge.discovery.scan import find_one, list_folder
from tests.helpers.cli_runner import call, run
from tests.helpers.sidecar_files import sidecars

BINS = [
    "#recycle",
    "@Recycle",
    "$RECYCLE.BIN",
    "~snapshot",
    "@GMT-2026.11.30-12.00.00",
    "#snapshot",
]


def touched(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


@pytest.mark.parametrize("name", BINS)
def test_bins_and_snapshots_are_passed_over_at_any_depth(tmp_path: Path, name: str) -> None:
    deep = f"a/{name.upper()}/S/1_BF.png"
    folder = touched(tmp_path, "S/1_BF.png", f"{name}/S/1_BF.png", deep)
    listing = list_folder(folder, Naming())
    assert [crop.path for crop in listing.crops] == ["S/1_BF.png"]
    assert {(entry.path, entry.reason) for entry in listing.passed_over()} == {
        (name, BIN_REASON),
        (f"a/{name.upper()}", BIN_REASON),
    }
    assert find_one(folder, "F", f"{name}/S/1_BF.png", Naming()) is None
    assert find_one(folder, "F", deep, Naming()) is None


@pytest.mark.parametrize(
    ("glob", "left"),
    [
        ("old", ["new/1_BF.png", "new/x_old_BF.png"]),
        ("*old*", ["new/1_BF.png"]),
        ("new/*", ["old/1_BF.png"]),
        ("./new", ["new/1_BF.png", "new/x_old_BF.png", "old/1_BF.png"]),
        ("new/x*", ["new/1_BF.png", "old/1_BF.png"]),
    ],
)
def test_what_the_setting_names_is_passed_over(tmp_path: Path, glob: str, left: list[str]) -> None:
    paths = ["new/1_BF.png", "new/x_old_BF.png", "old/1_BF.png"]
    naming = Naming(ignore=["nothing", glob])
    listing = list_folder(touched(tmp_path, *paths), naming)
    assert [crop.path for crop in listing.crops] == left
    assert all(entry.reason == IGNORE_REASON for entry in listing.passed_over())
    assert [path for path in paths if find_one(tmp_path, "F", path, naming)] == left


def test_a_file_with_the_name_of_a_bin_is_only_a_file(tmp_path: Path) -> None:
    assert list_folder(touched(tmp_path, "#recycle"), Naming()).passed_over() == []


def test_classify_lists_what_it_passes_over(crops: Path) -> None:
    (crops / "#recycle").mkdir()
    (crops / "S1" / "00001_BF.png").rename(crops / "#recycle" / "00001_BF.png")
    (crops / "ctcedge.toml").write_text("[images]\nignore = ['S2']\n")
    before = len(list(crops.rglob("*_BF.*")))
    done = run("classify", crops)
    assert "#recycle: recycle bin" in done.stderr
    assert "S2: named by the setting 'ignore'" in done.stderr
    assert 0 < len(sidecars(crops)) < before
    assert all(path.startswith("S1/") for path in sidecars(crops))
    assert "#recycle" in call("inspect", crops).stdout


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("typed", ["NFC", "NFD"])
def test_names_are_compared_in_one_unicode_form(
    tmp_path: Path, on_disk: Literal["NFC", "NFD"], typed: Literal["NFC", "NFD"]
) -> None:
    names = [normalize(on_disk, name) for name in ("Müller/1_BF.png", "S/1_Détail.png")]
    folder = touched(tmp_path, *names)
    naming = Naming(ignore=[normalize(typed, "Müll*")])
    listing = list_folder(folder, naming)
    assert [entry.reason for entry in listing.passed_over()] == [IGNORE_REASON]
    naming = Naming(channels={"BF": (normalize(typed, "détail"),)})
    assert [crop.path for crop in list_folder(folder, naming).crops] == [names[1]]
