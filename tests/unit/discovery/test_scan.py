from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ctcedge.discovery.naming import Crop, Naming
from ctcedge.discovery.scan import find_one, iter_entries, list_folder, require_crops
from ctcedge.errors import NoCropsError


def listed(folder: Path) -> dict[str, str]:
    return {
        found.path: found.channel if isinstance(found, Crop) else f"{found.kind}: {found.reason}"
        for found in iter_entries(folder, Naming())
    }


def test_find_walks_in_sorted_order_and_passes_over_sidecars(tmp_path: Path) -> None:
    for name in ("b/2_BF.png", "b/1_BF.png", "a/c/1_DAPI.tif", "1_BF.png", "1_BF.png.ctc.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(listed(tmp_path)) == ["1_BF.png", "a/c/1_DAPI.tif", "b/1_BF.png", "b/2_BF.png"]


def test_what_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real_BF.png").touch()
    (tmp_path / "link_BF.png").symlink_to(tmp_path / "real_BF.png")
    (tmp_path / "dangling_BF.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "elsewhere").symlink_to(tmp_path.parent, target_is_directory=True)
    os.mkfifo(tmp_path / "fifo_BF.png")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("socket_BF.png")
    (tmp_path / "folder_BF.png").mkdir()
    (tmp_path / "folder_BF.png" / "1_BF.png").touch()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "1_BF.png").touch()
    found = listed(tmp_path)
    assert found.pop("real_BF.png") == "BF"
    assert found == {
        ".hidden": "ignored: hidden",
        "dangling_BF.png": "ignored: symbolic link",
        "elsewhere": "ignored: symbolic link",
        "fifo_BF.png": "ignored: FIFO",
        "folder_BF.png": "ignored: directory with an image's name",
        "link_BF.png": "ignored: symbolic link",
        "socket_BF.png": "ignored: socket",
    }
    for path in (*found, "folder_BF.png/1_BF.png", ".hidden/1_BF.png", "gone_BF.png"):
        assert find_one(tmp_path, "S", path, Naming()) is None, path


def test_find_one_reads_a_path_as_find_does(tmp_path: Path) -> None:
    for name in ("S/1_BF.png", "2_DAPI.png", "x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for found in iter_entries(tmp_path, Naming()):
        assert find_one(tmp_path, tmp_path.name, found.path, Naming()) == found


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "1_BF.png").touch()
    (tmp_path / "link").symlink_to("real", target_is_directory=True)
    (found,) = iter_entries(tmp_path / "link", Naming())
    assert found == Crop("1_BF.png", "real", "1", "BF")


def test_the_sample_of_the_current_folder_is_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1_BF.png").touch()
    monkeypatch.chdir(tmp_path)
    (found,) = iter_entries(Path("."), Naming())
    assert isinstance(found, Crop)
    assert found.sample == tmp_path.name


def test_find_one_follows_no_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "S").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "1_BF.png").touch()
    (tmp_path / "S" / "linked").symlink_to(tmp_path / "outside")
    assert find_one(tmp_path / "S", "S", "linked/1_BF.png", Naming()) is None


@pytest.mark.parametrize(
    "name",
    ["34.png", "P1 c0007 (vis).tif", "a.b.png", "x'y_1.tiff", "image.png", "ch1_cell_0042.PNG"],
)
def test_a_suggested_pattern_fits_the_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(NoCropsError) as caught:
        require_crops(tmp_path, list_folder(tmp_path, Naming()))
    text = str(caught.value)
    assert name in text.replace("\\", "")
    start = text.index("--pattern '") + len("--pattern '")
    pattern = text[start : text.index("'. 'ctcedge inspect'")]
    assert isinstance(Naming(pattern).read(name, "F"), Crop)


def test_names_that_were_not_understood_are_shown_before_those_that_were(tmp_path: Path) -> None:
    for name in ("1_DAPI.png", "1_Vis.png"):
        (tmp_path / name).touch()
    with pytest.raises(NoCropsError) as caught:
        require_crops(tmp_path, list_folder(tmp_path, Naming()))
    assert "1_Vis.png" in str(caught.value)
    assert "1_DAPI.png" not in str(caught.value)


def test_other_formats_are_named_without_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "1_BF.jpg").touch()
    with pytest.raises(NoCropsError) as caught:
        require_crops(tmp_path, list_folder(tmp_path, Naming()))
    assert "reads PNG and TIFF, not JPG" in str(caught.value)
    assert "--pattern" not in str(caught.value)
