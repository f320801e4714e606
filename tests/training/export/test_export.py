"""The documented command: a run becomes a model folder, or a refusal that says why."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from msgspec import structs
from typer.testing import CliRunner

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.golden import verify
from ctcedge.errors import ModelError
from ctcedge.model.folder import load_model
from ctcedge.model.spec import OPERATING_POINTS
from tests.training.drawn import fitted
from train.baselines.baselines import read_table
from train.cli import app
from train.data.dataset import name_digest
from train.export import export as exporting
from train.export import graphs
from train.export.export import ExportSettings, export
from train.export.onnx import fp32_graph
from train.export.parity import ParityError, ParityLimits
from train.export.quantize import RECIPES, int8_graph
from train.fit.presets import PRESETS
from train.fit.run import open_runs
from train.metrics.onnx_scores import run_graph

INPUT = structs.replace(PRESETS["tiny"].input, um_per_px=None, crop_px=1.5)
"""Of unknown um/px, the rarer case."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "drawn"
    fitted(folder, INPUT)
    return folder


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("models")
    arguments = [
        "export",
        str(run),
        "--name",
        "drawn",
        "--out",
        str(out),
        "--review-fraction",
        "0.2",
    ]
    result = CliRunner().invoke(app, [*arguments, "--about", "drawn disks"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return load_model(out / "drawn")


def test_the_folder_holds_what_the_spec_pins_and_no_more(made):
    spec = made.spec
    made.check_files()
    pinned = [
        *spec.graphs.values(),
        spec.golden.file,
        spec.card,
        spec.features,
        spec.training_table,
    ]
    names = {file.file for file in pinned} | {"model.json"}
    assert {path.name for path in made.folder.iterdir()} == names
    assert set(spec.graphs) == {"int8", "fp16", "fp32"}


def test_the_folder_is_open_to_whom_any_new_folder_is(made, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    assert made.folder.stat().st_mode == plain.stat().st_mode


def test_the_runtime_takes_it(made):
    assert verify(made) <= made.spec.golden.tolerance
    crops = list(np.random.default_rng(1).integers(100, 150, (3, 80, 70), dtype=np.uint8))
    classifier = Classifier.open(made, "cpu")
    assert classifier.classify(crops) == classifier.classify(crops, um_per_px=0.3)


def test_the_spec_tells_parity_and_operating_points(made):
    spec = made.spec
    assert set(spec.parity) == {"int8", "fp16", "fp32"}
    assert all(one.cells == 90 and one.auc_loss <= 0.005 for one in spec.parity.values())
    assert spec.parity["fp32"].largest_difference < 1e-4
    assert set(spec.operating_points) == set(OPERATING_POINTS)
    assert spec.operating_points["confirm"] is None  # 60 others cannot bound 10 per 10,000
    assert spec.operating_points["balanced"].samples == 3
    assert not spec.demonstration
    assert spec.training.startswith("drawn disks: 180 labelled cells of 6 patients")


def test_features_and_training_table(made, run):
    (opened,) = open_runs(run)
    with np.load(made.folder / "features.npz", allow_pickle=False) as held:
        width = held["means"].shape[1]
        assert held["whitening"].shape == (width, width)
        assert len(held["distance"]) == len(opened.subset("validation"))
    table = read_table(made.read(made.spec.training_table))
    assert table.digest.tolist() == opened.cells.digest.tolist()
    assert table.split.tolist() == opened.split.tolist()
    assert name_digest("group 0") in table.sample_digest
    assert b"group" not in made.read(made.spec.training_table)


def test_the_card_shows_the_figures(made):
    text = made.read(made.spec.card).decode()
    for words in (
        "drawn disks",
        "not a diagnostic",
        "Area under the ROC curve (AUC), size alone",
        "- ONNX INT8: QDQ, weights per channel",
        "| confirm | too few validation cells |",
        "um/px of the training images is unknown",
    ):
        assert words in text
    assert "imulated" not in text
    assert "nan" not in text


def test_all_graphs_are_shipped_and_say_much_the_same(made, run):
    (opened,) = open_runs(run)
    inputs = opened.subset("test").bright[:4]
    exact = run_graph(made.read_graph("fp32"), inputs)
    for variant in ("int8", "fp16"):
        np.testing.assert_allclose(run_graph(made.read_graph(variant), inputs), exact, atol=0.2)


def test_the_folds_of_a_run_become_model_folders(run, tmp_path):
    for fold in ("fold-1", "fold-2"):
        shutil.copytree(run, tmp_path / "folds" / fold)
    models = export(tmp_path / "folds", ExportSettings("both"), tmp_path / "models", print)
    assert [model.spec.name for model in models] == ["both-fold-1", "both-fold-2"]
    assert [model.folder for model in models] == [
        tmp_path / "models" / "both" / fold for fold in ("fold-1", "fold-2")
    ]
    with pytest.raises(FileExistsError, match="not a model folder"):
        export(run, ExportSettings("both"), tmp_path / "models", print)


def test_a_graph_that_loses_too_much_is_refused_after_every_remedy(run, tmp_path):
    notes = []
    limits = ParityLimits(int8_probability=-1)
    with pytest.raises(ParityError, match=r"^not exported; int8: mean probability .*--force"):
        export(run, ExportSettings("no", limits=limits), tmp_path, notes.append)
    assert [str(recipe) in note for recipe, note in zip(RECIPES, notes, strict=True)] == [True] * 5
    assert not any(tmp_path.iterdir())


def test_force_exports_what_is_closest_and_says_so(run, tmp_path):
    notes = []
    limits = ParityLimits(int8_probability=-1)
    settings = ExportSettings("forced", limits=limits, force=True)
    (model,) = export(run, settings, tmp_path, notes.append)
    assert any("exported all the same, quantized with" in note for note in notes)
    assert set(model.spec.graphs) == {"int8", "fp16", "fp32"}


def test_the_first_remedy_that_helps_is_taken(run, tmp_path, monkeypatch):
    tried = []

    def spoilt_at_first(body, spec, views, inputs, recipe):
        tried.append(recipe)
        if recipe == RECIPES[0]:
            wrong = structs.replace(spec, gain=spec.gain * 3)
            return fp32_graph(body, wrong, views)
        return int8_graph(body, spec, views, inputs, recipe)

    monkeypatch.setattr(graphs, "int8_graph", spoilt_at_first)
    notes = []
    (model,) = export(run, ExportSettings("mended"), tmp_path, notes.append)
    assert tried == [*RECIPES[:2]]
    assert set(model.spec.graphs) == {"int8", "fp16", "fp32"}
    assert f"int8: quantized with {RECIPES[1]}" in notes
    assert any(note.startswith(f"int8 with {RECIPES[0]} is not good enough") for note in notes)
    lines = model.read(model.spec.card).decode().splitlines()
    recipe = f"QDQ, weights per channel, {RECIPES[1]}, set by 128 training crops."
    assert f"- ONNX INT8: {recipe}" in lines


@pytest.mark.parametrize(
    ("gains", "count"),
    [
        ((1.5, 1, 1, 1, 1), 2),
        pytest.param((1.5, 1.3, 1.4, 1, 1), 3, marks=pytest.mark.slow_training),
    ],
)
def test_a_graph_that_could_call_more_alike_is_kept_for_want_of_a_better(
    run, tmp_path, monkeypatch, gains, count
):
    tried = []

    def spoilt(body, spec, views, inputs, recipe):
        tried.append(recipe)
        wrong = structs.replace(spec, gain=spec.gain * gains[RECIPES.index(recipe)])
        return fp32_graph(body, wrong, views)

    monkeypatch.setattr(graphs, "int8_graph", spoilt)
    notes = []
    limits = ParityLimits(int8_calls=1, int8_auc=1, int8_probability=1)
    export(run, ExportSettings("lenient", limits=limits), tmp_path, notes.append)
    assert tried == [*RECIPES[:count]]
    told = [note for note in notes if note.startswith("int8: ")]
    assert told[0] == f"int8: quantized with {RECIPES[1]}"
    # Of the last, nothing is missed.
    assert [", target " in note for note in told[1:]] == [True] * (count - 2)


def test_of_several_draws_the_closest_graph_is_kept(run, tmp_path, monkeypatch):
    original, drawn, made = graphs.int8_graph, [], []

    def watched(body, spec, views, inputs, recipe):
        drawn.append(inputs)
        # The first and the last draw see a tenth of the light, and cut off the rest.
        seen = inputs if len(drawn) in (2, 3) else (128 + (inputs // 10 - 12)).astype(np.uint8)
        made.append(original(body, spec, views, seen, recipe))
        return made[-1]

    monkeypatch.setattr(graphs, "int8_graph", watched)
    monkeypatch.setattr(graphs, "CALIBRATION_IMAGES", 40)
    limits = ParityLimits(int8_calls=0.1, int8_calls_target=0.1, int8_flips_target=0.1)
    settings = ExportSettings("drawn", limits=limits)
    (model,) = export(run, settings, tmp_path, print)
    assert [len(inputs) for inputs in drawn] == [40] * 4
    assert not np.array_equal(drawn[1], drawn[2])
    assert model.read_graph("int8") in made[1:3]
    card = model.read(model.spec.card).decode()
    assert (
        "- ONNX INT8: QDQ, weights per channel, min-max ranges, set by 40 training crops." in card
    )


def test_the_cards_baselines_are_fitted_on_all_training_cells(made, run, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "MAX_DESCRIBED", 20)
    (model,) = export(run, ExportSettings("drawn"), tmp_path, print)
    table = read_table(model.read(model.spec.training_table))
    assert (table.described.split == "training").sum() == 20
    rows = [
        [line for line in one.read(one.spec.card).decode().splitlines() if "(AUC), " in line]
        for one in (made, model)
    ]
    assert len(rows[0]) == 2
    assert rows[0] == rows[1]


def test_runs_that_cannot_be_compared_are_a_note(run, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "MAX_CELLS", 60)  # five of a group and class
    notes = []
    export(run, ExportSettings("drawn"), tmp_path, notes.append)
    assert notes[-1].startswith("drawn: cannot detect domain shift of runs")


def test_what_the_runtime_would_refuse_replaces_no_model(run, tmp_path, monkeypatch):
    (good,) = export(run, ExportSettings("kept"), tmp_path, print)
    original = exporting.feature_statistics

    def spoilt(*arguments):
        return dataclasses.replace(original(*arguments), means=np.full((2, 4), np.nan, np.float32))

    monkeypatch.setattr(exporting, "feature_statistics", spoilt)
    with pytest.raises(ModelError, match="'means' must be"):
        export(run, ExportSettings("kept"), tmp_path, print)
    assert Classifier.open(load_model(good.folder), "cpu").ood_detector is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--name", "x"], "contains no run"),
        (["RUN", "--name", "../x"], "'../x' cannot be a model's name"),
        (["RUN", "--name", "x", "--about", "a\nb"], "printable text"),
    ],
)
def test_bad_input_gets_one_clear_line(run, tmp_path, arguments, message):
    places = [str(run) if word == "RUN" else word for word in arguments]
    result = CliRunner().invoke(app, ["export", *places, "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert message in result.output


def test_an_unfinished_run_is_refused(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "weights.pt").unlink()
    result = CliRunner().invoke(
        app, ["export", str(tmp_path / "run"), "--name", "x", "--out", str(tmp_path)]
    )
    assert result.exit_code == 2
    assert "is not finished" in result.output


def test_help_shows_an_example():
    result = CliRunner().invoke(app, ["export", "--help"])
    assert "Example: python -m train export" in result.output
