from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import random
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ctcedge.discovery.naming import Crop
from ctcedge.results import table as rows_module
from ctcedge.results import table_files as module
from ctcedge.results.columns import KINDS, MEANINGS
from ctcedge.results.table import escape_formula, picklist, unescape_formula
from ctcedge.sidecars.scan import CropRecord, CurrentImage, read_current_image
from tests.helpers.cli_runner import call, run
from tests.helpers.drawn_cells import cell, save
from tests.helpers.sidecar_data import record as whole
from tests.helpers.sidecar_files import sidecar, sidecars, typed

COLUMNS = (
    "path sample cell status call probability prior threshold review_low review_high"
    " operating_point score reasons cluster quality ood_distance ood_p_value error review"
    " review_from reviewer review_time review_note review_blinded review_weight"
    " review_of_this_image reviews earlier_calls image_sha256 width height bit_depth um_per_px"
    " um_per_px_assumed model model_version model_sha256 model_variant settings_sha256 ctcedge"
    " onnxruntime provider created area_um2 area_px focus"
).split()


def review(word: str, image: str, **changes: Any) -> dict[str, Any]:
    return {
        "call": word,
        "reviewer": "Ada",
        "time": "2026-01-02T03:04:05Z",
        "from": "review",
        "note": "",
        "image_sha256": image,
        "channels": ["BF"],
        "blinded": True,
        "weight": 12.5,
        "history": [],
    } | changes


def put_review(image: Path, word: str, **changes: Any) -> None:
    path = sidecar(image)
    record = json.loads(path.read_bytes())
    record["review"] = review(word, record["image"]["sha256"], **changes)
    path.write_text(json.dumps(record))


@pytest.fixture
def called(crops: Path, model_folder: Path) -> Path:
    call("classify", crops, "--model", model_folder, "--provider", "cpu", "--um-per-px", 0.5)
    return crops


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def exported(folder: Path, *options: object) -> list[dict[str, str]]:
    return rows_of(call("export", folder, *options).stdout)


def test_columns_are_stable_and_documented() -> None:
    assert list(KINDS) == COLUMNS
    path = Path(__file__).parents[3] / "docs" / "reference" / "table-columns.md"
    of_crops = path.read_text("utf-8").partition("\n## Per sample")[0]
    lines = [line for line in of_crops.splitlines() if line.startswith("|")]
    rows = {line.split("|")[1].strip(): line for line in lines}
    for name, meaning in MEANINGS.items():
        assert rows[f"`{name}`"].endswith(f"| {meaning} |")


def test_help_shows_an_example() -> None:
    assert "Example: ctcedge export " in call("export", "--help").stdout


def test_one_row_a_cell(called: Path) -> None:
    put_review(called / "S1" / "00002_BF.png", "CTC", note="big\nand round", history=[{}] * 0)
    rows = exported(called)
    assert [row["path"] for row in rows] == list(sidecars(called))
    assert [(row["sample"], row["cell"], row["call"]) for row in rows] == [
        ("S1", "00001", "leukocyte"),
        ("S1", "00002", "review"),
        ("S1", "00003", "CTC"),
        ("S2", "00034", "CTC"),
    ]
    reviewed, other = rows[1], rows[2]
    assert (reviewed["review"], reviewed["reviewer"], reviewed["reviews"]) == ("CTC", "Ada", "1")
    assert (reviewed["review_note"], reviewed["review_blinded"]) == ("big\nand round", "true")
    assert (reviewed["review_weight"], reviewed["review_of_this_image"]) == ("12.5", "true")
    assert (other["review"], other["reviews"], other["review_weight"]) == ("", "0", "")
    for row, record in zip(rows, sidecars(called).values(), strict=True):
        assert float(row["probability"]) == record["probability"]
        assert row["image_sha256"] == record["image"]["sha256"]
        assert row["model_sha256"] == record["model"]["sha256"]


def test_sidecars_elsewhere(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    call("classify", crops, "--model", model_folder, "--out", tmp_path / "o")
    assert len(exported(crops, "--sidecars", tmp_path / "o")) == 4
    done = call("export", crops, code=2)
    assert "--sidecars" in done.stderr and done.stdout == ""


def test_crops_without_a_call_have_a_row(called: Path, model_folder: Path) -> None:
    save(called / "S1" / "00005_BF.png", cell())
    (called / "S1" / "00004_BF.png").write_bytes(b"broken")
    call("classify", called, "--model", model_folder, "--provider", "cpu", code=3)
    sidecar(called / "S1" / "00005_BF.png").unlink()
    rows = {row["cell"]: row for row in exported(called)}
    assert rows["00004"]["status"] == "unreadable" and rows["00004"]["error"]
    assert rows["00005"]["status"] == "pending"
    assert {rows["00005"][name] for name in COLUMNS[4:]} == {""}


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_to_a_file_by_its_ending(called: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"t.{ending}"
    out.write_text("old")
    assert call("export", called, "--out", out).stdout == ""
    data = out.read_bytes()
    if ending == "csv":
        assert data.startswith(b"\xef\xbb\xbfpath,")  # a spreadsheet knows UTF-8 by it
        assert data.count(b"\r\n") == 5
    else:
        lines = [json.loads(line) for line in data.splitlines()]
        assert [list(line) for line in lines] == [COLUMNS] * 4
        assert type(lines[0]["probability"]) is float and lines[0]["um_per_px_assumed"] is False
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_standard_output_has_no_byte_order_mark(called: Path) -> None:
    assert call("export", called).stdout.startswith("path,sample,")


def test_parquet(called: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    put_review(called / "S1" / "00002_BF.png", "CTC")
    call("export", called, "--out", tmp_path / "t.parquet")
    table = parquet.read_table(tmp_path / "t.parquet")
    assert table.column_names == COLUMNS
    kinds = {field.name: str(field.type) for field in table.schema}
    assert (kinds["cell"], kinds["probability"]) == ("string", "double")
    assert (kinds["width"], kinds["review_blinded"]) == ("int64", "bool")
    assert table["cell"].to_pylist() == ["00001", "00002", "00003", "00034"]
    assert table["review"].to_pylist() == [None, "CTC", None, None]


def test_parquet_without_its_library_says_what_to_do(
    called: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    done = call("export", called, "--out", tmp_path / "t.parquet", code=2)
    assert "pip install 'ctcedge[parquet]'" in done.stderr
    assert not (tmp_path / "t.parquet").exists()


def test_an_image_or_a_sidecar_is_never_replaced(called: Path) -> None:
    image = called / "S1" / "00001_BF.png"
    for path in (image, sidecar(image)):
        before = path.read_bytes()
        call("export", called, "--out", path, code=2)
        assert path.read_bytes() == before
    call("export", called, "--out", called / "S1", code=2)


def test_a_write_that_fails_keeps_what_was_there(
    called: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "t.csv"
    out.write_text("old")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    assert "No space left" in call("export", called, "--out", out, code=2).stderr
    assert out.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_reader_that_goes_away_gives_no_traceback(called: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m ctcedge export '{called}' | true",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "x;=1", "x,=1", 'x;"=1']


@pytest.mark.parametrize("text", FORMULAS)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_no_spreadsheet_sees_a_formula(text: str, separator: str) -> None:
    """Whatever a spreadsheet takes for the separator, as that depends on its country."""
    crop = Crop("p", text, text, "BF")
    file = io.BytesIO()
    kinds = {name: KINDS[name] for name in ("path", "sample", "cell", "status")}
    module.write(
        rows_module.rows([CropRecord(crop, Path("p"), None)]), kinds, "csv", file, bom=False
    )
    lines = file.getvalue().decode().partition("\r\n")[2]
    for row in csv.reader(io.StringIO(lines, newline=""), delimiter=separator):
        for found in row:
            assert not re.match(r"[\"\s]*[=+\-@＝]", found), lines
    (own,) = csv.reader(io.StringIO(lines, newline=""))
    assert [unescape_formula(each) for each in own[1:3]] == [text, text]


def test_the_guard_can_always_be_taken_off() -> None:
    lot = random.Random(6)
    for _ in range(20_000):
        text = "".join(lot.choice("=+-@'\",;|\t\r\na 0") for _ in range(lot.randint(0, 8)))
        assert unescape_formula(escape_formula(text)) == text
        assert not re.search(r"(^|[,;|\t\r\n])[=+\-@]", escape_formula(text))


@pytest.mark.parametrize("text", ["00034", "0042", "1E5", "a-1", "A=B", "é", "it's", "3-4"])
def test_other_ids_are_verbatim(text: str) -> None:
    assert escape_formula(text) == text


def test_ids_are_verbatim_in_every_other_format(tmp_path: Path, model_folder: Path) -> None:
    folder = tmp_path / "=S"
    save(folder / "=1+1_BF.png", cell())
    call("classify", folder, "--model", model_folder, "--provider", "cpu")
    (row,) = exported(folder)
    assert (row["sample"], row["cell"]) == ("'=S", "'=1+1")
    (line,) = call("export", folder, "--format", "jsonl").stdout.splitlines()
    assert (json.loads(line)["sample"], json.loads(line)["cell"]) == ("=S", "=1+1")


def test_names_that_are_not_utf8(tmp_path: Path, model_folder: Path) -> None:
    name = os.fsdecode(b"\xff1_BF.png")
    try:
        save(tmp_path / "S" / name, cell())
    except OSError as error:
        pytest.skip(f"this file system refuses names that are not UTF-8: {error}")
    call("classify", tmp_path / "S", "--model", model_folder, "--provider", "cpu")
    assert exported(tmp_path / "S")[0]["cell"] == "\\udcff1"
    line = run("export", tmp_path / "S", "--format", "jsonl").stdout
    assert json.loads(line)["cell"] == "\udcff1"


def test_the_picklist_holds_what_a_person_confirmed(called: Path) -> None:
    put_review(called / "S1" / "00001_BF.png", "CTC")
    put_review(called / "S1" / "00003_BF.png", "leukocyte")
    put_review(called / "S2" / "Cell_00034_Brightfield.tif", "unsure")
    done = call("export", called, "--picklist")
    assert rows_of(done.stdout) == [{"sample": "S1", "cell": "00001"}]
    assert "1 confirmed CTC" in done.stderr


def test_an_empty_picklist_says_so(called: Path, tmp_path: Path) -> None:
    done = call("export", called, "--picklist", "--out", tmp_path / "p.csv")
    assert "empty" in done.stderr
    assert (tmp_path / "p.csv").read_bytes() == b"\xef\xbb\xbfsample,cell\r\n"


def test_a_cell_whose_image_changed_since_its_review_is_not_picked(called: Path) -> None:
    put_review(called / "S1" / "00003_BF.png", "CTC", image_sha256="0" * 64)
    done = call("export", called, "--picklist")
    assert rows_of(done.stdout) == []
    assert "image changed" in done.stderr and "S1/00003_BF.png" in done.stderr


def test_a_cell_whose_image_lies_there_no_more_is_not_picked(called: Path) -> None:
    image = called / "S1" / "00003_BF.png"
    put_review(image, "CTC")
    save(image, cell(11))
    done = call("export", called, "--picklist")
    assert rows_of(done.stdout) == []
    assert "image changed" in done.stderr and "S1/00003_BF.png" in done.stderr


def test_a_cell_whose_image_cannot_be_read_is_named_and_the_list_incomplete(
    called: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_review(called / "S1" / "00001_BF.png", "CTC")
    put_review(called / "S1" / "00003_BF.png", "CTC")
    monkeypatch.setattr(
        "ctcedge.results.table.read_current_image",
        lambda folder, crop: (
            CurrentImage(None, None, "Input/output error")
            if crop.cell == "00003"
            else read_current_image(folder, crop)
        ),
    )
    done = call("export", called, "--picklist", code=3)
    assert rows_of(done.stdout) == [{"sample": "S1", "cell": "00001"}]
    assert "the image cannot be read now" in done.stderr
    assert "S1/00003_BF.png: Input/output error" in done.stderr


def test_a_cell_of_two_images_is_picked_once_and_told_of(tmp_path: Path) -> None:
    def stored(path: str, word: str) -> CropRecord:
        (tmp_path / path).write_text(path)
        sha256 = hashlib.sha256(path.encode()).hexdigest()
        image = whole()["image"] | {"sha256": sha256}
        content = typed(whole(image=image, review=review(word, sha256)))
        return CropRecord(Crop(path, "S", "1", "BF"), Path(path), content)

    found = picklist(tmp_path, [stored("a", "CTC"), stored("b", "CTC"), stored("c", "leukocyte")])
    assert found.cells == [("S", "1")]
    assert found.disputed == [("S", "1")]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_what_a_person_made_of_a_sidecar_does_not_break_the_table(
    called: Path, tmp_path: Path, ending: str
) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    _, *damaged = sorted(called.rglob("*.ctc.json"))
    for path in damaged:
        record = json.loads(path.read_bytes())
        record["image"] |= {"width": 10**30, "um_per_px": float("nan"), "bit_depth": "8"}
        record |= {"threshold": "x", "probability": 10**400, "operating_point": {"a": 1}}
        path.write_text(json.dumps(record))
    out = tmp_path / f"t.{ending}"
    call("export", called, "--out", out)
    if ending == "jsonl":
        first, *others = map(json.loads, out.read_text().splitlines())
        assert first["status"] == "classified"
        assert len(others) == len(damaged) == 3
        for row in others:
            names = ("width", "um_per_px", "bit_depth", "threshold", "probability", "call")
            assert {row[name] for name in (*names, "operating_point")} == {None}
            assert row["cell"] and row["status"] == "pending"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_standard_output_that_is_full_is_told_in_a_line(called: Path) -> None:
    with open("/dev/full", "wb") as full:
        words = [sys.executable, "-m", "ctcedge", "export", str(called)]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: standard output cannot be written: No space left")
    assert "internal" not in done.stderr and "ignored" not in done.stderr


def test_a_name_of_no_format_is_refused(called: Path, tmp_path: Path) -> None:
    for name in ("t.xls", "t.ods"):
        message = call("export", called, "--out", tmp_path / name, code=2).stderr
        assert ".csv, .tsv, .jsonl, .parquet, .xlsx, .fcs or .h5ad" in message
    call("export", called, "--out", tmp_path / "t.dat", "--format", "csv")
    call("export", called, "--out", tmp_path / "table")
    assert (tmp_path / "t.dat").read_bytes() == (tmp_path / "table").read_bytes()


def test_a_device_is_not_replaced_and_a_link_stays(called: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # like a device, no regular file
    assert "is no regular file" in call("export", called, "--out", tmp_path / "pipe", code=2).stderr
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link.csv").symlink_to("real.csv")
    call("export", called, "--out", tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert len(rows_of((tmp_path / "real.csv").read_text("utf-8-sig"))) == 4


def test_a_table_whose_folder_cannot_be_synced_is_not_reported_as_written(
    called: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    result = call("export", called, "--out", tmp_path / "calls.csv", code=2)
    assert "cannot be written: Input/output error" in result.stderr
