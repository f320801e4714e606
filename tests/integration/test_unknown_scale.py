"""A model that knows no um/px: trained on images of unknown scale, bound to their instrument."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.golden import verify
from ctcedge.model.folder import load_model
from tests.helpers.cli_runner import call
from tests.helpers.disk_model import EditableModel
from tests.helpers.sidecar_files import sidecars

NOTICE = "model has no um/px"


@pytest.fixture
def unscaled(model_copy: EditableModel) -> Path:
    """The tests' model, which now takes each pixel of a crop for one of its own."""

    def forget(spec: dict[str, Any]) -> None:
        spec["input"].update(um_per_px=None, crop_px=1.0)

    with np.load(model_copy.folder / "golden.npz") as held:
        kept = {name: held[name] for name in held.files if name != "um_per_px"}
    golden = io.BytesIO()
    np.savez(golden, **kept)
    model_copy.edit(forget)
    model_copy.replace("golden.npz", golden.getvalue())
    return model_copy.folder


def test_its_golden_crops_have_no_um_per_px(unscaled: Path) -> None:
    assert verify(load_model(unscaled)) == 0


def test_a_given_um_per_px_changes_nothing(unscaled: Path) -> None:
    classifier = Classifier.load(unscaled, "cpu")
    crop = np.random.default_rng(1).integers(90, 160, (64, 64), dtype=np.uint8)
    assert classifier.classify([crop]) == classifier.classify([crop], um_per_px=2.0)


def test_classify_says_so_and_writes_null(unscaled: Path, crops: Path) -> None:
    first = call("classify", crops, "--model", unscaled, "--json")
    assert NOTICE in first.stderr
    assert json.loads(first.stdout)["um_per_px_assumed"] is False
    for record in sidecars(crops).values():
        assert record["image"]["um_per_px"] is None
        assert record["image"]["um_per_px_assumed"] is False


def test_a_given_um_per_px_is_ignored_and_leaves_sidecars_current(
    unscaled: Path, crops: Path
) -> None:
    call("classify", crops, "--model", unscaled)
    again = call("classify", crops, "--model", unscaled, "--um-per-px", "0.3", "--json")
    assert "the given um/px, 0.3, is ignored" in again.stderr
    assert json.loads(again.stdout)["written"] == 0


def test_models_show_and_doctor_tell(unscaled: Path) -> None:
    shown = call("models", "show", unscaled)
    assert "um_per_px: unknown" in shown.stdout
    assert NOTICE in shown.stdout
    assert "um/px: the model has none" in call("doctor", "--model", unscaled).stdout
