"""`ctcedge models`, and models that classify refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.cli_runner import call, run
from tests.helpers.disk_model import EditableModel
from tests.helpers.sidecar_files import sidecars
from tests.integration.cli import POINTS


def test_models_list_names_the_shipped() -> None:
    listed = json.loads(call("models", "list", "--json").stdout)
    call("models", "list")
    assert [each["name"] for each in listed] == sorted(each["name"] for each in listed)


def test_models_show_tells_facts_and_card(model_folder: Path) -> None:
    text = call("models", "show", model_folder).stdout
    for word in ("name: disks", "threshold: 0.5", "prior: 0.5", "For tests: sees disks."):
        assert word in text
    facts = json.loads(call("models", "show", model_folder, "--json").stdout)
    assert (facts["name"], facts["demonstration"]) == ("disks", True)


def test_models_verify(model_folder: Path) -> None:
    assert "file hashes match" in call("models", "verify", model_folder).stdout
    result = json.loads(call("models", "verify", model_folder, "--json").stdout)
    assert result["verified"] is True
    assert result["largest_difference"] <= 0.001


def test_models_show_tells_operating_points(model_copy: EditableModel) -> None:
    before = call("models", "show", model_copy.folder).stdout
    for name in ("screening", "balanced", "confirm"):
        assert f"operating point {name}: none: not measured" in before
    model_copy.edit(lambda spec: spec.update(operating_points=POINTS))
    text = call("models", "show", model_copy.folder).stdout
    for words in (
        "operating point screening: threshold 0.31 (sensitivity of at least 95%)",
        "sensitivity 96.2% (93.0% to 98.0%)",
        "per 10,000 negatives 812 (700 to 950)",
        "300 simulated CTCs and 2,000 negatives of 19 samples",
        "operating point confirm: none: the test cells could not support it",
    ):
        assert words in text
    facts = json.loads(call("models", "show", model_copy.folder, "--json").stdout)
    assert facts["operating_points"]["screening"]["threshold"] == 0.31
    assert facts["operating_points"]["confirm"] is None


@pytest.mark.parametrize("words", [["models", "verify"], ["models", "show"], ["classify"]])
def test_a_bad_model_folder_is_exit_2(
    model_copy: EditableModel, crops: Path, words: list[str]
) -> None:
    model_copy.edit(lambda spec: spec.update(colour="red"))
    words = [*words, str(crops), "--model"] if words == ["classify"] else words
    assert "unknown key 'colour'" in call(*words, model_copy.folder, code=2).stderr


def test_a_changed_graph_is_exit_2(model_copy: EditableModel, crops: Path) -> None:
    with (model_copy.folder / "model.int8.onnx").open("ab") as file:
        file.write(b"\0")
    for words in (["models", "verify"], ["classify", crops, "--model"]):
        assert "SHA-256 differs" in call(*words, model_copy.folder, code=2).stderr
    assert sidecars(crops) == {}


@pytest.mark.parametrize("name", ["README.md", "golden.npz"])
def test_a_model_file_that_is_not_used_is_checked_all_the_same(
    crops: Path, model_folder: Path, tmp_path: Path, name: str
) -> None:
    changed = shutil.copytree(model_folder, tmp_path / "changed")
    with open(changed / name, "ab") as file:
        file.write(b"x")
    assert name in run("classify", crops, "--model", changed, code=2).stderr
    assert sidecars(crops) == {}
