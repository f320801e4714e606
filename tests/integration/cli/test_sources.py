"""Cells as files of many pages, frames and index tables hold them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.helpers import stacks
from tests.helpers.cli_runner import call, classify
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, cell, save
from tests.helpers.sidecar_files import sidecars, state

OME = stacks.ome(["Brightfield", "DAPI", "Cy5"])
STAIN = np.full((64, 64), 900, np.uint16)


def bright(diameter: float = CTC) -> np.ndarray:
    return cell(diameter, dtype=np.uint16, background=30_000.0, contrast=12_000.0)


def stack() -> list[np.ndarray]:
    return [bright(), STAIN, STAIN + 1]


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def crop(out: Path, path: str) -> np.ndarray:
    pixels = cv2.imread(str(out / "ctcedge-crops" / path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, path
    return pixels


def origin(out: Path, path: str) -> dict[str, Any]:
    found: dict[str, Any] = sidecars(out)[f"ctcedge-crops/{path}"]["image"]["origin"]
    return found


@pytest.mark.parametrize(
    "data",
    [
        stacks.pages(stack(), OME),
        stacks.pages([STAIN, bright(), STAIN + 1], stacks.ome(["DAPI", "BF", "Cy5"])),
        stacks.pages(stack(), stacks.imagej(["BF", "DAPI", "c:3/3 - Cy5"])),
        stacks.planes(stack(), stacks.imagej(["c:1/3 - Bright field", "DAPI", "Cy5"])),
        stacks.planes(stack(), stacks.imagej(["BF", "DAPI", "Cy5"], axis="slices")),
    ],
    ids=["ome", "ome-other-order", "imagej-pages", "imagej-planes", "imagej-slices"],
)
def test_channels_of_many_pages(data: bytes, model_folder: Path, tmp_path: Path) -> None:
    export, out = tmp_path / "export", tmp_path / "out"
    file = write(export / "S1" / "7.ome.tif", data)
    save(export / "S1" / "8_BF.png", cell(LEUKOCYTE))
    before = state(export)
    classify(export, model_folder, "--out", out)
    assert state(export) == before
    assert sidecars(out).keys() == {"ctcedge-crops/S1/7_BF.png", "S1/8_BF.png"}
    record = sidecars(out)["ctcedge-crops/S1/7_BF.png"]
    assert (record["sample"], record["cell"], record["call"]) == ("S1", "7", "CTC")
    page = 2 if b'Name="BF"' in data else 1
    assert record["image"]["origin"] == {
        "file": "S1/7.ome.tif",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "page": page,
        "box": None,
    }
    np.testing.assert_array_equal(crop(out, "S1/7_BF.png"), bright())
    assert crop(out, "S1/7_BF.png").dtype == np.uint16
    np.testing.assert_array_equal(crop(out, "S1/7_Cy5.png"), STAIN + 1)


def test_other_commands_read_what_was_cut(model_folder: Path, tmp_path: Path) -> None:
    export, out = tmp_path / "export", tmp_path / "out"
    write(export / "S1" / "7.ome.tif", stacks.pages(stack(), OME))
    write(export / "S1" / "8_BF.tif", stacks.pages(stack(), OME))
    classify(export, model_folder, "--out", out)
    written = state(out)
    again = call("classify", export, "--out", out, "--model", model_folder, "--um-per-px", 0.5)
    assert "Nothing to do" in again.stdout
    assert state(out) == written
    model = "--model", model_folder
    status = json.loads(call("status", export, "--out", out, *model, "--json").stdout)
    assert status["pending"] == 0 and status["not_understood"] == []
    call("verify", export, "--sidecars", out, "--all", *model)
    page = tmp_path / "page.html"
    call("report", export, "--sidecars", out, "--out", page, *model)
    assert "Cy5" in page.read_text() and "DAPI" in page.read_text()
    table = call("export", export, "--sidecars", out).stdout
    assert "S1,7," in table and "S1,8," in table
    # The crops are a folder as others, for instance for training.
    call("verify", out / "ctcedge-crops", "--all", *model)


def test_a_file_that_changes_is_cut_again(model_folder: Path, tmp_path: Path) -> None:
    export, out = tmp_path / "export", tmp_path / "out"
    file = write(export / "S1" / "7.ome.tif", stacks.pages(stack(), OME))
    classify(export, model_folder, "--out", out)
    os.utime(file, ns=(1, 1))
    before = {path: content for path, content in state(out).items() if "BF.png" in str(path)}
    classify(export, model_folder, "--out", out)
    assert len(sidecars(out)["ctcedge-crops/S1/7_BF.png"]["history"]) == 0, before
    file.write_bytes(stacks.pages([bright(LEUKOCYTE), STAIN, STAIN], OME))
    classify(export, model_folder, "--out", out)
    record = sidecars(out)["ctcedge-crops/S1/7_BF.png"]
    assert record["call"] == "leukocyte" and [h["call"] for h in record["history"]] == ["CTC"]
    assert record["image"]["origin"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_crop_that_a_power_cut_tore_is_cut_again(model_folder: Path, tmp_path: Path) -> None:
    export, out = tmp_path / "export", tmp_path / "out"
    write(export / "S1" / "7.ome.tif", stacks.pages(stack(), OME))
    classify(export, model_folder, "--out", out)
    torn = out / "ctcedge-crops" / "S1" / "7_BF.png"
    data = torn.read_bytes()
    torn.write_bytes(data[:-200] + bytes(200))
    classify(export, model_folder, "--out", out)
    assert torn.read_bytes() == data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (stacks.pages(stack(), {}), "its 3 pages have no names"),
        (stacks.pages(stack(), stacks.ome(["DAPI", "PE", "APC"])), "none is named as bright field"),
        (
            stacks.pages(stack(), stacks.ome(["BF"], sizes='SizeC="1" SizeZ="3" SizeT="1"')),
            "3 focal planes",
        ),
        (stacks.pages(stack(), stacks.ome(["BF", "TL", "DAPI"])), "two pages are named"),
    ],
)
def test_what_cannot_be_cut_is_named(
    data: bytes, reason: str, model_folder: Path, tmp_path: Path
) -> None:
    export, out = tmp_path / "export", tmp_path / "out"
    write(export / "S1" / "7.ome.tif", data)
    save(export / "S1" / "8_BF.png", cell())
    words = "--out", out, "--model", model_folder, "--json"
    done = json.loads(call("classify", export, *words, code=3).stdout)
    reasons = {entry["path"]: entry["error"] for entry in done["unclassified"]}
    assert reason in reasons["S1/7.ome.tif"]
    assert not done["complete"] and done["not_understood"] == []


def test_without_an_output_of_its_own(model_folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "S1" / "7_BF.ome.tif", stacks.pages(stack(), OME))
    classify(tmp_path, model_folder, code=3)
    assert "give --out" in sidecars(tmp_path)["S1/7_BF.ome.tif"]["error"]
    assert "--index needs" in call("classify", tmp_path, "--index", "t.csv", code=2).stderr


def test_an_index_table(model_folder: Path, tmp_path: Path) -> None:
    export, out = tmp_path / "export", tmp_path / "out"
    save(export / "raw" / "a.png", cell())
    save(export / "raw" / "b.png", cell(LEUKOCYTE))
    save(export / "raw" / "a-blue.png", np.full((64, 64), 9, np.uint8))
    write(export / "raw" / "c.tif", stacks.pages(stack(), OME))
    table = tmp_path / "cells.csv"
    table.write_text(
        "Cell ID;Sample;Brightfield;DAPI;path;um/px\n"
        "00042;P 1/a;raw/a.png;raw\\a-blue.png;;0,5\n"
        "43;P 1/a;raw/b.png;;;0,5\n44;P2;;;raw/c.tif;0,5\n"
    )
    words = "--index", table, "--out", out, "--model", model_folder
    call("classify", export, *words)
    found = {(r["sample"], r["cell"]): r for r in sidecars(out).values()}
    assert {key: r["call"] for key, r in found.items()} == {
        ("P 1/a", "00042"): "CTC",
        ("P 1/a", "43"): "leukocyte",
        ("P2", "44"): "CTC",
    }
    assert found["P 1/a", "00042"]["image"]["um_per_px"] == 0.5
    np.testing.assert_array_equal(crop(out, "P 1/a/00042_DAPI.png"), np.full((64, 64), 9))
    written = state(out)
    call("classify", export, *words)
    assert state(out) == written
    call("status", export, "--out", out, "--model", model_folder)
    call("verify", export, "--sidecars", out, "--all", "--model", model_folder)


def test_frames_with_positions(model_folder: Path, tmp_path: Path) -> None:
    export, out = tmp_path / "export", tmp_path / "out"
    frame = np.full((300, 400), 30_000, np.uint16)
    frame[100:164, 200:264] = bright()
    frame[20:84, 0:64] = bright(LEUKOCYTE)
    save(export / "frame.tif", frame)
    table = tmp_path / "cells.csv"
    table.write_text(
        "cell,sample,BF,x,y\n1,S,frame.tif,232,132\n2,S,frame.tif,30,52\n"
        "3,S,frame.tif,900,10\n4,S,frame.tif,1,2\n4,S,frame.tif,50,60\n"
        "5,S,../frame.tif,232,132\n6,S,/etc/passwd,9,9\n7,S,gone.tif,9,9\n8,S,frame.tif,a,9\n"
    )
    words = "--index", table, "--out", out, "--model", model_folder, "--um-per-px", 0.5, "--json"
    done = json.loads(call("classify", export, *words, code=3).stdout)
    reasons = {entry["path"]: entry["error"] for entry in done["unclassified"]}
    assert reasons.keys() == {
        "S / 3",
        "S / 4",
        "cells.csv line 7",
        "cells.csv line 8",
        "S / 7",
        "cells.csv line 10",
    }
    assert "outside its frame of 400 x 300" in reasons["S / 3"]
    assert "more than once (lines 5, 6)" in reasons["S / 4"]
    assert "not below the folder" in reasons["cells.csv line 7"]
    assert "does not exist" in reasons["S / 7"]
    assert {r["cell"]: r["call"] for r in sidecars(out).values()} == {"1": "CTC", "2": "leukocyte"}
    np.testing.assert_array_equal(crop(out, "S/1_BF.png"), bright())
    assert origin(out, "S/1_BF.png")["box"] == [200, 100, 64, 64]
    assert origin(out, "S/2_BF.png")["box"] == [0, 20, 62, 64]


def test_each_frame_is_read_once(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctcedge.fs.tree import Tree

    frame = np.tile(cell(), (2, 4))
    save(tmp_path / "export" / "f.png", frame)
    rows = [f"{n},S,f.png,{32 + 64 * n},32" for n in range(4)]
    table = tmp_path / "t.tsv"
    table.write_text("\n".join(["cell,sample,BF,x,y", *rows]).replace(",", "\t"))
    read: list[str] = []
    original = Tree.read

    def counted(self: Tree, path: str, size: int) -> bytes:
        read.append(path)
        return original(self, path, size)

    monkeypatch.setattr(Tree, "read", counted)
    words = "--index", table, "--out", tmp_path / "out", "--model", model_folder
    call("classify", tmp_path / "export", *words)
    assert read.count("f.png") == 1
    call("classify", tmp_path / "export", *words)
    assert read.count("f.png") == 1


def test_links_are_not_followed(model_folder: Path, tmp_path: Path) -> None:
    secret = save(tmp_path / "secret" / "a.png", cell())
    export = tmp_path / "export"
    export.mkdir()
    (export / "link").symlink_to(secret.parent)
    (export / "a.png").symlink_to(secret)
    table = tmp_path / "t.csv"
    table.write_text("cell,sample,BF\n1,S,link/a.png\n2,S,a.png\n")
    words = "--index", table, "--out", tmp_path / "out", "--model", model_folder, "--json"
    done = json.loads(call("classify", export, *words, code=3).stdout)
    assert [entry["error"].split(": ")[1][:17] for entry in done["unclassified"]] == [
        "is a symbolic lin"
    ] * 2
    assert not list((tmp_path / "out").rglob("*.png"))


def test_a_workbook(model_folder: Path, tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    save(tmp_path / "export" / "a.png", cell())
    book = openpyxl.Workbook()
    book.active.append(["cell", "sample", "BF", "um_per_px"])
    book.active.append([42, "S1", "a.png", 0.5])
    book.active["A2"].number_format = "00000"
    book.save(tmp_path / "cells.xlsx")
    words = "--index", tmp_path / "cells.xlsx", "--out", tmp_path / "out", "--model", model_folder
    call("classify", tmp_path / "export", *words)
    (record,) = sidecars(tmp_path / "out").values()
    assert (record["cell"], record["sample"]) == ("00042", "S1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sample,BF\n1,a.png\n", "no column cell"),
        ("cell,sample\n1,2\n", "no column BF"),
        ("cell,BF,TL\n1,a,b\n", "two columns for BF"),
        ("", "no column cell"),
    ],
)
def test_tables_that_are_refused(
    text: str, reason: str, model_folder: Path, tmp_path: Path
) -> None:
    save(tmp_path / "export" / "a.png", cell())
    table = tmp_path / "t.csv"
    table.write_text(text)
    words = "--index", table, "--out", tmp_path / "out", "--model", model_folder
    refused = " ".join(call("classify", tmp_path / "export", *words, code=2).stderr.split())
    assert reason in refused


def test_inspect_shows_pages_and_tables(tmp_path: Path) -> None:
    export = tmp_path / "export"
    write(export / "S1" / "7.ome.tif", stacks.pages(stack(), OME))
    write(export / "S1" / "8_BF.tif", stacks.pages(stack(), {}))
    found = json.loads(call("inspect", export, "--json").stdout)
    assert found["pages"] == {"S1/7.ome.tif": ["BF", "DAPI", "Cy5"]}
    assert found["samples"]["S1"] == {"BF": 1, "DAPI": 1, "Cy5": 1}
    assert [entry["path"] for entry in found["bad"]] == ["S1/8_BF.tif"]
    table = tmp_path / "t.csv"
    table.write_text("cell,sample,path\n1,P,S1/7.ome.tif\n2,P,S1/gone.tif\n")
    outside = tmp_path / "outside.csv"
    outside.write_text("cell,sample,BF,x,y\n1,P,S1/7.ome.tif,9,9\n2,P,S1/7.ome.tif,90,9\n")
    found = json.loads(call("inspect", export, "--index", outside, "--json").stdout)
    assert [entry["path"] for entry in found["bad"]] == ["P / 2"]
    found = json.loads(call("inspect", export, "--index", table, "--json").stdout)
    assert found["cells"] == {"P": 2} and found["pages"] == {"S1/7.ome.tif": ["BF", "DAPI", "Cy5"]}
    assert [entry["path"] for entry in found["bad"]] == ["P / 2"]


def test_parameters_are_kept(model_folder: Path, tmp_path: Path) -> None:
    export, out = tmp_path / "export", tmp_path / "out"
    save(export / "S1" / "1_BF.png", cell())
    file = write(export / "S1" / "Parameters.txt", b"Exposure: 20 ms\r\nGain = 2\nfree text\n")
    words = "--out", out, "--model", model_folder, "--json"
    done = json.loads(call("classify", export, *words).stdout)
    assert done["parameters"] == {"S1/Parameters.txt": {"Exposure": "20 ms", "Gain": "2"}}
    kept = out / "ctcedge-parameters.json"
    before = kept.read_bytes()
    assert "Exposure 20 ms, Gain 2" in call("classify", export, *words[:-1]).stderr
    assert kept.read_bytes() == before
    file.write_bytes(b"Gain = 3\n")
    call("classify", export, *words)
    files = json.loads(kept.read_text())["files"]
    assert [entry["values"].get("Gain") for entry in files] == ["2", "3"]
    assert files[0]["text"].endswith("free text\n")
    assert files[1]["sha256"] == hashlib.sha256(b"Gain = 3\n").hexdigest()


def test_a_bundle_holds_no_names_and_no_pixels(tmp_path: Path) -> None:
    export, bundle = tmp_path / "Rossi-export", tmp_path / "bundle.json"
    save(export / "Rossi M 1961" / "Cell_0042_BF.png", cell())
    save(export / "Rossi M 1961" / "Cell_0042_DAPI.png", cell())
    write(export / "Rossi M 1961" / "7.ome.tif", stacks.pages(stack(), stacks.ome(["Rossi"])))
    write(export / "Rossi M 1961" / "Rossi.tif", b"no image of Rossi")
    write(export / "Rossi notes.txt", b"Rossi")
    call("inspect", export, "--bundle", bundle, "--json")
    text = bundle.read_text()
    assert "rossi" not in text.lower() and "1961" not in text and "0042" not in text
    found = json.loads(text)
    assert "pixels" not in found
    shapes = {entry["shape"]: entry["kind"] for entry in found["names"]}
    assert shapes["Aaaaa A 9999/Aaaa_9999_<BF>.png"] == "bright field"
    assert {entry.get("pages") for entry in found["headers"]} == {None, 3}
    call("inspect", export, "--bundle", bundle, "--bundle-pixels", "--json")
    assert len(json.loads(bundle.read_text())["pixels"]) == 1
    call("inspect", export, "--bundle-pixels", "--json", code=2)
