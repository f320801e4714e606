"""Results per sample and per patient, and every output that shows them."""

from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ctcedge.classification.ood import DomainShift
from ctcedge.discovery.naming import Naming
from ctcedge.report import write_report
from ctcedge.results.controls import Control, DecisionContext
from ctcedge.results.sample_columns import PATIENT_KINDS, SAMPLE_KINDS
from ctcedge.results.sample_table import SampleInfo, SampleTable, load_sample_table
from ctcedge.results.samples import SampleCounter, SampleResults
from tests.helpers.cli_runner import call
from tests.helpers.drawn_cells import CTC, cell, save
from tests.helpers.report_data import data_of
from tests.unit.results.review_files import corrections, entry

CONTEXT = DecisionContext("0" * 64, "balanced", "1" * 64)
TABLE = "sample,patient,volume_ml,kind\nS1,P1,7.5,blood\nS2,P1,2.5,blood\nS9,P2,5,blood\n"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTCEDGE_STATE", str(tmp_path / "state"))


def count(counter: SampleCounter, sample: str, *calls: str, **changes: Any) -> None:
    for each in calls:
        options = {"cluster": False, "review": None, "context": CONTEXT} | changes
        counter.add(sample, each, **options)


def results(counter: SampleCounter, rows: dict[str, SampleInfo] | None = None) -> SampleResults:
    return counter.results(SampleTable(rows or {}), {}, {})


def test_counts_by_sample() -> None:
    counter = SampleCounter()
    count(counter, "A", "CTC", "review", "leukocyte", "leukocyte")
    count(counter, "A", "CTC", cluster=True, review="CTC")
    count(counter, "A", "review", review="leukocyte")
    count(counter, "A", "leukocyte", review="CTC")
    counter.add_unclassified("A")
    counter.add_pending("B")
    first, second = results(counter).samples
    assert (first.sample, first.cells, first.ctc, first.review, first.leukocyte) == (
        "A",
        8,
        2,
        2,
        3,
    )
    assert (first.clusters, first.confirmed, first.to_review, first.unclassified) == (1, 2, 2, 1)
    assert (second.sample, second.cells, second.pending, second.to_review) == ("B", 1, 1, 0)
    assert first.ctc_per_ml is first.expected_false_positives is first.patient is None


def test_a_crop_that_is_classified_again_counts_once() -> None:
    counter = SampleCounter()
    count(counter, "A", "CTC")
    count(counter, "A", "leukocyte")
    count(counter, "A", "CTC", count=-1)
    (sample,) = results(counter).samples
    assert (sample.cells, sample.ctc, sample.leukocyte, sample.to_review) == (1, 0, 1, 0)


def test_patients_are_sums_and_per_ml_needs_every_volume() -> None:
    counter = SampleCounter()
    count(counter, "A", "CTC", "CTC", "leukocyte")
    count(counter, "B", "CTC")
    count(counter, "C", "CTC")
    rows = {
        "A": SampleInfo("P1", 4.0),
        "B": SampleInfo("P1", 2.0),
        "C": SampleInfo("P2", None),
        "D": SampleInfo("P3", 1.0),
    }
    found = results(counter, rows)
    assert [sample.ctc_per_ml for sample in found.samples] == [0.5, 0.5, None]
    first, second = found.patients
    assert (first.patient, first.samples, first.cells, first.ctc) == ("P1", 2, 4, 3)
    assert (first.volume_ml, first.ctc_per_ml) == (6.0, 0.5)
    assert (second.patient, second.volume_ml, second.ctc_per_ml) == ("P2", None, None)
    assert found.missing == ["D"]


def test_false_positives_and_domain_shift_by_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    control = Control("H", "/x", "2026-01-02T03:04:05.678Z", "m 1", CONTEXT, 3000, 3)
    monkeypatch.setattr("ctcedge.results.samples.usable_controls", lambda: [control])
    counter = SampleCounter()
    count(counter, "A", *["leukocyte"] * 2000)
    count(counter, "B", "leukocyte", context=structs.replace(CONTEXT, operating_point="confirm"))
    count(counter, "C", "leukocyte")
    count(counter, "C", "leukocyte", context=structs.replace(CONTEXT, operating_point="confirm"))
    shifts = {"A": DomainShift("shifted", 2000, 1.7)}
    first, *others = counter.results(SampleTable(), shifts, {}).samples
    assert first.expected_false_positives is not None
    assert first.expected_false_positives.expected == pytest.approx(2)
    assert first.is_shifted
    assert [sample.expected_false_positives for sample in others] == [None, None]


def test_memory_does_not_grow_with_the_crops() -> None:
    counter = SampleCounter()
    names = [f"S{number}" for number in range(3000)]
    tracemalloc.start()
    for name in names * 10:
        counter.add(name, "leukocyte", cluster=False, review=None, context=CONTEXT)
    assert len(results(counter).samples) == 3000
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


@pytest.fixture
def reviewed(crops: Path, model_folder: Path, tmp_path: Path) -> Path:
    """Two samples of one patient, with a confirmed CTC and an unreadable crop."""
    (crops / "samples.csv").write_text(TABLE)
    (crops / "S1" / "00009_BF.png").write_bytes(b"")
    call("classify", crops, "--model", model_folder, "--provider", "cpu", code=3)
    file = tmp_path / "corrections.json"
    file.write_text(json.dumps(corrections(entry(crops, "S1/00003_BF.png", call="CTC"))))
    done = call("review", "import", file, crops)
    assert f"ctcedge export {crops} --picklist --out picklist.csv" in done.stderr
    return crops


def short(sample: dict[str, Any]) -> tuple[Any, ...]:
    names = "sample patient cells ctc review leukocyte unclassified confirmed to_review ctc_per_ml"
    return tuple(sample[name] for name in names.split())


EXPECTED = [("S1", "P1", 4, 1, 1, 1, 1, 1, 1, 0.1333), ("S2", "P1", 1, 1, 0, 0, 0, 0, 1, 0.4)]


def test_every_output_has_the_same_numbers(
    reviewed: Path, model_folder: Path, tmp_path: Path
) -> None:
    status = json.loads(call("status", reviewed, "--json", code=3).stdout)
    assert [short(sample) for sample in status["samples"]] == EXPECTED
    assert [(p["patient"], p["cells"], p["volume_ml"]) for p in status["patients"]] == [
        ("P1", 5, 10.0)
    ]
    assert status["samples_not_found"] == ["S9"]
    # Twice: the second run knows the crops from its index, and the review all the same.
    for _ in range(2):
        command = "classify", reviewed, "--model", model_folder, "--provider", "cpu", "--json"
        summary = json.loads(call(*command, code=3).stdout)
        for key in ("samples", "patients", "samples_not_found"):
            assert summary[key] == status[key]
    table, patients = tmp_path / "results.csv", tmp_path / "patients.csv"
    call("export", reviewed, "--per-sample", "--out", table)
    call("export", reviewed, "--per-patient", "--out", patients)
    with open(table, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(SAMPLE_KINDS)
    assert [short(row) for row in rows] == [tuple(map(str, row)) for row in EXPECTED]
    with open(patients, encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == list(PATIENT_KINDS)
    assert (row["patient"], row["samples"], row["ctc"], row["ctc_per_ml"]) == (
        "P1",
        "2",
        "2",
        "0.2",
    )
    page = tmp_path / "page.html"
    write_report(reviewed, None, page, Naming(), table=load_sample_table(reviewed))
    data = data_of(page)
    assert [short(sample) for sample in data["per_sample"]] == EXPECTED
    assert data["per_patient"][0]["patient"] == "P1"


def test_pseudonyms_hide_patients_and_kinds(reviewed: Path, tmp_path: Path) -> None:
    page, table = tmp_path / "page.html", load_sample_table(reviewed)
    write_report(reviewed, None, page, Naming(), table=table, pseudonymise=True)
    data = data_of(page)
    (patient,) = {sample["patient"] for sample in data["per_sample"]}
    assert patient == data["per_patient"][0]["patient"] != "P1"
    assert {sample["sample"] for sample in data["per_sample"]} <= set(data["samples"])
    assert {sample["kind"] for sample in data["per_sample"]} == {None}


def test_the_terminal_shows_the_samples_that_matter(crops: Path, model_folder: Path) -> None:
    for number in range(25):
        save(crops / f"T{number:02}" / "00001_BF.png", cell(CTC, contrast=40 + number))
    done = call("classify", crops, "--model", model_folder, "--provider", "cpu")
    lines = [line.split() for line in done.stdout.splitlines()]
    shown = [line[0] for line in lines if len(line) > 5 and line[0][1:].isdigit()]
    assert len(shown) == 20
    assert shown[0] == "S1"  # two cells to look at
    assert "and 7 more samples with 7 CTC, 0 review and 7 to look at" in done.stdout
    assert "Cells a person must look at: 28" in done.stdout
    assert "Patient" not in done.stdout


def test_a_wrong_table_is_refused_before_anything_is_classified(
    crops: Path, model_folder: Path, tmp_path: Path
) -> None:
    (crops / "samples.csv").write_text("sample,volume_ml\nS1,x\n")
    for command in ("classify", "status"):
        assert "line 2: 'x' is no volume" in call(command, crops, code=2).stderr
    assert not list(crops.rglob("*.json"))
    other = tmp_path / "other.csv"
    other.write_text(TABLE)
    call("classify", crops, "--model", model_folder, "--samples", other)
    config = tmp_path / "lab.toml"
    config.write_text(f'samples = "{other}"\n')
    status = json.loads(call("status", crops, "--config", config, "--json").stdout)
    assert status["samples"][0]["patient"] == "P1"


def test_tables_that_cannot_be_made(reviewed: Path) -> None:
    both = call("export", reviewed, "--per-sample", "--picklist", code=2)
    assert "give one of" in both.stderr
    (reviewed / "samples.csv").unlink()
    none = call("export", reviewed, "--per-patient", code=2)
    assert "columns sample,patient,volume_ml,kind" in " ".join(none.stderr.split())
