"""`python -m train label`: a review beats the table, the table beats the stains."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.helpers.sidecar_data import REVIEW, record
from train.cli import app
from train.data.manifest import read_manifests
from train.label.stains import STAINS
from train.simulate import simulate_cells, write_export

DATA = Path(__file__).parents[4] / "shared" / "data"


def label(folder: Path, out: Path, *options: object):
    return CliRunner().invoke(app, ["label", str(folder), "--out", str(out), *map(str, options)])


def refusal(folder: Path, out: Path, *options: object) -> str:
    result = label(folder, out, *options)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ") or "\nError: " in result.stderr
    assert not out.exists()
    return " ".join(result.stderr.split())


def rows(path: Path):
    return {(row.sample, row.cell): row for row in read_manifests([path])}


def crop(path: Path, level: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 20), level, np.uint8))
    return path


def table(folder: Path, *lines: str) -> None:
    (folder / "labels.csv").write_text("\n".join(("sample,cell,label", *lines)) + "\n")


@pytest.fixture
def export(tmp_path) -> Path:
    """Four cells of two samples, without stains."""
    folder = tmp_path / "export"
    for name in ("A/001", "A/002", "B/001", "B/002"):
        crop(folder / f"{name}_BF.png")
    return folder


@pytest.fixture(scope="module")
def stained(tmp_path_factory) -> Path:
    """A simulated export of 400 cells with all stains; bright field is blank."""
    folder = tmp_path_factory.mktemp("stained")
    cells = simulate_cells(
        hospitals=1, samples=1, cells=400, ctc_fraction=0.1, seed=21, channels=STAINS
    )
    write_export(
        folder, (replace(cell, images=cell.images | {"BF": blank(cell)}) for cell in cells)
    )
    return folder / "h00"


def blank(cell):
    return np.full_like(cell.images["DAPI"], 9)


def review(image: Path, *said: str, sidecars: Path | None = None) -> Path:
    """Write a sidecar with a review, the last of several."""
    path = (sidecars or image.parent) / f"{image.name}.ctc.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    entry = {key: value for key, value in REVIEW.items() if key != "history"}
    *earlier, last = [entry | {"call": call, "image_sha256": digest} for call in said]
    path.write_text(json.dumps(record(review=last | {"history": earlier})))
    return path


def test_a_table_is_taken_at_its_word(export, tmp_path):
    table(export, "A,001,Tumour", "A,002,ctc", "B,001,benign", "B,002,leukocyte")
    result = label(export, tmp_path / "m.csv", "--um-per-px", 0.5, "--run", "r1")
    assert result.exit_code == 0, result.output
    made = read_manifests([tmp_path / "m.csv"])
    assert [(row.sample_id, row.cell, row.label, row.stratum) for row in made] == [
        ("r1/A", "001", "CTC", "Tumour"),
        ("r1/A", "002", "CTC", "ctc"),
        ("r1/B", "001", "other", "benign"),
        ("r1/B", "002", "other", "leukocyte"),
    ]
    assert {(row.source, row.um_per_px) for row in made} == {("labels.csv", 0.5)}
    assert "2 CTC, 2 other, 0 undecided" in result.stdout
    assert result.stdout.splitlines()[-4:] == [
        "Next, to train on these cells:",
        f"  python -m train fit {tmp_path / 'm.csv'} --out runs/m",
        "Next, to test a model that was trained on others:",
        f"  python -m train evaluate models/sim-resnet18 {tmp_path / 'm.csv'} --out reports/m",
    ]
    assert not (tmp_path / "m.gates.png").exists()


def test_a_table_without_a_ctc_says_what_its_labels_count_as(export, tmp_path):
    table(export, "A,001,CTCs", "A,002,WBC", "B,001,WBC", "B,002,WBC")
    result = label(export, tmp_path / "m.csv")
    assert result.exit_code == 0
    told = " ".join(result.stderr.split())
    assert (
        "labels of labels.csv, none of which is CTC or tumour, so that no cell is a CTC (2):"
        " CTCs; WBC" in told
    )


def test_a_name_that_is_no_text_is_refused_and_leaves_nothing(export, tmp_path):
    (export / "A").rename(os.fsdecode(os.fsencode(export) + b"/M\xfcller"))
    result = label(export, tmp_path / "m.csv")
    assert result.exit_code == 2
    assert "a manifest cannot have names that are not UTF-8" in result.stderr
    assert "\\udcfcller/001_BF.png" in result.stderr
    assert not list(tmp_path.glob("*m.csv*"))


def test_the_exports_own_settings_are_used(export, tmp_path):
    (export / "ctcedge.toml").write_text("[images]\num_per_px = 0.4\n")
    table(export, "A,001,CTC", "A,002,x", "B,001,x", "B,002,x")
    assert label(export, tmp_path / "m.csv").exit_code == 0
    assert {row.um_per_px for row in rows(tmp_path / "m.csv").values()} == {0.4}


def test_rows_and_images_that_do_not_fit_are_named(export, tmp_path):
    crop(export / "A/003_DAPI.png")
    (export / "A/004_BF.png").write_bytes(b"no image")
    (export / "B/001_DAPI.png").write_bytes(b"no image")
    crop(export / "notes_x.png")
    (export / "ctcedge-report.html").write_text("of an earlier run")
    table(export, "A,001,CTC", "A,001,CTC", "A,1,CTC", "A,002,", "B,001,x", "B,002,x")
    result = label(export, tmp_path / "m.csv")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    for text in (
        "cells without bright field, left out (1): cell 003 of sample A",
        "unreadable cells, left out (1): A/004_BF.png",
        "unreadable stain images, not used (1): B/001_DAPI.png",
        "cells with the same label twice in labels.csv (1): cell 001 of sample A",
        "rows of labels.csv without a cell, left out (1): cell 1 of sample A",
        "rows of labels.csv without a label (1): cell 002 of sample A",
        "files that cannot be interpreted, channel 'x' is not in the channel table (1):"
        " notes_x.png",
    ):
        assert text in said
    assert "ctcedge-report.html" not in said
    made = rows(tmp_path / "m.csv")
    assert set(made) == {("A", "001"), ("A", "002"), ("B", "001"), ("B", "002")}
    assert (made["A", "002"].label, made["A", "002"].stratum) == ("", "ungated")
    assert set(made["B", "001"].images) == {"BF"}


def test_a_review_beats_the_table_and_its_last_word_counts(export, tmp_path):
    table(export, "A,001,CTC", "A,002,CTC", "B,001,x", "B,002,x")
    review(export / "A/001_BF.png", "CTC", "leukocyte")
    review(export / "A/002_BF.png", "unsure")
    review(export / "B/001_BF.png", "CTC")
    crop(review(export / "B/002_BF.png", "CTC").with_name("002_BF.png"), level=90)
    result = label(export, tmp_path / "m.csv")
    assert "reviews of an image that changed since, not used (1): cell 002 of sample B" in " ".join(
        result.stderr.split()
    )
    said = [(row.label, row.stratum, row.source) for row in read_manifests([tmp_path / "m.csv"])]
    assert said == [
        ("other", "CTC", "reviewed"),
        ("", "CTC", "reviewed"),
        ("CTC", "x", "reviewed"),
        ("other", "x", "labels.csv"),
    ]
    assert "3 reviewed, 1 labels.csv" in result.stdout


def test_a_table_that_does_not_know_makes_no_negatives(export, tmp_path):
    table(export, "A,001, CTC ", "A,002,Unsure", "B,001,review", "B,002, ")
    result = label(export, tmp_path / "m.csv")
    assert result.exit_code == 0, result.output
    said = [(row.label, row.stratum, row.source) for row in read_manifests([tmp_path / "m.csv"])]
    assert said == [
        ("CTC", "CTC", "labels.csv"),
        ("", "Unsure", "labels.csv"),
        ("", "review", "labels.csv"),
        ("", "ungated", "gated"),
    ]
    told = " ".join(result.stderr.split())
    assert (
        "rows of labels.csv with unsure or review, left undecided (2):"
        " cell 002 of sample A; cell 001 of sample B" in told
    )
    assert "rows of labels.csv without a label (1): cell 002 of sample B" in told


def test_reviews_may_lie_elsewhere_and_suffice(export, tmp_path):
    sidecars = tmp_path / "sidecars"
    for sample, to in (("A", "CTC"), ("B", "leukocyte")):
        for cell in ("001", "002"):
            review(export / f"{sample}/{cell}_BF.png", to, sidecars=sidecars / sample)
    assert label(export, tmp_path / "m.csv", "--sidecars", sidecars).exit_code == 0
    said = Counter((row.label, row.stratum) for row in rows(tmp_path / "m.csv").values())
    assert said == {("CTC", "CTC"): 2, ("other", "leukocyte"): 2}


@pytest.mark.parametrize(
    "block", ["yes", {}, {"to": "CTC"}, {"call": ["CTC"]}, {"call": "review"}, [None]]
)
def test_a_review_that_makes_no_sense_is_not_used(export, tmp_path, block):
    table(export, "A,001,CTC", "A,002,x", "B,001,x", "B,002,x")
    (export / "A/001_BF.png.ctc.json").write_text(json.dumps(record(review=block)))
    result = label(export, tmp_path / "m.csv")
    assert result.exit_code == 0, result.output
    assert rows(tmp_path / "m.csv")["A", "001"].source == "labels.csv"
    assert "sidecars that cannot be read, not used (1): 001_BF.png.ctc.json" in " ".join(
        result.stderr.split()
    )


def test_patients_are_added(export, tmp_path):
    table(export, "A,001,CTC", "A,002,x", "B,001,x", "B,002,x")
    patients = tmp_path / "patients.csv"
    patients.write_text("sample,patient\nA,P1\n")
    assert "no patient of sample B" in refusal(export, tmp_path / "m.csv", "--patients", patients)
    patients.write_text("sample,patient\nA,P1\nB,P1\nA,P2\n")
    assert "two patients of sample A" in refusal(export, tmp_path / "m.csv", "--patients", patients)
    patients.write_text("sample,patient\nA,P1\nB,P1 \nA,P1\n")
    assert label(export, tmp_path / "m.csv", "--patients", patients).exit_code == 0
    assert {row.group for row in rows(tmp_path / "m.csv").values()} == {"P1"}


def test_what_cannot_be_labelled_is_refused_in_one_line(export, tmp_path):
    out = tmp_path / "m.csv"
    assert "no DAPI images (nucleus)" in refusal(export, out)
    table(export, "A,1,CTC")
    assert "no row of" in refusal(export, out)
    table(export, "A,001,CTC", "A,001,x")
    assert "has two labels for cell 001 of sample A" in refusal(export, out)
    (export / "labels.csv").write_text("cell,label\n001,CTC\n")
    assert "needs the columns sample, cell, label" in refusal(export, out)
    crop(export / "A/img_001_BF.png")
    assert "several images of a cell have the same channel" in refusal(export, out)
    assert "does not exist" in refusal(tmp_path / "gone", out)


def test_a_manifest_is_never_overwritten(export, tmp_path):
    table(export, "A,001,CTC", "A,002,x", "B,001,x", "B,002,x")
    (tmp_path / "m.csv").write_text("mine")
    result = label(export, tmp_path / "m.csv")
    assert result.exit_code == 2
    assert "move it away" in result.stderr
    assert (tmp_path / "m.csv").read_text() == "mine"


def test_stains_label_an_export_and_are_drawn(stained, tmp_path):
    result = label(stained, tmp_path / "m.csv", "--gate")
    assert result.exit_code == 0, result.output
    made = rows(tmp_path / "m.csv")
    with (stained / "labels.csv").open() as file:
        truth = {(row["sample"], row["cell"]): row["label"] for row in csv.DictReader(file)}
    assert made.keys() == truth.keys()
    pairs = Counter((truth[key] == "CTC", row.label) for key, row in made.items())
    assert pairs[False, "CTC"] <= 1
    assert pairs[True, "CTC"] >= 0.25 * sum(known == "CTC" for known in truth.values())
    assert pairs[False, "other"] >= 0.8 * sum(known != "CTC" for known in truth.values())
    assert {row.source for row in made.values()} == {"gated"}
    assert set(made["h00s00", "00000"].images) == {"BF", *STAINS}
    picture = cv2.imread(str(tmp_path / "m.gates.png"))
    assert picture is not None and picture.std() > 10


def test_black_images_are_told_and_not_gated(stained, tmp_path):
    folder = tmp_path / "export"
    shutil.copytree(stained, folder, ignore=shutil.ignore_patterns("labels.csv"))
    for image in list(folder.rglob("*_APC.*")):
        black = np.zeros_like(cv2.imread(str(image), cv2.IMREAD_UNCHANGED))
        image.unlink()  # a black TIFF would pass for a half-written one
        cv2.imwrite(str(image.with_suffix(".png")), black)
    assert "no CD45 signal: its APC images" in refusal(folder, tmp_path / "m.csv")


def test_the_table_beats_the_stains_where_it_speaks(stained, tmp_path):
    assert label(stained, tmp_path / "m.csv").exit_code == 0
    assert {row.source for row in rows(tmp_path / "m.csv").values()} == {"labels.csv"}


@pytest.mark.parametrize(("name", "cells", "ctcs"), [("breast", 5414, 3747), ("jurkat", 3000, 0)])
def test_real_exports_are_read_to_the_last_cell(tmp_path, name, cells, ctcs):
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    assert label(folder, tmp_path / "m.csv").exit_code == 0
    made = rows(tmp_path / "m.csv")
    with (folder / "labels.csv").open() as file:
        assert made.keys() == {(row["sample"], row["cell"]) for row in csv.DictReader(file)}
    assert len(made) == cells
    assert sum(row.label == "CTC" for row in made.values()) == ctcs


LINES = ("A,001,CTC", "A,002,x", "B,001,x", "B,002,tumour")
SAME = {("A", "001"): "CTC", ("A", "002"): "other", ("B", "001"): "other", ("B", "002"): "CTC"}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",", ";").encode("utf-8-sig"),
        lambda text: ("sep=;\r\n" + text.replace(",", ";")).encode(),
        lambda text: text.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),
        lambda text: text.upper().replace("X", "x").replace("\n", "\r").encode(),
    ],
    ids=["semicolons", "sep", "Unicode text", "capitals and CR"],
)
def test_a_table_as_spreadsheets_write_it(export, tmp_path, change):
    (export / "labels.csv").write_bytes(change("\n".join(("sample,cell,label", *LINES)) + "\n"))
    result = label(export, tmp_path / "m.csv")
    assert result.exit_code == 0, result.output
    assert {key: row.label for key, row in rows(tmp_path / "m.csv").items()} == SAME


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_names_in_another_unicode_form_are_the_same(tmp_path, on_disk):
    typed = "NFD" if on_disk == "NFC" else "NFC"
    export, patients = tmp_path / "export", tmp_path / "p.tsv"
    crop(export / unicodedata.normalize(on_disk, "Müller") / "é1_BF.png")
    table(export, unicodedata.normalize(typed, "Müller,é1,CTC"))
    patients.write_text(f"Patient\tSample\nP1\t{unicodedata.normalize(typed, 'Müller')}\n")
    result = label(export, tmp_path / "m.csv", "--patients", patients)
    assert result.exit_code == 0, result.output
    manifest = tmp_path / "m.csv"
    manifest.write_text(unicodedata.normalize(typed, manifest.read_text().replace(",", ";")))
    ((key, row),) = rows(manifest).items()
    assert (key, row.label, row.patient) == (("Müller", "é1"), "CTC", "P1")
    assert row.images["BF"].is_file()


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (("A;001;CTC",), "bad rows; correct or remove: line 2: the number of values differs"),
        (("A,001,CTC", "A,002,CTC,0,5"), "line 3: the number of values differs"),
        (("A,001,CTC", 'A,"002,x', 'B,001",x'), "line 3: a value holds a line break"),
        (("Ä,001,CTC",), "line 2 is not UTF-8 (in Windows-1252: Ä,001,CTC)"),
        ((), "has no rows; it needs the columns sample, cell, label"),
    ],
)
def test_a_table_that_could_be_misread_is_refused(export, tmp_path, lines, text):
    content = "\n".join(("sample,cell,label", *lines)) + "\n"
    (export / "labels.csv").write_bytes(content.encode("cp1252"))
    assert text in refusal(export, tmp_path / "m.csv")


@pytest.mark.parametrize("name", ["labels.csv.txt", "LABELS.CSV", "labels.tsv", "labels.xlsx"])
def test_a_table_of_a_similar_name_is_not_passed_over(export, tmp_path, name):
    table(export, *LINES)
    (export / "labels.csv").rename(export / name)
    text = refusal(export, tmp_path / "m.csv")
    assert f"{name} is not read: save it as labels.csv" in text and "--gate" in text


def test_zeros_that_a_spreadsheet_removed_are_named(export, tmp_path):
    table(export, "A,1,CTC", "A,002,x", "B,001,x", "B,002,x")
    result = label(export, tmp_path / "m.csv")
    assert "cell 1 of sample A (001 without its zeros? keep cells as text)" in " ".join(
        result.stderr.split()
    )


def test_labels_that_resemble_ctc_are_named(export, tmp_path):
    table(export, "A,001,CTC", "A,002,CTC?", "B,001,no CTC", "B,002,x")
    result = label(export, tmp_path / "m.csv")
    assert result.exit_code == 0
    assert (
        "neither CTC nor tumour, and count as not a CTC (2): 'CTC?' of cell 002 of sample A;"
        " 'no CTC' of cell 001 of sample B" in " ".join(result.stderr.split())
    )


def test_names_as_an_exported_table_has_them_are_found(tmp_path):
    export = tmp_path / "export"
    crop(export / "-A" / "+1_BF.png")
    table(export, "'-A,'+1,CTC")
    assert label(export, tmp_path / "m.csv").exit_code == 0
    assert rows(tmp_path / "m.csv")["-A", "+1"].label == "CTC"
