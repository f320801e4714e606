"""Warnings of a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ctcedge.classification.ood import DomainShift, OodDetector, RunFeatures
from ctcedge.model.folder import load_model
from tests.helpers import report_data


def test_crops_without_a_call_are_warned_of(run: Path) -> None:
    (run / "S1" / "00001_BF.png.ctc.json").write_text("{", encoding="utf-8")
    damaged: dict[str, Any] = {
        "status": "unreadable",
        "call": None,
        "error": "truncated PNG",
        "reasons": [],
    }
    path = report_data.add(run, "S1", "00002", 0.5, **damaged)
    path = path.with_name(path.name + ".ctc.json")
    content = json.loads(path.read_bytes()) | {"probability": None, "quality": None}
    path.write_text(json.dumps(content), encoding="utf-8")
    report_data.add(run, "S2", "00003", 0.9, software={"ctcedge": "0.1.0"})
    data = report_data.data_of(report_data.write(run))
    warnings = " ".join(data["warnings"])
    assert "No usable sidecar yet, and not in this report: 2 crops" in warnings
    assert "Could not be classified: 1 crop (1: truncated PNG)" in warnings


def test_different_models_and_assumed_scale_are_warned_of(run: Path) -> None:
    report_data.add(run, "S1", "00001", 0.97, model={**report_data.MODEL, "sha256": "d" * 64})
    path = run / "S1" / "00002_BF.png.ctc.json"
    content = json.loads(path.read_bytes())
    content["image"] |= {"um_per_px_assumed": True}
    path.write_text(json.dumps(content), encoding="utf-8")
    warnings = " ".join(report_data.data_of(report_data.write(run))["warnings"])
    assert "Calls were made by 2 models" in warnings
    assert "um/px of 1 cell was not given" in warnings


def by_shipped_model(feature: float) -> dict[str, Any]:
    """Parts of a sidecar of the shipped model, with this first feature."""
    model = load_model()
    name = {"name": model.spec.name, "version": "1", "sha256": model.sha256, "variant": "int8"}
    return {"model": name, "ood": {"distance": 1.0, "p_value": 0.5, "features": [feature, 0.0]}}


class _Detector:
    """Detects domain shift in samples of 4 crops or more whose first feature is large."""

    def domain_shift(self, run: RunFeatures) -> DomainShift:
        if run.crops < 4:
            return DomainShift("insufficient", run.crops, None)
        distance = float(run.mean()[0])
        return DomainShift("shifted" if distance > 1 else "in-distribution", run.crops, distance)


def test_samples_with_domain_shift_are_warned_of(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OodDetector, "load", lambda _: _Detector())
    for number in range(8):
        parts = by_shipped_model(5.0 * (number % 2))
        report_data.add(run, "strange" if number % 2 else "usual", f"9{number}", 0.1, **parts)
    data = report_data.data_of(report_data.write(run))
    (warning,) = (text for text in data["warnings"] if text.startswith("Domain shift"))
    assert "strange" in warning
    assert "usual" not in warning
    values = {figure["name"]: figure["value"] for figure in data["figures"]}
    assert values["Samples without domain shift"] == "1 of 2"
    hidden = report_data.data_of(report_data.write(run, pseudonymise=True))
    assert "strange" not in json.dumps(hidden)


def test_domain_shift_of_small_samples_together_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OodDetector, "load", lambda _: _Detector())
    for number in range(6):
        report_data.add(tmp_path, f"S{number % 3}", f"{number}", 0.1, **by_shipped_model(5.0))
    data = report_data.data_of(report_data.write(tmp_path))
    assert any("data: all samples together." in text for text in data["warnings"])
    (figure,) = (f for f in data["figures"] if f["name"] == "Samples without domain shift")
    assert (figure["value"], figure["note"][:11]) == ("domain shift", "all samples")
