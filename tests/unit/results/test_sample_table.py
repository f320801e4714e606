"""The table of samples that a laboratory writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctcedge.errors import SettingsError
from ctcedge.results.sample_table import SampleInfo, load_sample_table


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "samples.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        "sample,patient,volume_ml,kind\nS1,007,7.5,blood\n",
        "\ufeffSample;Patient;Volume (mL);Kind\r\nS1;007;7,5;blood\r\n",
        "sep=;\nsample;patient;volume_ml;kind;date\n;;;;\nS1;007;7.5;blood;3 May\n",
        "patient\tsample\tkind\tvolume_mL\n007\tS1\tblood\t7.50",
        'sample,patient,volume_ml,kind\n"S1",007,7.5,"blood"\n',
        "sample,patient,volume_ml,kind\nS1,007,7.5,blood\n".encode("utf-16"),
    ],
)
def test_tables_as_programs_write_them(tmp_path: Path, content: str | bytes) -> None:
    written(tmp_path, content)
    assert load_sample_table(tmp_path).info("S1") == SampleInfo("007", 7.5, "blood")


def test_values_may_be_missing(tmp_path: Path) -> None:
    written(tmp_path, "sample,volume_ml\nS1,\nS2\n'=S3,2\n")
    table = load_sample_table(tmp_path)
    assert table.info("S1") == table.info("S2") == table.info("other") == SampleInfo()
    assert table.info("=S3").volume_ml == 2  # as an exported table writes the name
    assert table.missing(["S1"]) == ["=S3", "S2"]


def test_names_are_compared_composed(tmp_path: Path) -> None:
    written(tmp_path, "sample,patient\nMu\u0308ller,P\n")
    table = load_sample_table(tmp_path)
    assert table.info("M\u00fcller").patient == "P"
    assert table.missing(["M\u00fcller"]) == []


def test_without_a_table_nothing_is_known(tmp_path: Path) -> None:
    assert load_sample_table(tmp_path).path is None
    with pytest.raises(SettingsError, match="No such file"):
        load_sample_table(tmp_path, tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "sample,volume_ml\nS1,7\nS2,7 mL\n",
            "line 3: '7 mL' is no volume; write 7.5 with a point",
        ),
        ('sample,volume_ml\nS1,"7,5"\n', "line 2: '7,5' is no volume; write 7.5 with a point"),
        ("sample;volume_ml\nS1;1,500\n", "line 2: '1,500' is no volume"),
        ("sample,volume_ml\nS1,0\n", "line 2: '0' is no volume of blood; give a volume in mL"),
        ("sample,volume_ml\nS1,7500\n", "line 2: '7500' is no volume of blood"),
        ("sample,volume_ml\nS1,-1\n", "line 2: '-1' is no volume"),
        ("sample,volume_ml\nS1,nan\n", "line 2: 'nan' is no volume"),
        ("sample,volume_ul\nS1,7500\n", "line 1: column 'volume_ul' .* name it volume_ml"),
        ("Probe,patient\nS1,1\n", r"line 1: there is no column 'sample' \(columns: Probe, patient"),
        ("", r"line 1: there is no column 'sample' \(columns: none"),
        ("sample,sample\nS1,1\n", "line 1: there are two columns 'sample'"),
        ("sample\nS1\nS2\nS1\n", "line 4: sample 'S1' is in line 2 already; keep one line"),
        ("sample,patient\n,P1\n", "line 2: there is no name of a sample"),
        ("sample,patient\nS1,Smith,John\n", "line 2: 3 values, but the header has 2 columns"),
        ('sample,patient\nS1,"open\n', "line 2: .*close each double quote"),
        (f"sample,patient\nS1,{'x' * 201}\n", "line 2: 'patient' has more than 200 characters"),
        (b"sample,patient\nS1,M\xfcller\n", "line 2 is not UTF-8 .* save the file as UTF-8"),
        (b"PK\x03\x04rest", "an Excel workbook"),
    ],
)
def test_what_is_wrong_is_refused_by_line_with_the_cure(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(SettingsError, match=message) as error:
        load_sample_table(tmp_path)
    assert str(error.value).startswith(f"{path}: ")
    assert "--samples" in str(error.value)


def test_the_folders_own_table_is_no_link(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere.csv"
    other.write_text("sample\nS1\n")
    (tmp_path / "samples.csv").symlink_to(other)
    with pytest.raises(SettingsError, match="links are not followed"):
        load_sample_table(tmp_path)
    assert load_sample_table(tmp_path, tmp_path / "samples.csv").missing([]) == ["S1"]
