"""Reports with pseudonyms."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from ctcedge.errors import OutputError
from ctcedge.report.pseudonyms import KEY_NAME
from tests.helpers import report_data


def test_pseudonyms_stay_the_same_and_hide_every_name(run: Path, tmp_path: Path) -> None:
    review = {
        "call": "CTC",
        "reviewer": "Ada Lovelace",
        "time": "2026-11-24T01:00:00.000Z",
        "from": "CTC",
        "note": "patient Miller",
        "image_sha256": hashlib.sha256((run / "S1/00001_BF.png").read_bytes()).hexdigest(),
        "channels": ["BF"],
        "blinded": True,
        "weight": None,
        "history": [],
    }
    report_data.add(run, "S1", "00001", 0.97, review=review)
    plain = report_data.data_of(report_data.write(run))
    page = report_data.write(run, pseudonymise=True)
    data, text = report_data.data_of(page), page.read_text(encoding="utf-8")
    assert page.name == "ctcedge-pseudonymised-report.html"
    assert data["pseudonymised"] is True
    assert data["cells"]["sha256"] == plain["cells"]["sha256"]
    carried = json.dumps(data)
    for secret in ("S1", "00001", "Ada", "Miller", "run/", str(tmp_path), plain["run_id"]):
        assert secret not in carried
    assert "<title>ctcedge: run-" in text
    assert len(set(data["cells"]["path"])) == len(data["cells"]["path"])
    assert len(data["samples"]) == 2
    assert (
        report_data.data_of(report_data.write(run, pseudonymise=True))["samples"] == data["samples"]
    )
    key = run / KEY_NAME
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_bytes().hex() not in text
    key.unlink()
    assert (
        report_data.data_of(report_data.write(run, pseudonymise=True))["samples"] != data["samples"]
    )


def test_a_wrong_key_is_refused(run: Path) -> None:
    (run / KEY_NAME).write_bytes(b"short")
    with pytest.raises(OutputError, match="not a key of 32 bytes"):
        report_data.write(run, pseudonymise=True)
