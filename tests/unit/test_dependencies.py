"""Damaged packages: told from other errors, and repaired by the command that is named."""

from __future__ import annotations

import importlib
import json
import os
import sys
from importlib import metadata
from pathlib import Path

import pytest

from ctcedge.dependencies import (
    PACKAGES,
    damaged_package,
    outdated_package,
    problems,
    repair,
)
from tests.helpers.cli_runner import run

DAMAGES = {
    "hollow": "",
    "absent": "raise ModuleNotFoundError(\"No module named '{0}'\", name='{0}')",
    "no library": "raise OSError('libx.so: cannot open shared object file')",
    "no code": "def (",
    "zeros": "\0\0",
}


def damaged(folder: Path, module: str, damage: str) -> dict[str, str]:
    """Put a damaged package in front of the real one; return the environment that finds it."""
    (folder / module).mkdir()
    (folder / module / "__init__.py").write_text(DAMAGES[damage].format(module), encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parents[2])])}


@pytest.mark.parametrize("damage", DAMAGES)
def test_classify_without_onnxruntime(crops: Path, tmp_path: Path, damage: str) -> None:
    env = damaged(tmp_path, "onnxruntime", damage)
    done = run("classify", crops, "--provider", "cpu", code=2, env=env)
    assert "onnxruntime-gpu is missing or damaged" in done.stderr
    assert repair("onnxruntime") in done.stderr.replace("\n", " ")
    assert "internal error" not in done.stderr


@pytest.mark.parametrize("module", ["numpy", "cv2", "isal", "msgspec", "rich", "typer"])
def test_classify_with_another_damaged_package(crops: Path, tmp_path: Path, module: str) -> None:
    done = run("classify", crops, code=2, env=damaged(tmp_path, module, "hollow"))
    assert f"{PACKAGES[module]} is missing or damaged" in done.stderr
    assert "pip install --force-reinstall" in done.stderr


def test_watch_without_its_package(crops: Path, tmp_path: Path) -> None:
    done = run("watch", crops, code=2, env=damaged(tmp_path, "watchdog", "absent"))
    assert "watchdog is missing or damaged" in done.stderr


@pytest.mark.parametrize("damage", ["hollow", "absent"])
def test_doctor_goes_on(tmp_path: Path, damage: str) -> None:
    env = damaged(tmp_path, "onnxruntime", damage)
    done = run("doctor", tmp_path, "--json", code=2, env=env)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["onnxruntime-gpu"]["state"] == "failed"
    assert checks["onnxruntime-gpu"]["fix"] == repair("onnxruntime")
    assert checks["model"]["state"] == "failed"
    assert checks["numpy"]["state"] == checks["write access"]["state"] == "ok"
    assert done.stderr == ""


def test_a_report_needs_no_onnxruntime(called: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    env = damaged(tmp_path, "onnxruntime", "hollow")
    model = json.loads(run("status", called, "--json", env=env).stdout)
    assert model["complete"]
    run("report", called, "--out", page, env=env)
    assert page.is_file()


def test_a_package_that_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "isal").mkdir()
    (tmp_path / "isal" / "__init__.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGBUS)\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert problems() == {"isal": "importing it ends the process (SIGBUS)"}


def test_whole_packages_have_no_problem() -> None:
    assert problems() == {}
    assert outdated_package() is None


OLD = "version 0.15.1 is too old, ctcedge needs 0.26 or later"


def test_a_package_that_is_too_old_is_named(
    crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "typer-0.15.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: typer\nVersion: 0.15.1\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert problems() == {"typer": OLD}
    message = f"typer: {OLD}; reinstall it into the environment of ctcedge: {repair('typer')}"
    assert outdated_package() == message
    (tmp_path / "typer.py").write_text("raise TypeError", "utf-8")
    done = run("classify", crops, code=2, env={"PYTHONPATH": str(tmp_path)})
    assert " ".join(message.split()) in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("version", "old"), [("0.25.9", True), ("0.26", False), ("0.26.0rc1", False), ("1", False)]
)
def test_versions_are_compared_as_numbers(
    monkeypatch: pytest.MonkeyPatch, version: str, old: bool
) -> None:
    versions = {"typer": version}
    monkeypatch.setattr(metadata, "version", lambda name: versions.get(name, "999"))
    assert (outdated_package() is not None) == old


def test_an_error_that_an_outdated_package_may_explain(crops: Path, tmp_path: Path) -> None:
    info = tmp_path / "typer-0.15.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: typer\nVersion: 0.15.1\n", "utf-8")
    failing = "import typer\ntyper.Typer.__call__ = lambda self, **options: None + 1\n"
    (tmp_path / "sitecustomize.py").write_text(failing, "utf-8")
    done = run("classify", crops, code=2, env={"PYTHONPATH": str(tmp_path)})
    assert OLD in " ".join(done.stderr.split())


def test_other_errors_are_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    def caught(code: str) -> str | None:
        try:
            exec(code, {"np": np, "__name__": "ctcedge.x"})
        except Exception as error:
            return damaged_package(error)
        raise AssertionError

    for code in (
        "np.zeros(-1)",
        "import nonsense_of_nobody",
        "raise ImportError('x')",
        "None.x",
        "import json; json.nonsense",
    ):
        assert caught(code) is None, code
    assert "numpy is missing or damaged" in str(caught("np.nonsense"))
    (tmp_path / "own_module.py").write_text("def (", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SyntaxError) as raised:
        importlib.import_module("own_module")
    assert damaged_package(raised.value) is None
    sys.modules.pop("own_module", None)
