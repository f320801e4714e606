"""Tables for other programs: Excel, TSV, decimal comma, FCS, and the choice of columns."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import flowio
import openpyxl
import pytest

from ctcedge.errors import OutputError, SettingsError
from ctcedge.results import excel, fcs
from ctcedge.results.column_choice import choose_columns
from ctcedge.results.columns import BRIEF, KINDS, MORPHOLOGY, Kind, Row
from ctcedge.results.table_files import Format, check_place, write, write_table
from tests.helpers.cli_runner import call

IDS: dict[str, Kind] = {"sample": "text", "cell": "text", "score": "number"}
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", '=HYPERLINK("http://x")', "{=1}", "＝1"]


def table(*cells: str, **more: Any) -> list[Row]:
    return [{"sample": "S", "cell": name, "score": 0.5, **more} for name in cells]


def written(rows: list[Row], kinds: dict[str, Kind], chosen: Format, **options: Any) -> bytes:
    file = io.BytesIO()
    write(rows, kinds, chosen, file, bom=False, **options)
    return file.getvalue()


def sheet_of(path: Path | io.BytesIO) -> Any:
    return openpyxl.load_workbook(path).worksheets[0]


def test_excel(called: Path, tmp_path: Path) -> None:
    call("export", called, "--out", tmp_path / "t.xlsx")
    header, *rows = sheet_of(tmp_path / "t.xlsx").iter_rows()
    assert [cell.value for cell in header] == list(KINDS)
    assert [row[2].value for row in rows] == ["00001", "00002", "00003", "00034"]
    assert {(row[2].data_type, row[2].number_format) for row in rows} == {("s", "@")}
    by_name = dict(zip(KINDS, rows[0], strict=True))
    assert isinstance(by_name["probability"].value, float)
    assert by_name["width"].value == 64 and by_name["um_per_px_assumed"].value is False
    assert by_name["review"].value is None


@pytest.mark.parametrize("text", [*FORMULAS, "00042", "1E5", "3-4", "#N/A", "TRUE", "_x0041_", ""])
def test_a_text_stays_text_in_excel(text: str) -> None:
    data = io.BytesIO(written(table(text), IDS, "xlsx"))
    cell = sheet_of(data)["B2"]
    if text:
        assert cell.data_type == "s" and cell.number_format == "@"
        assert openpyxl.utils.escape.unescape(cell.value) == text
    data.seek(0)
    assert sheet_of(data)["C2"].value == 0.5


def test_control_characters_and_odd_bytes_make_no_damaged_workbook() -> None:
    rows = table("a\x00b\x01c\r\nd\x1b[31m", "\udcff1", "\ufffe\uffff")
    cells = [row[1].value for row in sheet_of(io.BytesIO(written(rows, IDS, "xlsx"))).iter_rows()]
    assert openpyxl.utils.escape.unescape(cells[1]).startswith("a\x00b\x01c")
    assert cells[2] == "\\udcff1"


def test_what_a_sheet_cannot_hold_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "t.xlsx"
    out.write_text("old")
    for text in ("x" * 32_768, "\U0001f600" * 16_384):
        with pytest.raises(OutputError, match=r"S/1_BF.png: cell is longer than the 32,767"):
            write_table(out, table(text, path="S/1_BF.png"), IDS, "xlsx", decimal_comma=False)
    monkeypatch.setattr(excel, "MAX_ROWS", 3)
    with pytest.raises(OutputError, match=r"holds 2 rows below its header.*\.csv"):
        write_table(out, table("1", "2", "3"), IDS, "xlsx", decimal_comma=False)
    assert write_table(tmp_path / "u.xlsx", table("1", "2"), IDS, "xlsx", decimal_comma=False) == 2
    monkeypatch.setattr(excel, "MAX_COLUMNS", 2)
    with pytest.raises(OutputError, match="2 columns, not 3"):
        write_table(out, table("1"), IDS, "xlsx", decimal_comma=False)
    assert out.read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"t.xlsx", "u.xlsx"}


def test_the_longest_text_of_a_cell_is_kept() -> None:
    text = "x" * 32_767
    assert sheet_of(io.BytesIO(written(table(text), IDS, "xlsx")))["B2"].value == text


def test_a_full_disk_is_told_of_by_excel_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("xlsxwriter.workbook.ZipFile", fail)
    with pytest.raises(OutputError, match=r"t\.xlsx cannot be written: No space left"):
        write_table(tmp_path / "t.xlsx", table("1"), IDS, "xlsx", decimal_comma=False)
    assert list(tmp_path.iterdir()) == []


def test_tsv(called: Path, tmp_path: Path) -> None:
    call("export", called, "--out", tmp_path / "t.tsv")
    text = (tmp_path / "t.tsv").read_text("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t"))
    assert list(rows[0]) == list(KINDS)
    assert [row["cell"] for row in rows] == ["00001", "00002", "00003", "00034"]
    assert written(table("a\tb", "=1"), IDS, "tsv").decode().splitlines() == [
        "sample\tcell\tscore",
        'S\t"a\tb"\t0.5',
        "S\t'=1\t0.5",
    ]


def test_decimal_comma() -> None:
    rows = table("1.5", flag=True, whole=1000)
    rows += table("2", score=1e-07)
    kinds: dict[str, Kind] = {**IDS, "flag": "flag", "whole": "whole"}
    semicolons = written(rows, kinds, "csv", decimal_comma=True).decode().splitlines()
    assert semicolons[1:] == ["S;1.5;0,5;true;1000", "S;2;1e-07;;"]
    assert written(table("1"), IDS, "tsv", decimal_comma=True).endswith(b"S\t1\t0,5\r\n")


def test_decimal_comma_is_for_text_only(called: Path, tmp_path: Path) -> None:
    done = call("export", called, "--decimal", "comma", "--out", tmp_path / "t.xlsx", code=2)
    assert "csv and tsv" in done.stderr
    done = call("export", called, "--decimal", "comma", "--columns", "brief")
    assert done.stdout.startswith("sample;cell;call;probability;")
    assert "S1;00001;leukocyte;0," in done.stdout


@pytest.mark.parametrize("chosen", ["xlsx", "fcs", "h5ad"])
def test_formats_that_need_a_file_say_so(chosen: Format) -> None:
    with pytest.raises(SettingsError, match=f"give --out FILE.{chosen}"):
        check_place(None, chosen)


@pytest.mark.parametrize(
    ("chosen", "module", "extra"),
    [("xlsx", "xlsxwriter", "xlsx"), ("fcs", "flowio", "fcs"), ("h5ad", "anndata", "anndata")],
)
def test_a_format_without_its_library_says_how_to_install_it(
    called: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chosen: str,
    module: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    done = call("export", called, "--out", tmp_path / f"t.{chosen}", code=2)
    assert f"pip install 'ctcedge[{extra}]'" in done.stderr
    assert list(tmp_path.glob("t.*")) == []


def test_fcs(called: Path, tmp_path: Path) -> None:
    sidecars = sorted(called.rglob("*.ctc.json"))
    sidecars[1].unlink()  # a crop without a sidecar is no event
    call("export", called, "--out", tmp_path / "t.fcs")
    file = flowio.FlowData(tmp_path / "t.fcs")
    assert file.version == "3.1" and file.event_count == 3
    events = file.as_array(preprocess=False)
    names = [file.channels[number]["pnn"] for number in sorted(file.channels)]
    text = (tmp_path / "t.events.csv").read_bytes()
    rows = list(csv.DictReader(io.StringIO(text.decode(), newline="")))
    assert names[0] == "event" and events[:, 0].tolist() == [1, 2, 3]
    assert [(row["event"], row["sample"], row["cell"]) for row in rows] == [
        ("1", "S1", "00001"),
        ("2", "S1", "00003"),
        ("3", "S2", "00034"),
    ]
    assert file.text["ctcedge_events"] == "t.events.csv"
    assert file.text["ctcedge_events_sha256"] == hashlib.sha256(text).hexdigest()
    probability = events[:, names.index("probability")]
    assert probability[0] < 0.5 < probability[1]
    assert math.isnan(events[0, names.index("review_weight")])
    assert events[:, names.index("um_per_px_assumed")].tolist() == [0, 0, 0]
    assert not math.isnan(events[0, names.index("DAPI_mean")])
    assert math.isnan(events[1, names.index("DAPI_mean")])


def test_fcs_follows_the_link_that_was_named_and_replaces_that_of_the_events(
    tmp_path: Path,
) -> None:
    (tmp_path / "t.fcs").symlink_to("real.fcs")
    (tmp_path / "t.events.csv").symlink_to("other.csv")
    (tmp_path / "other.csv").write_text("kept")
    write_table(tmp_path / "t.fcs", table("=1", "00042"), IDS, "fcs", decimal_comma=False)
    assert (tmp_path / "t.fcs").is_symlink() and (tmp_path / "real.fcs").is_file()
    assert not (tmp_path / "t.events.csv").is_symlink()
    assert (tmp_path / "other.csv").read_text() == "kept"
    lines = (tmp_path / "t.events.csv").read_text().splitlines()
    assert lines == ["event,sample,cell", "1,S,'=1", "2,S,00042"]


def test_fcs_names_have_no_delimiter(tmp_path: Path) -> None:
    kinds: dict[str, Kind] = {"cell": "text", "/a,b/_mean": "number"}
    rows: list[Row] = [{"cell": "1", "/a,b/_mean": 3.5}]
    write_table(tmp_path / "t.fcs", rows, kinds, "fcs", decimal_comma=False)
    file = flowio.FlowData(tmp_path / "t.fcs")
    assert [file.channels[number]["pnn"] for number in sorted(file.channels)] == [
        "event",
        "_a b__mean",
    ]
    assert file.as_array(preprocess=False).tolist() == [[1, 3.5]]


def test_more_events_than_can_be_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcs, "MAX_EVENTS", 1)
    with pytest.raises(OutputError, match="1 numbered events"):
        write_table(tmp_path / "t.fcs", table("1", "2"), IDS, "fcs", decimal_comma=False)
    assert list(tmp_path.iterdir()) == []


def test_columns(called: Path) -> None:
    def header(*options: object) -> list[str]:
        return call("export", called, *options).stdout.splitlines()[0].split(",")

    assert header("--columns", "brief") == list(BRIEF)
    assert header("--columns", "cell, sample,cell") == ["cell", "sample"]
    stains = ["DAPI_mean", "DAPI_integrated", "DAPI_background"]
    assert header("--columns", "brief,stains") == [*BRIEF, *stains]
    assert header("--columns", "DAPI_mean,area_um2") == ["DAPI_mean", "area_um2"]
    assert header() == list(KINDS)


def test_a_column_that_does_not_exist(called: Path) -> None:
    done = call("export", called, "--columns", "cell,probabilty", code=2)
    assert "no column 'probabilty'; did you mean 'probability'?" in done.stderr
    done = call("export", called, "--columns", "xyz", code=2)
    assert "there are: all, brief, stains, path, sample" in done.stderr
    done = call("export", called, "--columns", "dapi_means", code=2)
    assert "did you mean 'DAPI_mean'?" in done.stderr
    assert "is empty" in call("export", called, "--columns", "cell,", code=2).stderr
    assert ".h5ad" in call("export", called, "--columns", "features", code=2).stderr
    assert "--columns" in call("export", called, "--picklist", "--columns", "cell", code=2).stderr
    assert done.stdout == ""


def test_columns_of_stains_where_there_are_none() -> None:
    with pytest.raises(SettingsError, match="no image of a stain"):
        choose_columns("brief,stains", "csv", [])
    assert set(choose_columns(None, "fcs", [])) == set(KINDS)
    assert choose_columns(None, "h5ad", ["CK"])["CK_mean"] == "number"


def test_area_and_focus(called: Path) -> None:
    lines = call("export", called, "--format", "jsonl").stdout.splitlines()
    for row in map(json.loads, lines):
        area, pixels, focus = (row[name] for name in MORPHOLOGY)
        assert (area is None) != (pixels is None) and focus > 0
