"""`ctcedge-train package`: a model as a bioimage.io package."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result
from msgspec import structs
from typer.testing import CliRunner

from ctcedge.model.folder import Model, load_model
from tests.helpers.pages import ROOT
from train.cli import app
from train.export import bioimageio
from train.export.bioimageio import PackageError, PackageSettings, package
from train.export.standalone import run_standalone

TOOL = ROOT / ".venv-bioimageio" / "bin" / "bioimageio"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["package", *map(str, arguments)])


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "shipped model.zip"
    result = call("sim-resnet18", "--out", path, "--doi", "10.1000/182")
    assert result.exit_code == 0, result.output
    assert f"{path}: Apache-2.0, by The ctcedge developers\n" in result.stdout
    assert result.stdout.endswith(f"\nNext: bioimageio test '{path}'\n")
    return path


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def description(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(contents(path)["bioimageio.yaml"])
    return found


def test_the_package_names_its_files_by_their_hashes(packed):
    files = contents(packed)
    stated = description(packed)
    pinned = [
        stated["weights"]["onnx"],
        stated["inputs"][0]["test_tensor"],
        stated["outputs"][0]["test_tensor"],
        *stated["attachments"],
    ]
    for entry in pinned:
        assert hashlib.sha256(files[entry["source"]]).hexdigest() == entry["sha256"]
    assert {entry["source"] for entry in pinned} | {"README.md", "bioimageio.yaml"} == set(files)
    assert onnx.load_from_string(files["model.onnx"]).opset_import[0].version == 20


def test_the_package_states_scale_licence_citation_and_limits(packed):
    stated = description(packed)
    assert stated["license"] == "Apache-2.0"
    assert [entry["doi"] for entry in stated["cite"]] == [
        "10.48550/arXiv.2503.03410",
        "10.1000/182",
    ]
    assert "not a diagnostic" in stated["description"]
    assert "simulated" in stated["description"]
    y, x = stated["inputs"][0]["axes"][2:]
    assert (y["size"], y["scale"], y["unit"]) == (x["size"], x["scale"], x["unit"])
    assert (y["size"], y["scale"], y["unit"]) == (64, 0.5, "micrometer")
    assert stated["config"]["ctcedge"]["model_sha256"] == load_model().sha256
    text = contents(packed)["README.md"].decode()
    for expected in ("Research software, not a diagnostic", "simulated images only", "Apache-2.0"):
        assert expected in text
    assert "0.5 um per pixel" in text
    assert contents(packed)["model_card.md"].startswith(b"# sim-resnet18")


def test_the_packed_graph_gives_the_packed_outputs(packed):
    files = contents(packed)
    inputs, outputs = (
        np.load(io.BytesIO(files[f"test_{name}.npy"])) for name in ("input", "output")
    )
    assert inputs.shape == (16, 1, 64, 64) and outputs.shape == (16, 1)
    assert len(np.unique(outputs)) == 16
    assert (run_standalone(files["model.onnx"], inputs) == outputs).all()


def other(folder: Path) -> Path:
    """Copy the shipped model as another one."""
    shutil.copytree(load_model().folder, folder)
    text = (folder / "model.json").read_text().replace('"0.6.0"', '"0.6.0-mine"')
    (folder / "model.json").write_text(text)
    return folder


def test_a_model_of_a_lab_needs_its_authors_and_licence(tmp_path):
    model = other(tmp_path / "mine")
    for given in ((), ("--author", "Jane Doe"), ("--licence", "CC-BY-4.0")):
        result = call(model, "--out", tmp_path / "m.zip", *given)
        assert result.exit_code == 2
        assert "give the model's authors and licence" in result.output
    named = ("--author", "Jane Doe", "--author", "A lab", "--license", "CC-BY-4.0")
    assert call(model, "--out", tmp_path / "new" / "m.zip", *named).exit_code == 0
    stated = description(tmp_path / "new" / "m.zip")
    assert stated["authors"] == [{"name": "Jane Doe"}, {"name": "A lab"}]
    assert stated["license"] == "CC-BY-4.0"
    assert stated["version"] == "0.1.0"  # one that the catalogue can compare


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--licence", "my own"], "no SPDX name"),
        (["--doi", "https://doi.org/10.1000/182"], "no DOI"),
        (["--author", "a/b"], "no name"),
        (["--author", ""], "no name"),
    ],
)
def test_what_cannot_be_stated_is_refused(tmp_path, given, message):
    result = call("sim-resnet18", "--out", tmp_path / "m.zip", *given)
    assert result.exit_code == 2
    assert message in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_cannot_be_written_is_one_line(tmp_path):
    result = call("sim-resnet18", "--out", tmp_path)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {tmp_path}: Is a directory\n"
    result = call(tmp_path / "none", "--out", tmp_path / "m.zip")
    assert result.exit_code == 2
    assert "no model folder" in result.stderr


def test_a_graph_that_would_differ_from_ctcedge_is_not_packed(tmp_path, monkeypatch):
    monkeypatch.setattr(bioimageio, "run_standalone", lambda graph, crops: crops[:, :, 0, 0] * 0)
    with pytest.raises(PackageError, match="differ by"):
        package(load_model(), tmp_path / "m.zip", PackageSettings())
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_um_per_px_says_so(tmp_path):
    without_um_per_px(tmp_path / "m.zip")
    axes = description(tmp_path / "m.zip")["inputs"][0]["axes"]
    assert axes[2:] == [{"type": "space", "id": name, "size": 64} for name in "yx"]
    text = contents(tmp_path / "m.zip")["README.md"].decode()
    assert "pixel size of the training images was unknown" in text
    assert "1.5 of their pixels become one" in " ".join(text.split())


def without_um_per_px(path: Path) -> None:
    shipped = load_model()
    changed = structs.replace(shipped.spec.input, um_per_px=None, crop_px=1.5)
    model = Model(shipped.folder, structs.replace(shipped.spec, input=changed), shipped.sha256)
    package(model, path, PackageSettings())


@pytest.mark.bioimageio
@pytest.mark.parametrize("kind", ["shipped", "without um/px", "INT8 only"])
def test_the_catalogues_own_test_passes(packed, tmp_path, kind):
    if not TOOL.exists():
        pytest.skip("bioimageio.core is not installed: make test-bioimageio")
    path = packed
    if kind == "without um/px":
        without_um_per_px(path := tmp_path / "m.zip")
    elif kind == "INT8 only":
        model = load_model()
        graphs = {"int8": model.spec.graphs["int8"]}
        model = Model(model.folder, structs.replace(model.spec, graphs=graphs), model.sha256)
        package(model, path := tmp_path / "m.zip", PackageSettings())
    summary = tmp_path / "summary.json"
    done = subprocess.run(
        [TOOL, "test", path, "--summary", summary],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "BIOIMAGEIO_CACHE_PATH": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(summary.read_text())
    assert found["status"] == "passed"
    assert {detail["status"] for detail in found["details"]} == {"passed"}
