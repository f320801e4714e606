"""`ctcedge-train evaluate`: from a model folder and manifests to the report."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

import train.evaluate
from ctcedge.classification.classifier import Classifier
from ctcedge.images.decode import decode
from tests.helpers import disk_model, drawn_cells
from train.baselines.baselines import TABLE_NAME
from train.cli import app
from train.data.manifest import read_manifests, write_manifest
from train.data.splits import LeakageError
from train.evaluate import evaluate, figures
from train.evaluate.charts import charts
from train.evaluate.figures import MEANING
from train.evaluate.report import as_dict, markdown

from .evaluated import export, refused, with_table


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
