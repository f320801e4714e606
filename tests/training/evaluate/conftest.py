"""A model and labelled exports for the tests of `evaluate`."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tests.helpers import disk_model
from train.cli import app

from .evaluated import export, with_table


@pytest.fixture(scope="module")
def train_manifest(tmp_path_factory):
    return export(tmp_path_factory.mktemp("exports") / "T", samples=8, seed=1)


@pytest.fixture(scope="module")
def test_manifest(tmp_path_factory):
    return export(tmp_path_factory.mktemp("exports") / "E", samples=12, seed=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory, train_manifest):
    folder = tmp_path_factory.mktemp("models") / "disks"
    disk_model.build(folder)
    return with_table(
        folder, train_manifest, lambda name: "validation" if name == "T7" else "training"
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory, model, test_manifest):
    out = tmp_path_factory.mktemp("reports") / "new"
    result = CliRunner().invoke(
        app, ["evaluate", str(model), str(test_manifest), "--out", str(out)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert str(out / "report.html") in result.output.replace("\n", "")
    return out
