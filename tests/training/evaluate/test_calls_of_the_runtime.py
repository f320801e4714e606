"""Calls and reasons in a report are those that the runtime gives."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections import Counter

import numpy as np
import pytest

from ctcedge.classification.classifier import Classifier
from ctcedge.records import plain
from tests.helpers import drawn_cells
from train.data.manifest import Row, read_manifests, write_manifest
from train.evaluate import evaluate, write
from train.export.model_folder import pin
from train.export.ood_statistics import FEATURES_FILE
from train.simulate import simulate_cells

from .evaluated import MODELS


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """The shipped model with a more anxious guard, and without what it was made from."""
    folder = tmp_path_factory.mktemp("models") / "guarded"
    shutil.copytree(MODELS / "sim-resnet18", folder)
    text = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    with np.load(folder / FEATURES_FILE) as features:
        nearer = {**features, "distance": features["distance"] * 0.35}
    np.savez(folder / FEATURES_FILE, **nearer)
    text["features"] = plain(pin(folder / FEATURES_FILE))
    text["training_table"] = None
    (folder / "model.json").write_text(json.dumps(text), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory):
    """Simulated cells, some of which no network should judge alone: manifest and crops."""
    folder = tmp_path_factory.mktemp("exports") / "S"
    rows, crops = [], []
    for cell in simulate_cells(hospitals=2, samples=2, cells=10, seed=777, channels=("BF",)):
        pixels = cell.images["BF"]
        rows.append(
            Row(
                sample=cell.sample,
                cell=cell.cell,
                label="CTC" if cell.label == "CTC" else "other",
                stratum=cell.label,
                source="reviewed",
                um_per_px=cell.um_per_px,
                images={"BF": drawn_cells.save(folder / cell.sample / f"{cell.cell}.png", pixels)},
            )
        )
        crops.append(pixels)
    write_manifest(folder / "cells.csv", rows)
    return folder / "cells.csv", crops


def runtime_verdicts(model, rows, crops):
    classifier = Classifier.load(model, "cpu")
    return [
        verdict
        for row, crop in zip(rows, crops, strict=True)
        for verdict in classifier.classify([crop], row.um_per_px)
    ]


def test_calls_and_reasons_are_those_of_the_runtime(guarded, doubtful, tmp_path):
    manifest, crops = doubtful
    verdicts = runtime_verdicts(guarded, read_manifests([manifest]), crops)
    evaluation = evaluate(guarded, [manifest], seed=1)
    for name in ("report.json", "report.md", "report.html", "scores.csv"):
        (tmp_path / name).symlink_to("elsewhere")  # replaced, never followed
    write(evaluation, tmp_path)
    assert not (tmp_path / "elsewhere").exists()
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        told = list(csv.DictReader(file))
    assert [line["call"] for line in told] == [verdict.call for verdict in verdicts]
    assert [tuple(line["reasons"].split()) for line in told] == [v.reasons for v in verdicts]
    assert {"truncated", "debris", "near-threshold", "out-of-distribution"} <= {
        reason for verdict in verdicts for reason in verdict.reasons
    }
    told = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    calls = Counter(verdict.call for verdict in verdicts)
    for call, part in told["calls"].items():
        assert part["ctcs"] + part["others"] == calls[call]
    assert sum(part["ctcs_share"] for part in told["calls"].values()) == pytest.approx(1)
    reasons = Counter(reason for verdict in verdicts for reason in verdict.reasons)
    found = {name: part["ctcs"] + part["others"] for name, part in told["reasons"].items()}
    assert found == reasons
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "Called review" in text
        assert all(reason in text for reason in reasons)


def test_no_size_is_judged_where_images_or_model_know_no_um_per_px(guarded, doubtful, tmp_path):
    """As in the runtime, where debris is told by its true size alone."""
    manifest, crops = doubtful
    rows = read_manifests([manifest])
    unknown = [dataclasses.replace(row, um_per_px=None) for row in rows]
    write_manifest(tmp_path / "unknown.csv", unknown)
    shutil.copytree(guarded, tmp_path / "unscaled")
    text = json.loads((guarded / "model.json").read_text(encoding="utf-8"))
    text["input"] |= {"um_per_px": None, "crop_px": 1.0}
    (tmp_path / "unscaled" / "model.json").write_text(json.dumps(text), encoding="utf-8")
    for model, path in ((guarded, tmp_path / "unknown.csv"), (tmp_path / "unscaled", manifest)):
        verdicts = runtime_verdicts(model, read_manifests([path]), crops)
        assert evaluate(model, [path], seed=1).scored.verdicts == verdicts
        assert "debris" not in {reason for verdict in verdicts for reason in verdict.reasons}
