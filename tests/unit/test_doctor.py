from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ctcedge import doctor
from ctcedge.model.session import nvidia_driver_problem
from tests.helpers.cli_runner import call, run
from tests.helpers.disk_model import EditableModel


def examined(*arguments: object, code: int = 0) -> dict[str, dict[str, Any]]:
    checks = json.loads(call("doctor", *arguments, "--json", code=code).stdout)["checks"]
    return {check["name"]: check for check in checks}


@pytest.mark.skipif(nvidia_driver_problem() is None, reason="this machine has an NVIDIA GPU")
def test_a_machine_without_a_gpu_is_well(model_folder: Path, tmp_path: Path) -> None:
    checks = examined(tmp_path, "--model", model_folder)
    assert checks["runs on cpu"]["state"] == "ok"
    for name in ("GPU", "runs on cuda"):
        assert checks[name]["state"] == "note"
        assert checks[name]["found"]
    assert checks["GPU"]["fix"]
    assert checks["write access"]["state"] == "ok"
    assert {"ctcedge", "Python", "numpy", "onnxruntime-gpu", "model"} <= set(checks)
    assert list(tmp_path.glob(".ctcedge*")) == []


def test_the_same_for_a_person(model_folder: Path, tmp_path: Path) -> None:
    text = run("doctor", tmp_path, "--model", model_folder).stdout
    for words in ("runs on cpu", "golden outputs within", "write access"):
        assert words in text


def test_a_bad_model_fails_and_says_how_to_mend_it(model_copy: EditableModel) -> None:
    with (model_copy.folder / "model.int8.onnx").open("ab") as file:
        file.write(b"\0")
    check = examined("--model", model_copy.folder, code=2)["runs on cpu"]
    assert check["state"] == "failed"
    assert "SHA-256 differs" in check["found"]
    assert "copy the model folder again" in check["found"] + check["fix"]


def test_a_missing_model_fails() -> None:
    assert examined("--model", "nothing", code=2)["model"]["state"] == "failed"


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_a_folder_that_cannot_be_written(model_folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    check = examined(tmp_path / name, "--model", model_folder, code=2)["write access"]
    assert check["state"] == "failed"
    assert check["fix"]
    assert not (tmp_path / "nowhere").exists()


def test_a_running_service_is_no_fault(model_folder: Path, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert examined(tmp_path, "--model", model_folder)["write access"]["state"] == "ok"
    finally:
        os.close(descriptor)


def test_two_packages_of_onnxruntime_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    other = SimpleNamespace(metadata={"Name": "onnxruntime"})
    monkeypatch.setattr(doctor.metadata, "distributions", lambda: [other])
    (check,) = [c for c in doctor._packages() if c.name == "ONNX Runtime installed twice"]
    assert check.state == "failed"
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in check.fix


def test_settings_files_and_where_each_setting_comes_from(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, out = tmp_path / "lab.toml", tmp_path / "calls"
    out.mkdir()
    lab.write_text(f'model = "{model_folder}"\nout = "/nowhere"\n', encoding="utf-8")
    monkeypatch.setenv("CTCEDGE_CONFIG", str(lab))
    checks = examined("--sidecars", out)
    assert checks["setting model"]["found"] == f"{model_folder} ({lab}, line 1)"
    assert checks["setting out"]["found"] == f"{out} (command line)"
    assert checks["write access"]["found"] == str(out)
    assert examined("--out", out) == checks
    lab.write_text("modell = 1\n", encoding="utf-8")
    check = examined(code=2)["settings"]
    assert check["state"] == "failed"
    assert "lab.toml: unknown key 'modell'" in check["found"]
