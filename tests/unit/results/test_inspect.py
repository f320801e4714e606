from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from ctcedge.results.inspect import inspect_folder
from ctcedge.settings import ImageSettings
from tests.helpers.cli_runner import call, run
from tests.helpers.drawn_cells import cell, save
from tests.helpers.sidecar_files import sidecars, state


@pytest.fixture
def odd(crops: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save(crops / "S1" / "Cell_00001_BF.png", cell(side=(30, 40)))
    save(crops / "S2" / "00099_DAPI.png", cell())
    save(crops / "S2" / "00005_UV.png", cell())
    (crops / "S2" / "00077_BF.png").write_bytes(b"text")
    (crops / "link_BF.png").symlink_to("labels.csv")
    os.mkfifo(crops / "fifo_BF.png")
    (crops / "folder_BF.png").mkdir()
    monkeypatch.chdir(crops)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("socket_BF.png")
    return crops


def test_what_a_folder_holds(odd: Path) -> None:
    before = state(odd)
    found = json.loads(run("inspect", odd, "--json", "--um-per-px", "0.3").stdout)
    assert found["um_per_px"] == 0.3
    assert found["crops"] == 6
    assert found["samples"] == {"S1": {"BF": 4, "DAPI": 1}, "S2": {"BF": 2, "DAPI": 1}}
    assert found["sizes"] == {"64 x 64": 4, "40 x 30": 1}
    assert found["bit_depths"] == {"8": 4, "16": 1}
    assert found["formats"] == {"PNG": 4, "TIFF": 1}
    (bad,) = found["bad"]
    assert bad["path"] == "S2/00077_BF.png"
    assert bad["reason"].startswith("unreadable")
    assert found["without_bright_field"] == [{"sample": "S2", "cell": "00099"}]
    assert found["repeated"] == [{"sample": "S1", "cell": "00001"}]
    unmatched = {each["path"]: each["reason"] for each in found["unmatched"]}
    assert set(unmatched) == {"labels.csv", "S2/00005_UV.png"}
    assert "'UV'" in unmatched["S2/00005_UV.png"]
    assert {each["path"]: each["reason"] for each in found["ignored"]} == {
        "link_BF.png": "symbolic link",
        "fifo_BF.png": "FIFO",
        "folder_BF.png": "directory with an image's name",
        "socket_BF.png": "socket",
    }
    assert state(odd) == before
    assert sidecars(odd) == {}


def test_what_is_ctcedges_own_is_no_name_that_was_not_understood(crops: Path) -> None:
    ours = (
        "ctcedge.toml",
        "ctcedge-report.html",
        "ctcedge-report-S_1-0123456789ab.html",
        "ctcedge-pseudonymised-report.html",
        "ctcedge-corrections-2026-01-02T03-04-05-678Z (1).json",
        ".ctcedge.pseudonym-key",
    )
    for name in (*ours, "report.html"):
        (crops / name).touch()
    found = json.loads(call("inspect", crops, "--json").stdout)
    left_out = [each["path"] for kind in ("unmatched", "ignored") for each in found[kind]]
    assert left_out == ["labels.csv", "report.html"]


def test_the_same_for_a_person(odd: Path) -> None:
    text = call("inspect", odd).stdout
    for words in ("S1", "S2", "64 x 64", "um/px: not set", "fifo_BF.png: FIFO", "00077_BF.png"):
        assert words in text


def test_an_empty_folder_is_no_error(tmp_path: Path) -> None:
    assert json.loads(call("inspect", tmp_path, "--json").stdout)["crops"] == 0
    call("inspect", tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_what_is_no_folder_is_exit_2(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    call("inspect", tmp_path / name, code=2)


def test_a_wrong_pattern_is_exit_2(tmp_path: Path) -> None:
    assert "--pattern" in call("inspect", tmp_path, "--pattern", "[", code=2).stderr


def test_bit_depths_of_16_bit_files(tmp_path: Path) -> None:
    save(tmp_path / "1_BF.png", cell(dtype=np.uint16))
    save(tmp_path / "2_BF.tif", cell(dtype=np.uint16))
    found = inspect_folder(tmp_path, ImageSettings())
    assert found.bit_depths == {16: 2}
