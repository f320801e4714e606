"""Cells that a pretraining used without labels may be tested on, but the report names them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from ctcedge.model.folder import load_model
from ctcedge.records import plain
from train.baselines.baselines import TABLE_NAME, read_table
from train.cli import app
from train.data.dataset import TrainingProvenance, name_digest, read_cells
from train.data.manifest import read_manifests
from train.export.model_folder import pin


@pytest.fixture
def pretrained(model, test_manifest, tmp_path):
    """The model, pretrained on the images of sample E0 and on others of E1."""
    folder = shutil.copytree(model, tmp_path / "pretrained")
    spec = load_model(folder).spec
    rows = [row for row in read_manifests([test_manifest]) if row.sample == "E0"]
    digests = read_cells(rows, spec.input, lambda: None).digest
    unlabelled = TrainingProvenance(
        np.append(digests, "0" * 16), np.array(["f" * 16] * len(digests) + [name_digest("E1")])
    )
    table = read_table((folder / TABLE_NAME).read_bytes())
    table.with_earlier(TrainingProvenance.empty(), unlabelled).save(folder / TABLE_NAME)
    text = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    text["training_table"] = plain(pin(folder / TABLE_NAME))
    (folder / "model.json").write_text(json.dumps(text), encoding="utf-8")
    return folder


def test_they_are_named(pretrained, test_manifest, report, tmp_path):
    result = CliRunner().invoke(
        app, ["evaluate", str(pretrained), str(test_manifest), "--out", str(tmp_path / "report")]
    )
    assert result.exit_code == 0, result.output
    made = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert made["pretrained_on"] == ["E0", "E1"]
    warning = "2 of 12 patients or samples were used without labels by the model's pretraining"
    assert any(text.startswith(warning) and "E0, E1" in text for text in made["warnings"])
    assert warning in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    other = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert other["pretrained_on"] == []
    assert made["auc"] == other["auc"]
    assert made["leak_checked"]
