"""`python -m train evaluate`: from a model folder and manifests to the report."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import train.evaluate
from ctcedge.classification.classifier import Classifier
from ctcedge.images.decode import decode
from ctcedge.model.folder import load_model
from ctcedge.records import plain
from tests.helpers import disk_model, drawn_cells
from train.baselines.baselines import TABLE_NAME, training_table
from train.cli import app
from train.data.dataset import read_cells
from train.data.manifest import Row, read_manifests, write_manifest
from train.data.splits import LeakageError
from train.evaluate import evaluate, figures, write
from train.evaluate.charts import charts
from train.evaluate.figures import MEANING
from train.evaluate.report import as_dict, markdown
from train.evaluate.tables import summary
from train.export.model_folder import pin
from train.export.ood_statistics import FEATURES_FILE
from train.simulate import simulate_cells

MODELS = Path(__file__).parents[3] / "models"

CTC_PX, OTHER_PX = 27, 21
"""Mean diameters; the model's threshold lies between."""


def export(folder: Path, samples: int, each: int = 8, seed: int = 3, **changes: object) -> Path:
    """Write crops of samples of one class each, and their manifest."""
    chance = np.random.default_rng(seed)
    rows = []
    for sample in range(samples):
        positive = sample % 2 == 0
        for cell in range(each):
            diameter = chance.normal(CTC_PX if positive else OTHER_PX, 4)
            grain = chance.normal(0, 3, (64, 64))
            pixels = np.clip(np.rint(drawn_cells.cell(diameter) + grain), 0, 255).astype(np.uint8)
            name = f"{folder.name}{sample}"
            rows.append(
                Row(
                    sample=name,
                    cell=f"{cell:05}",
                    label="CTC" if positive else "other",
                    stratum="CTC" if positive else "leukocyte",
                    source="reviewed",
                    um_per_px=drawn_cells.UM_PER_PX,
                    images={"BF": drawn_cells.save(folder / name / f"{cell:05}_BF.png", pixels)},
                )
            )
    rows = [dataclasses.replace(row, **changes) for row in rows]
    write_manifest(folder / "cells.csv", rows)
    return folder / "cells.csv"


def with_table(folder: Path, manifest: Path, side, most: int = 1000) -> Path:
    """Tell in a model folder that it was made from a manifest's cells.

    Args:
        folder: of the model.
        manifest: whose cells.
        side: from a sample's name to `training`, `validation` or `test`.
        most: training cells to show.
    """
    spec = load_model(folder).spec.input
    rows = read_manifests([manifest])
    sides = np.array([side(row.sample) for row in rows])
    table = training_table(read_cells(rows, spec, lambda: None), sides, spec)
    table.limited(most, seed=1).save(folder / TABLE_NAME)
    text = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    text["training_table"] = plain(pin(folder / TABLE_NAME))
    (folder / "model.json").write_text(json.dumps(text), encoding="utf-8")
    return folder


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


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert "train: " in result.output
    return result.output


def test_every_figure_is_in_the_json(report):
    told = json.loads((report / "report.json").read_text(encoding="utf-8"))
    for name in MEANING:
        assert name in told
        assert f"{name}_interval" in told
    assert told["cells"] == 96
    assert told["ctcs"] == 48
    assert told["samples"] == 12
    assert told["leak_checked"] is True
    low, high = told["auc_interval"]
    assert 0.7 < low < told["auc"] < high < 1
    assert told["sensitivity_at_1_in_1000"] is None
    assert set(told["baselines"]) == {"size", "texture"}
    assert told["baselines"]["size"]["auc"] > 0.7
    assert told["baselines_fitted_on"] == [56, 56]
    assert [one["name"] for one in told["strata"]] == ["CTC", "leukocyte"]
    assert len(told["per_sample"]) == 12
    assert told["models"][0]["demonstration"] is True


def test_scores_are_those_of_the_runtime(report, model, test_manifest):
    with (report / "scores.csv").open(newline="", encoding="utf-8") as file:
        told = list(csv.DictReader(file))
    rows = read_manifests([test_manifest])
    assert [(line["sample"], line["cell"], line["label"]) for line in told] == [
        (row.sample, row.cell, row.label) for row in rows
    ]
    crops = [decode(row.images["BF"].read_bytes()).pixels for row in rows]
    verdicts = Classifier.load(model, "cpu").classify(crops, drawn_cells.UM_PER_PX)
    assert [line["call"] for line in told] == [verdict.call for verdict in verdicts]
    assert [float(line["probability"]) for line in told] == pytest.approx(
        [verdict.probability for verdict in verdicts], abs=1e-5
    )
    assert {line["call"] for line in told} == {"CTC", "leukocyte", "review"}


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
    write(evaluation, tmp_path)
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


def test_the_texts_warn_and_show_the_figures(report):
    for name in ("report.md", "report.html"):
        text = (report / name).read_text(encoding="utf-8")
        assert "not a diagnostic" in text
        assert "do not apply to another" in text
        assert "trained on simulated images" in text
        for figure in ("ROC curve", "Brier score", "Gradient boosting on texture", "Size only"):
            assert figure in text
        assert "nan" not in re.sub(r"base64,[^\"]*", "", text)


def test_the_page_loads_nothing(report):
    page = (report / "report.html").read_text(encoding="utf-8")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert f'http-equiv="Content-Security-Policy" content="{policy}"' in page
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:)|url\(|@import", page)
    assert page.count("<svg") == 4
    assert page.count('<polygon class="band"') == 1
    assert page.count("95 % interval of the model") == 2
    assert "Wrong: negatives called CTC" in page
    assert page.count("data:image/png;base64,") >= 24
    assert "prefers-color-scheme: dark" in page


def test_the_curves_carry_the_intervals_of_the_model(model, test_manifest):
    evaluation = evaluate(model, [test_manifest], seed=1)
    roc, precision, reliability, risk = charts(evaluation)
    x, low, high = roc.band.T
    assert np.all(np.diff(x) > 0)
    curve = np.interp(x, *roc.lines[0].points.T)
    inside = (low <= curve + 1e-9) & (curve <= high + 1e-9)
    assert inside[1:].mean() > 0.95
    assert (high - low).max() > 0.05
    assert roc.lines[0].name == f"Model, {evaluation.figures['auc'].value:.3f}"
    assert precision.lines[0].name.endswith(f"{evaluation.figures['average_precision'].value:.3f}")
    assert reliability.whiskers
    assert set(reliability.band[:, 0]) <= set(reliability.lines[0].points[:, 0])
    shares = dict(reliability.lines[0].points.tolist())
    for stated, least, most in reliability.band:
        assert least <= shares[stated] <= most
    assert len(precision.band) == len(risk.band) == 0


def test_one_sample_of_a_class_has_curves_without_intervals(model, tmp_path):
    manifest = export(tmp_path / "E", samples=3, seed=5)
    roc, _, reliability, _ = charts(evaluate(model, [manifest], seed=1))
    assert len(roc.band) == len(reliability.band) == 0


def test_an_undecided_sample_gives_neither_table_nor_curve_an_interval(model, tmp_path):
    rows = read_manifests([export(tmp_path / "E", samples=4, seed=5)])
    rows = [dataclasses.replace(row, label="") if row.sample == "E3" else row for row in rows]
    write_manifest(tmp_path / "some.csv", rows)
    evaluation = evaluate(model, [tmp_path / "some.csv"], seed=1)
    assert math.isnan(evaluation.figures["auc"].low)
    assert len(charts(evaluation)[0].band) == 0


def test_names_are_escaped(model, tmp_path):
    evil = '<img src=x onerror="alert(1)">|'
    manifest = export(tmp_path / "E", samples=4, stratum=evil, run="<b>run</b>")
    result = CliRunner().invoke(
        app, ["evaluate", str(model), str(manifest), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "<b>run" not in page
    assert "&lt;b&gt;run&lt;/b&gt;/E0" in page
    assert "\\|" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_a_sample_that_was_trained_on_is_refused(model, train_manifest, tmp_path):
    output = refused(model, train_manifest, "--out", tmp_path / "out")
    assert "that the model was made from" in output.replace("\n", " ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("sample", ["T0", "T7"], ids=["training", "validation"])
def test_one_known_image_under_another_name_is_refused(
    model, train_manifest, test_manifest, tmp_path, sample
):
    known = train_manifest.parent / sample / "00000_BF.png"
    shutil.copytree(test_manifest.parent, tmp_path / "E")
    shutil.copy(known, tmp_path / "E" / "E1" / "00003_BF.png")
    with pytest.raises(LeakageError, match="1 of 12 patients or samples, such as 'E1'"):
        evaluate(model, [tmp_path / "E" / "cells.csv"], seed=1)


def test_a_known_name_with_new_images_is_a_warning(model, tmp_path):
    manifest = export(tmp_path / "T", samples=4, seed=9)
    evaluation = evaluate(model, [manifest], seed=1)
    warnings = evaluation.warnings
    assert any("4 samples, such as 'T0', have the name" in line for line in warnings)
    assert any("Only 4 patients or samples" in line for line in warnings)
    assert not evaluation.leak_checked
    assert "was trained on." not in markdown(evaluation)


def test_other_images_of_a_patient_it_was_made_from_are_refused(model, tmp_path):
    manifest = export(tmp_path / "T", samples=4, seed=9)
    rows = [dataclasses.replace(row, patient=row.sample) for row in read_manifests([manifest])]
    write_manifest(manifest, rows)
    with pytest.raises(LeakageError, match="made from other cells of 4 patients, such as 'T0'"):
        evaluate(model, [manifest], seed=1)


def test_baselines_that_were_fitted_on_fewer_cells_say_so(train_manifest, test_manifest, tmp_path):
    disk_model.build(tmp_path / "disks")
    with_table(tmp_path / "disks", train_manifest, lambda name: "training", most=40)
    evaluation = evaluate(tmp_path / "disks", [test_manifest], seed=1)
    assert as_dict(evaluation)["baselines_fitted_on"] == [40, 64]
    heading = "## Comparison with baselines, fitted on 40 of the model's own 64 training cells"
    assert heading in markdown(evaluation).splitlines()


def test_a_model_that_does_not_tell_has_no_baselines(model_folder, test_manifest, tmp_path):
    evaluation = evaluate(model_folder, [test_manifest], seed=1)
    assert not evaluation.leak_checked
    assert evaluation.figures.baselines == {}
    assert any("cannot be checked" in line for line in evaluation.warnings)
    result = CliRunner().invoke(
        app, ["evaluate", str(model_folder), str(test_manifest), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    assert "Baselines: not available" in (tmp_path / "out" / "report.md").read_text("utf-8")
    assert json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["baselines"] is None


@pytest.fixture
def two_folds(tmp_path, train_manifest):
    """Two models, one of which never saw T0 to T3, the other T4 to T7."""
    for fold, held_out in (("fold-1", "0123"), ("fold-2", "4567")):
        (tmp_path / "folds").mkdir(exist_ok=True)
        disk_model.build(tmp_path / "folds" / fold)
        with_table(
            tmp_path / "folds" / fold,
            train_manifest,
            lambda name, held_out=held_out: "test" if name[-1] in held_out else "training",
        )
    return tmp_path / "folds"


def test_each_cell_is_scored_by_the_fold_that_never_saw_it(two_folds, train_manifest, tmp_path):
    result = CliRunner().invoke(
        app, ["evaluate", str(two_folds), str(train_manifest), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    with (tmp_path / "out" / "scores.csv").open(newline="", encoding="utf-8") as file:
        fold_of = {line["sample"]: line["fold"] for line in csv.DictReader(file)}
    assert fold_of == {f"T{i}": "fold-1" if i < 4 else "fold-2" for i in range(8)}
    told = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert told["cells"] == 64
    assert len(told["models"]) == 2
    assert told["baselines"]["size"]["auc"] > 0.7


def test_a_sample_that_several_folds_may_score_is_refused(two_folds, test_manifest):
    with pytest.raises(
        LeakageError, match=r"2 of the models were not trained on 'E0'.*one of them.*only"
    ):
        evaluate(two_folds, [test_manifest], seed=1)


def test_a_sample_that_nobody_labelled_is_scored_by_the_first_fold(
    two_folds, train_manifest, tmp_path
):
    """As one whose stains could not be gated: fit left it out, so that no fold saw it."""
    shutil.copytree(train_manifest.parent, tmp_path / "T")
    ungated = export(tmp_path / "T" / "U", samples=1, seed=8, label="", stratum="ungated")
    rows = [*read_manifests([train_manifest]), *read_manifests([ungated])]
    write_manifest(tmp_path / "cells.csv", rows)
    evaluation = evaluate(two_folds, [tmp_path / "cells.csv"], seed=1)
    scored, found = evaluation.scored, evaluation.figures
    assert set(scored.by[scored.cells.sample == "U0"]) == {0}
    assert (found.cells, found.unlabelled) == (64, 8)
    assert "by the first where it has no labelled cell" in summary(evaluation)


def test_models_that_do_not_tell_what_they_saw_are_refused(tmp_path, test_manifest):
    (tmp_path / "models").mkdir()
    for name in ("one", "two"):
        disk_model.build(tmp_path / "models" / name)
    output = refused(tmp_path / "models", test_manifest, "--out", tmp_path / "out")
    assert "2 models without training tables" in output.replace("\n", " ")


def test_gated_ctcs_are_no_truth_unless_trusted(model, tmp_path):
    manifest = export(tmp_path / "E", samples=4, source="gated")
    output = refused(model, manifest, "--out", tmp_path / "out")
    assert "16 CTCs" in output
    assert "--trust-gates" in output
    evaluation = evaluate(model, [manifest], trust_gates=True, seed=1)
    assert "16 of 16 CTCs are labelled by their stains alone" in evaluation.warnings[0]


def test_rows_without_a_label_are_scored_and_counted_by_stratum(model, test_manifest, tmp_path):
    rows = read_manifests([test_manifest])
    unsure = [
        dataclasses.replace(row, label="", stratum="near-gate") if row.cell < "00002" else row
        for row in rows
    ]
    write_manifest(tmp_path / "some.csv", unsure)
    found = evaluate(model, [tmp_path / "some.csv"], seed=1).figures
    assert (found.cells, found.unlabelled) == (72, 24)
    (near,) = [one for one in found.strata if one.counts.name == "near-gate"]
    assert near.counts.cells == 24
    assert near.called.value == near.counts.called / 24


def test_strata_may_be_chosen(model, test_manifest, tmp_path):
    rows = read_manifests([test_manifest])
    hard = [
        dataclasses.replace(row, stratum="cluster") if row.cell < "00002" else row for row in rows
    ]
    write_manifest(tmp_path / "some.csv", hard)
    found = evaluate(
        model, [tmp_path / "some.csv"], positive=["CTC"], negative=["leukocyte"], seed=1
    ).figures
    assert (found.cells, found.ctcs, found.unlabelled) == (72, 36, 24)


def test_one_class_is_refused(model, tmp_path):
    manifest = export(tmp_path / "E", samples=2, label="CTC")
    assert "one class only" in refused(model, manifest, "--out", tmp_path / "out")


def test_unknown_pitch_is_told(model, tmp_path):
    manifest = export(tmp_path / "E", samples=4, um_per_px=None)
    warnings = evaluate(model, [manifest], seed=1).warnings
    assert any("um/px of the images is unknown" in line for line in warnings)


def test_what_is_no_model_is_refused(test_manifest, tmp_path):
    refused(tmp_path / "absent", test_manifest, "--out", tmp_path / "out")


def test_a_damaged_table_is_refused(model, test_manifest, tmp_path):
    shutil.copytree(model, tmp_path / "copy")
    (tmp_path / "copy" / TABLE_NAME).write_bytes(b"no table")
    output = refused(tmp_path / "copy", test_manifest, "--out", tmp_path / "out")
    assert "SHA-256 differs" in output.replace("\n", " ")


def test_a_folder_that_cannot_be_made_is_told(model, test_manifest, tmp_path):
    (tmp_path / "out").touch()
    output = refused(model, test_manifest, "--out", tmp_path / "out")
    assert f"{tmp_path / 'out'}: File exists" in output


def test_an_image_that_is_gone_before_the_gallery_is_told(
    model, test_manifest, tmp_path, monkeypatch
):
    shutil.copytree(test_manifest.parent, tmp_path / "E")
    measure = train.evaluate.evaluate

    def measured_and_gone(*arguments, **options):
        evaluation = measure(*arguments, **options)
        shutil.rmtree(tmp_path / "E" / "E0")
        return evaluation

    monkeypatch.setattr(train.evaluate, "evaluate", measured_and_gone)
    output = refused(model, tmp_path / "E" / "cells.csv", "--out", tmp_path / "out")
    assert re.search(rf"{tmp_path / 'E' / 'E0'}/\d+_BF.png: No such file", output)


def test_the_help_shows_an_example():
    result = CliRunner().invoke(app, ["evaluate", "--help"])
    assert "python -m train evaluate" in result.output


def test_figures_can_be_computed_without_a_folder(model, test_manifest):
    evaluation = evaluate(model, [test_manifest], seed=1)
    scored = evaluation.scored
    again = figures(
        scored.cells, scored.scores, prior=0.5, baselines=scored.baselines or {}, seed=1, draws=10
    )
    assert again["auc"].value == evaluation.figures["auc"].value
