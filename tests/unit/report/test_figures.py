"""Figures and facts of a report."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from tests.helpers import report_data
from tests.helpers.cli_runner import call


def test_counts_and_unknown_figures(run: Path) -> None:
    data = report_data.data_of(report_data.write(run))
    values = {figure["name"]: figure["value"] for figure in data["figures"]}
    assert values["Called CTC"] == "2"
    assert values["Clusters of touching cells"] == "1"
    assert values["For review"] == "2"
    assert values["Called leukocyte"] == "13"
    assert values["Expected false positives"] == "unknown here"
    facts = dict(data["facts"])
    assert facts["Model"].startswith("by-hand 1, SHA-256 aaaa")
    assert "0.9 becomes 0.0018 if 1 in 5,000 were" in facts["Probabilities"]
    assert data["reasons"] == ["debris", "near-threshold", "out-of-focus"]


def test_controls_give_the_expected_false_positives(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTCEDGE_STATE", str(tmp_path / "state"))
    donor = tmp_path / "donor"
    for number in range(30):
        report_data.add(donor, "healthy", f"{number:03}", 0.8 if number < 3 else 0.1)
    call("controls", "add", donor)
    (figure,) = (
        f for f in report_data.data_of(report_data.write(run))["figures"] if "false" in f["name"]
    )
    assert re.fullmatch(r"1\.7 \(\d+ to \d+\)", figure["value"])
    assert figure["note"].endswith("from 1 healthy-donor sample of 30 cells")
    report_data.add(run, "S1", "00001", 0.97, operating_point="screening")
    (figure,) = (
        f for f in report_data.data_of(report_data.write(run))["figures"] if "false" in f["name"]
    )
    expected = ("unknown here", "calls were made with different settings")
    assert (figure["value"], figure["note"]) == expected


def test_existing_reviews_are_shown_and_estimate_missed_ctcs(run: Path) -> None:
    for number in range(6, 18):
        review = {
            "call": "CTC" if number == 6 else "leukocyte",
            "reviewer": "Ada",
            "time": "2026-11-24T01:00:00.000Z",
            "from": "leukocyte",
            "note": "looks odd",
            "channels": ["BF"],
            "blinded": True,
            "weight": 1.0,
        }
        path = next(run.rglob(f"{number:05}_BF.png"))
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        block = {**review, "image_sha256": sha, "history": []}
        report_data.add(run, path.parent.name, f"{number:05}", round(0.3 / number, 6), review=block)
    data = report_data.data_of(report_data.write(run))
    values = {figure["name"]: figure["value"] for figure in data["figures"]}
    assert values["Reviewed"] == "12"
    assert values["Missed CTCs (estimate)"].startswith("1 (1 to ")
    assert len(data["reviews"]) == 12
    for (review,) in data["reviews"].values():
        assert (review["reviewer"], review["note"]) == ("Ada", "looks odd")


def test_thresholds_are_shown(run: Path) -> None:
    data = report_data.data_of(report_data.write(run))
    assert data["decisions"] == [{"review": 0.4, "ctc": 0.6}]
    assert ["Decision", "the model’s own: CTC from 0.6, review from 0.4"] in data["facts"]
    screening = {"operating_point": "screening", "threshold": 0.3, "review_band": [0.3, 0.3]}
    report_data.add(run, "S3", "00009", 0.95, **screening)
    data = report_data.data_of(report_data.write(run))
    assert data["decisions"][1] == {"review": 0.3, "ctc": 0.3}
    words = "operating point screening: CTC from 0.3, no review band (1 crop)"
    assert ["Decision", words] in data["facts"]


def test_facts_and_activation_maps_of_an_available_model(tmp_path: Path) -> None:
    export = Path(__file__).parents[2] / "sample"
    out = tmp_path / "out"
    call("classify", export, "--out", out, "--provider", "cpu")
    page = tmp_path / "page.html"
    call("report", export, "--sidecars", out, "--out", page)
    data = report_data.data_of(page)
    assert any("demonstration model" in text for text in data["warnings"])
    assert dict(data["facts"])["Trained on"] != "unknown here"
    for strip in data["strips"]:
        activation = strip["activation"]
        assert len(activation["values"]) == activation["side"] ** 2
        assert max(map(abs, activation["values"])) <= 100
