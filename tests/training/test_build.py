"""The documented command, tiny: from nothing to a folder that the runtime accepts."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

from ctcedge.classification.decision import probability
from ctcedge.images.preprocess import network_input
from ctcedge.model.folder import load_model
from ctcedge.model.spec import INPUT_NAME, OUTPUT_NAME
from train.baselines.baselines import EARLIER, TABLE_NAME, read_table
from train.build import TINY
from train.cli import app
from train.export.model_folder import golden_crops, publish, write_golden
from train.fit.pretrained import InitialWeights
from train.fit.run import open_runs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("build")
    arguments = ["build", "--tiny", "--name", "tiny", "--version", "0.0.1"]
    places = ["--out", str(root / "models"), "--runs", str(root / "runs")]
    result = CliRunner().invoke(app, [*arguments, *places], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return root


@pytest.fixture(scope="module")
def model(made):
    return load_model(made / "models" / "tiny")


def test_the_folder_holds_what_the_spec_pins_and_no_more(model):
    spec = model.spec
    pinned = [
        *spec.graphs.values(),
        spec.golden.file,
        spec.card,
        spec.features,
        spec.training_table,
    ]
    for file in pinned:
        assert hashlib.sha256(model.read(file)).hexdigest() == file.sha256
        assert len(model.read(file)) == file.bytes
    names = {file.file for file in pinned} | {"model.json"}
    assert {path.name for path in model.folder.iterdir()} == names


def test_the_spec_says_what_it_is(model):
    spec = model.spec
    assert (spec.name, spec.version) == ("tiny", "0.0.1")
    assert spec.demonstration
    assert "simulated images only" in spec.training
    assert spec.input == TINY.input
    assert set(spec.graphs) == {"int8", "fp16", "fp32"}
    assert spec.calibration.slope > 0


@pytest.mark.parametrize("variant", ["int8", "fp16"])
def test_the_graph_gives_the_golden_outputs(model, variant):
    spec = model.spec
    with np.load(model.folder / spec.golden.file.file) as golden:
        crops, um_per_px = golden["crops"], golden["um_per_px"]
        expected = golden[f"probability_{variant}"]
    assert crops.shape == (16, 64, 64)
    session = onnxruntime.InferenceSession(
        model.read_graph(variant), providers=["CPUExecutionProvider"]
    )
    for crop, pitch, answer in zip(crops, um_per_px, expected, strict=True):
        image = network_input(crop, pitch, spec.input)
        (logit,) = session.run([OUTPUT_NAME], {INPUT_NAME: image[None, None]})[0]
        assert abs(probability(logit, spec.calibration) - answer) <= spec.golden.tolerance


def test_golden_bytes_depend_on_the_seed_alone(model, tmp_path):
    graphs = {variant: model.read_graph(variant) for variant in model.spec.graphs}
    again = tmp_path / "golden.npz"
    write_golden(again, graphs, model.spec.input, model.spec.calibration, TINY.fit.seed)
    assert hashlib.sha256(again.read_bytes()).hexdigest() == model.spec.golden.file.sha256
    assert not np.array_equal(golden_crops(1)[0], golden_crops(2)[0])


def test_the_card_warns_first_and_shows_the_figures(model):
    text = model.read(model.spec.card).decode()
    head, _, rest = text.partition("## ")
    assert "Trained on simulated images only. A demonstration until a lab trains" in head
    assert "not a diagnostic" in head
    assert "for simulated hospitals. They do not apply to a patient's cells" in head
    for figure in ("ROC curve (AUC)", "size alone", "F1", "Brier", "ONNX INT8", "ONNX FP16"):
        assert figure in rest
    assert "--tiny" in rest
    assert "| nan" not in text


def test_what_is_not_shipped_stays_in_the_run_folder(made):
    (run,) = open_runs(made / "runs" / "tiny-0.0.1")
    assert run.settings == TINY.fit
    sides = [set(run.subset(side).group) for side in ("training", "validation", "test")]
    assert [len(groups) for groups in sides] == [6, 3, 3]
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]


def test_a_build_goes_on_from_a_model_and_says_so(made, model, tmp_path):
    arguments = ["build", "--tiny", "--name", "next", "--version", "0.0.2", "--seed", "2"]
    start = ["--init", str(model.folder), "--epochs", "1", "--learning-rate", "0.0001"]
    places = ["--out", str(tmp_path / "models"), "--runs", str(tmp_path / "runs")]
    result = CliRunner().invoke(app, [*arguments, *start, *places], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (run,) = open_runs(tmp_path / "runs" / "next-0.0.2")
    assert run.init == model.spec.graphs["fp32"].sha256
    assert (run.settings.epochs, run.settings.learning_rate) == (1, 0.0001)
    (before,) = open_runs(made / "runs" / "tiny-0.0.1")
    moved, first = run.network().head.weight, before.network().head.weight
    assert 0 < (moved - first).abs().max() < 0.05
    spec = load_model(tmp_path / "models" / "next").spec
    assert "seed 2, from the weights of tiny 0.0.1 (simulated images only, seed 1" in spec.training
    card = (tmp_path / "models" / "next" / "README.md").read_text()
    assert f"--seed 2 {' '.join(start)} --tiny" in card
    assert "1 epochs of AdamW from weights of an earlier model" in card
    assert f"Initial weights: SHA-256 {run.init}" in card
    table = read_table((tmp_path / "models" / "next" / TABLE_NAME).read_bytes())
    seen = set(before.subset("training").digest)
    assert set(table.digest[table.split == EARLIER]) == seen
    assert set(InitialWeights.of(tmp_path / "models" / "next").provenance.digest) == seen | set(
        run.subset("training").digest
    )


def test_a_build_without_weights_to_start_from_is_refused(tmp_path):
    arguments = ["build", "--tiny", "--name", "tiny", "--version", "0.0.1"]
    places = ["--init", str(tmp_path), "--out", str(tmp_path), "--runs", str(tmp_path / "runs")]
    result = CliRunner().invoke(app, [*arguments, *places])
    assert result.exit_code == 2
    assert "neither a model folder nor a run" in result.output


def test_a_build_replaces_a_model_folder_and_nothing_else(model, tmp_path):
    destination = tmp_path / "tiny"
    publish(model, destination)
    (destination / "stray").touch()
    publish(model, destination)
    assert not (destination / "stray").exists()
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.txt").touch()
    with pytest.raises(FileExistsError, match="not a model folder"):
        publish(model, other)
    assert (other / "chapter1.txt").exists()


def test_the_name_of_a_published_folder_is_on_the_disk(model, tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def noted(descriptor):
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), (tmp_path / "tiny").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    publish(model, tmp_path / "tiny")
    assert synced[-1] == (str(tmp_path), True)


def test_a_link_at_the_place_of_a_model_folder_is_replaced_not_followed(model, tmp_path):
    first = publish(model, tmp_path / "first" / "tiny").folder
    (first / "stray").touch()
    link = tmp_path / "tiny"
    link.symlink_to(first)
    publish(model, link)
    assert not link.is_symlink()
    assert (first / "stray").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"first", "tiny"}


def test_a_foreign_folder_is_refused_before_the_work_begins(tmp_path):
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    arguments = ["build", "--tiny", "--name", "tiny", "--version", "0.0.1"]
    places = ["--out", str(tmp_path / "models"), "--runs", str(tmp_path / "runs")]
    result = CliRunner().invoke(app, [*arguments, *places])
    assert result.exit_code == 2
    assert "is not a model folder; move it away" in result.output
    assert not (tmp_path / "runs" / "tiny-0.0.1" / "weights.pt").exists()


def test_simulate_refuses_to_overwrite(tmp_path):
    (tmp_path / "h00").mkdir()
    result = CliRunner().invoke(app, ["simulate", str(tmp_path), "--cells", "1"])
    assert result.exit_code == 2
    assert "exists; move it away" in result.output


def test_simulate_into_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    result = CliRunner().invoke(app, ["simulate", str(tmp_path / "file"), "--cells", "1"])
    assert result.exit_code == 2
    assert "Not a directory" in result.output


def test_simulate_writes_labelled_exports(tmp_path):
    counts = ["--hospitals", "2", "--samples", "1", "--cells", "3"]
    result = CliRunner().invoke(app, ["simulate", str(tmp_path), *counts], catch_exceptions=False)
    assert result.exit_code == 0
    assert "6 cells" in result.output
    assert len(list(tmp_path.glob("*/labels.csv"))) == 2
    assert len(list(tmp_path.glob("*/*/*_BF.*"))) == 6


@pytest.mark.parametrize("command", ["build", "simulate"])
def test_help_shows_an_example(command):
    result = CliRunner().invoke(app, [command, "--help"])
    assert f"python -m train {command}" in result.output


@pytest.mark.parametrize(
    "given",
    [["--name", "no name"], ["--name", "a", "--version", "1\n"], ["--learning-rate", "0"]],
    ids=" ".join,
)
def test_what_cannot_be_built_is_refused_before_anything_is_simulated(given, tmp_path, monkeypatch):
    monkeypatch.setattr("train.build.simulate", lambda _: pytest.fail("simulated"))
    usual = ["build", "--tiny", "--name", "a", "--version", "1", "--runs", str(tmp_path / "runs")]
    result = CliRunner().invoke(app, [*usual, "--out", str(tmp_path / "models"), *given])
    assert result.exit_code == 2, result.output
    assert not list(tmp_path.iterdir())
