from __future__ import annotations

from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from ctcedge.classification.analysis import CellAnalysis
from ctcedge.classification.classifier import Classifier, PreparedCrop
from ctcedge.classification.decision import probability
from ctcedge.quality.checks import Quality
from train.data.folder import CropFolder
from train.evaluate import external_negatives as zero_shot

SAMPLE = Path(__file__).parents[2] / "sample"

app = Typer()
app.command()(zero_shot.main)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load(provider="cpu")


def test_what_is_said_of_a_folder_is_what_the_runtime_says(classifier: Classifier) -> None:
    inputs = CropFolder.read(SAMPLE).inputs(classifier.model.spec.input)
    probabilities = zero_shot.predict_proba(classifier, inputs)
    calibration = classifier.model.spec.calibration
    crops = [PreparedCrop(crop, Quality((), False, {})) for crop in inputs]
    judged = [each for each in classifier.analyze(crops) if isinstance(each, CellAnalysis)]
    assert len(inputs) == len(judged) == 36
    expected = [probability(each.score, calibration) for each in judged]
    assert probabilities == pytest.approx(expected, abs=1e-6)


def test_the_command_sets_its_threshold_on_simulated_hospitals() -> None:
    result = CliRunner().invoke(
        app, [str(Classifier.load().model.folder), str(SAMPLE), "--hospitals", "4"]
    )
    assert result.exit_code == 0, result.output
    assert "400 cells of 4 simulated hospitals" in result.output
    assert "80% of their CTCs" in result.output
    assert "of the 36 cells" in result.output
    assert f"{SAMPLE}: um/px 0.7574\n" in result.output


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tmp_path / "none"), str(SAMPLE)])
    assert result.exit_code == 2
    assert "none" in result.output


def test_an_image_that_cannot_be_read_is_named(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "1_BF.png").write_bytes(b"no image")
    result = CliRunner().invoke(app, [str(classifier.model.folder), str(tmp_path)])
    assert result.exit_code == 2
    assert "1_BF.png" in result.output
