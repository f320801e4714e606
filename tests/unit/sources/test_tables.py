"""Tables as spreadsheets and other systems write them: read, or refused with line and cure."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from ctcedge.sources.tables import NameIndex, TableError, parse_number, read_table

NEEDED = ("sample", "cell", "label")
PLAIN = "sample,cell,label\nMüller,001,CTC\nB,002,leukocyte\n"
VALUES = [("Müller", "001", "CTC"), ("B", "002", "leukocyte")]


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def values(path: Path, **options: str) -> list[tuple[str, ...]]:
    rows = read_table(path, NEEDED, **options)
    assert [row.problem for row in rows] == [None] * len(rows)
    return [tuple(row.values[name] for name in NEEDED) for row in rows]


def quoted(text: str, quote: str = '"') -> str:
    lines = (line.split(",") for line in text.splitlines())
    return "\n".join(",".join(f"{quote}{value}{quote}" for value in line) for line in lines)


READ = {
    "commas": PLAIN,
    "semicolons": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "bars": PLAIN.replace(",", "|"),
    "sep=;": "sep=;\r\n" + PLAIN.replace(",", ";"),
    "SEP=tab": "SEP=\t\r\n" + PLAIN.replace(",", "\t"),
    "sep in quotes, saved again": '"sep=,",,\n' + PLAIN,
    "sep with a mark": "\ufeffsep=;\n" + PLAIN.replace(",", ";"),
    "CRLF": PLAIN.replace("\n", "\r\n"),
    "CR": PLAIN.replace("\n", "\r"),
    "CR and sep": "sep=;\r" + PLAIN.replace(",", ";").replace("\n", "\r"),
    "no end": PLAIN.rstrip(),
    "end of DOS": PLAIN + "\x1a",
    "mark": PLAIN.encode("utf-8-sig"),
    "UTF-16 as Excel's Unicode text": PLAIN.replace(",", "\t").encode("utf-16"),
    "UTF-16 BE": codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be"),
    "UTF-16 LE without a mark": PLAIN.encode("utf-16-le"),
    "UTF-16 BE without a mark": PLAIN.encode("utf-16-be"),
    "capitals and spaces": PLAIN.replace("sample,cell,label", " Sample ,CELL,\u00a0Label"),
    "a space after each comma": PLAIN.replace(",", ", "),
    "quotes": quoted(PLAIN),
    "quotes after a space": quoted(PLAIN).replace(",", ", "),
    "apostrophes": quoted(PLAIN, "'"),
    "empty rows": "\n\n" + PLAIN.replace("\n", "\n,,\n\n") + ",,,,,\n \n",
    "empty columns": "".join(line + ",,,\n" for line in PLAIN.splitlines()),
    "another order": "label;note;cell;sample\nCTC;a, b;001;Müller\nleukocyte;;002;B\n",
    "a column left out where it is empty": "sample,cell,label,note\n" + PLAIN.split("\n", 1)[1],
    "other columns twice": "sample,cell,label,note,note\nMüller,001,CTC,,1\nB,002,leukocyte,2,\n",
    "a decimal comma beside": "d;sample;cell;label\n0,5;Müller;001;CTC\n1,5;B;002;leukocyte\n",
}


@pytest.mark.parametrize("content", READ.values(), ids=READ)
def test_forms_that_are_read(tmp_path: Path, content: str | bytes) -> None:
    assert values(written(tmp_path, content)) == VALUES


REFUSED = {
    "Windows-1252": (PLAIN.encode("cp1252"), r"line 2 is not UTF-8 .*Müller.*'CSV UTF-8'"),
    "an Excel workbook": (b"PK\x03\x04", "Excel workbook"),
    "cut off": (PLAIN.encode("utf-16")[:-1], "damaged or cut off"),
    "empty": ("", "is empty"),
    "empty lines": ("\n ,, \n", "is empty"),
    "other columns": ("sample,cell\nA,1\n", r"no column label .*2 columns: 'sample', 'cell'"),
    "a title above": ("Donor 7\n" + PLAIN, "no column sample and cell and label .*1 column"),
    "an unknown delimiter": (PLAIN.replace(",", ":"), "1 column: 'sample:cell:label'.*semicolon"),
    "spaces": (PLAIN.replace(",", " "), "1 column: 'sample cell label'"),
    "sep names another": ("sep=;\n" + PLAIN, "1 column: 'sample,cell,label'"),
    "sep is unknown": ("sep=:\n" + PLAIN.replace(",", ":"), "has in line 1 ':' between"),
    "a column twice": ("sample,cell,label,Label\nA,1,CTC,x\n", "has the column label twice"),
    "an open quotation mark": (PLAIN + '"C,003,CTC\nD,004,CTC\n', "line 4: a quotation mark"),
    "an open quotation mark above": ('"' + PLAIN, "line 1: a quotation mark"),
    "text after a quotation mark": (PLAIN + '"C"x,003,CTC\n', "line 4: "),
    "a folder": (None, "not a regular file"),
}


@pytest.mark.parametrize(("content", "text"), REFUSED.values(), ids=REFUSED)
def test_forms_that_are_refused(tmp_path: Path, content: str | bytes | None, text: str) -> None:
    path = tmp_path if content is None else written(tmp_path, content)
    with pytest.raises(TableError, match=text) as error:
        read_table(path, NEEDED)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    "row",
    [
        "C;003;CTC",  # another delimiter than in the heading
        "C,003,CTC,0,5",  # a decimal comma
        "C,D,003,CTC",  # a comma in a name
        "C,003",
        "C",
    ],
)
def test_rows_of_another_length_are_named(tmp_path: Path, row: str) -> None:
    path = written(tmp_path, PLAIN.replace("B,", '"line\nbreak",') + row + "\n")
    *fine, bad = read_table(path, NEEDED)
    assert [each.problem for each in fine] == [None, None]
    assert bad.line == 5
    assert bad.problem is not None and bad.problem.startswith("the number of values differs")


def test_a_value_that_is_left_out_at_the_end(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN + "C,003\n")
    assert values(path, may_lack="label")[-1] == ("C", "003", "")


def test_columns_that_all_count_must_not_be_there_twice(tmp_path: Path) -> None:
    path = written(tmp_path, "sample,cell,label,ch1,ch1\nA,1,CTC,x,y\n")
    with pytest.raises(TableError, match="has the column ch1 twice"):
        read_table(path, NEEDED, other_columns=True)
    path = written(tmp_path, "sample,cell,label,bf,BF\nA,1,CTC,x,y\n")
    with pytest.raises(TableError, match="has the column BF twice"):
        read_table(path, NEEDED, ("BF",))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.5", 0.5),
        ("0,5", 0.5),
        ("1,5", 1.5),
        ("12", 12.0),
        ("5e-1", 0.5),
        ("1_5", None),
        ("1.000,5", None),
        ("1,000.5", None),
        ("1,2,3", None),
        ("0.5 µm", None),
        ("nan", None),
        ("inf", None),
        ("٣", None),
        ("", None),
    ],
)
def test_numbers(text: str, number: float | None) -> None:
    assert parse_number(text) == number


def test_names_are_found_in_any_form_if_one_is_meant() -> None:
    index = NameIndex([("Mu\u0308ller", "001"), ("B ", "1"), ("B", "1"), ("C ", "1"), ("C", " 1")])
    assert index.find(("M\u00fcller", "001 ")) == ("Mu\u0308ller", "001")
    assert index.find(("B ", "1")) == ("B ", "1")
    with pytest.raises(TableError, match="2 names that look like C / 1"):
        index.find(("C", "1"))
    assert index.find(("D", "1")) is None
    assert index.with_zeros(("M\u00fcller", "1")) == ("Mu\u0308ller", "001")
    assert index.with_zeros(("M\u00fcller", "2")) is None
