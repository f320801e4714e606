"""The manifest: what is written is read again, and bad rows are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from train.data.manifest import ManifestError, Row, choose, read_manifests, write_manifest


@pytest.fixture
def row(tmp_path) -> Row:
    return Row(
        sample="día 3",
        cell="00340",
        label="CTC",
        stratum="CTC",
        source="gated",
        um_per_px=0.5,
        images={channel: image(tmp_path, f"{channel}.png") for channel in ("BF", "DAPI")},
        patient="P1",
        run="r1",
    )


def image(folder: Path, name: str) -> Path:
    path = folder / name
    path.touch()
    return path


def manifest(tmp_path: Path, *lines: str, header: str = "sample,cell,label,BF") -> Path:
    image(tmp_path, "a.png")
    path = tmp_path / "m.csv"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def test_rows_come_back_verbatim(tmp_path, row):
    bare = replace(row, cell="1", label="", stratum="near-gate", patient="", run="r2")
    bare = replace(bare, images={"BF": row.images["BF"]})
    write_manifest(tmp_path / "m.csv", [row, bare])
    assert read_manifests([tmp_path / "m.csv"]) == [row, bare]
    assert [each.group for each in (row, bare)] == ["P1", "r2/día 3"]


def test_a_manifest_moves_with_its_images(tmp_path, row):
    folder = tmp_path / "export"
    folder.mkdir()
    write_manifest(folder / "m.csv", [replace(row, images={"BF": image(folder, "a.png")})])
    folder.rename(tmp_path / "moved")
    (moved,) = read_manifests([tmp_path / "moved" / "m.csv"])
    assert moved.images == {"BF": tmp_path / "moved" / "a.png"}


def test_optional_columns_have_defaults(tmp_path):
    (row,) = read_manifests([manifest(tmp_path, "A,1,other,a.png")])
    assert (row.stratum, row.source, row.um_per_px) == ("other", "labels.csv", None)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("A,2,tumour,a.png", "line 3: label is 'tumour', not CTC, other or empty"),
        ("A,2,CTC,", "line 3: no bright-field image"),
        ("A,2,CTC,gone.png", r"line 3: .*gone\.png does not exist"),
        (",2,CTC,a.png", "line 3: sample and cell must be given"),
        ("A,2,CTC", "line 3: the number of values differs"),
    ],
)
def test_bad_rows_are_named(tmp_path, line, text):
    with pytest.raises(ManifestError, match=text):
        read_manifests([manifest(tmp_path, "A,1,CTC,a.png", line)])


@pytest.mark.parametrize("pitch", ["0", "-1", "nan", "half"])
def test_an_impossible_pitch_is_named(tmp_path, pitch):
    path = manifest(tmp_path, f"A,1,CTC,a.png,{pitch}", header="sample,cell,label,BF,um_per_px")
    with pytest.raises(ManifestError, match=f"um_per_px is '{pitch}'"):
        read_manifests([path])


def test_a_table_without_the_needed_columns_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="no column label and BF"):
        read_manifests([manifest(tmp_path, "A,1", header="sample,cell")])


def test_a_cell_stands_only_once_unless_its_run_differs(tmp_path, row):
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    write_manifest(one, [row])
    write_manifest(other, [row])
    with pytest.raises(ManifestError, match=r"cell 00340 of sample r1/día 3 is in .*one\.csv"):
        read_manifests([one, other])
    write_manifest(other, [replace(row, run="r2")])
    assert len(read_manifests([one, other])) == 2


def test_known_and_unknown_pitches_are_not_mixed(tmp_path, row):
    write_manifest(tmp_path / "m.csv", [row, replace(row, cell="2", um_per_px=None)])
    with pytest.raises(ManifestError, match="um/px is unknown for 1 of 2 cells, such as cell 2"):
        read_manifests([tmp_path / "m.csv"])


def test_undecided_cells_are_left_out_unless_their_stratum_is_chosen(row):
    undecided = replace(row, label="", stratum="double-negative")
    other = replace(row, label="other", stratum="leukocyte")
    assert choose([row, undecided, other]) == [row, other]
    chosen = choose([row, undecided, other], positive=["double-negative"], negative=["leukocyte"])
    assert [(each.stratum, each.label) for each in chosen] == [
        ("double-negative", "CTC"),
        ("leukocyte", "other"),
    ]
    with pytest.raises(ManifestError, match="or neither"):
        choose([row], positive=["CTC"])
    with pytest.raises(ManifestError, match="no cell of stratum 'benign'"):
        choose([row, other], positive=["CTC"], negative=["benign"])


@pytest.mark.parametrize(("text", "um_per_px"), [("0.5", 0.5), ("0,5", 0.5), ("1,5", 1.5)])
def test_a_manifest_that_a_spreadsheet_saved_again(tmp_path, text, um_per_px):
    header = "Sample;cell;LABEL;bf;um_per_px;Patient"
    path = manifest(tmp_path, f"A;1;other;a.png;{text};P1 ", header=header)
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode("utf-8-sig"))
    (row,) = read_manifests([path])
    assert (row.um_per_px, row.patient, row.images) == (um_per_px, "P1", {"BF": tmp_path / "a.png"})


@pytest.mark.parametrize("text", ["1_5", "1.000,5", "0,5,0", "1e9", "150"])
def test_numbers_that_could_be_misread_are_refused(tmp_path, text):
    header = "sample;cell;label;BF;um_per_px"
    with pytest.raises(ManifestError, match=f"line 2: um_per_px is '{text}'"):
        read_manifests([manifest(tmp_path, f"A;1;other;a.png;{text}", header=header)])


def test_a_patient_is_one_in_any_unicode_form(tmp_path):
    header = "sample,cell,label,BF,patient"
    lines = ("A,1,other,a.png,Jos\u00e9", "B,1,other,a.png,Jose\u0301 ")
    found = read_manifests([manifest(tmp_path, *lines, header=header)])
    assert len({row.group for row in found}) == 1
