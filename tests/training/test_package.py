"""The training kit as it is installed: `ctcedge_train` and the command `ctcedge-train`."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.helpers.pages import ROOT

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None\n"


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    built = run(sys.executable, "-m", "hatchling", "build", "-d", str(folder), cwd=ROOT)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel alone; the packages that it needs are the tests'."""
    folder = tmp_path_factory.mktemp("installed")
    (wheel,) = dist.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    done = run(*pip, str(wheel), cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_wheel_has_the_kit_by_its_own_name_only(dist):
    (wheel,) = dist.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ctcedge", "ctcedge_train"}
    # Data files and all modules are there, the records of the study are not.
    kept = {f"ctcedge_{path}" for path in files("train") if not path.endswith(".md")}
    assert {name for name in names if name.startswith("ctcedge_train/")} == kept


def test_source_distribution_has_the_clone(dist):
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {*files("train"), *files("ctcedge_train")} <= names


def files(folder: str) -> list[str]:
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return [str(path.relative_to(ROOT)) for path in found if path.parent.name != "__pycache__"]


def test_installed_command_works(installed, tmp_path):
    command = str(installed / "bin" / "ctcedge-train")
    shown = run(command, "--help", cwd=tmp_path, PYTHONPATH=str(installed))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "ctcedge-train" in shown.stdout
    for arguments in (
        ["simulate", "exports", "--hospitals", "1", "--samples", "1", "--cells", "8"],
        ["label", "exports/h00", "--out", "cells.csv"],
    ):
        done = run(command, *arguments, cwd=tmp_path, PYTHONPATH=str(installed))
        assert done.returncode == 0, done.stderr


def test_installed_modules_are_found_without_a_clone(installed, tmp_path):
    script = (
        "import sys; sys.modules['train'] = None\n"
        "import ctcedge_train.fit.fit, ctcedge_train.research.results\n"
        "from ctcedge_train.research.trials import _SHIPPED\n"
        "assert (_SHIPPED / 'model.json').is_file()\n"
        "assert 'ctcedge_train' in ctcedge_train.__file__, ctcedge_train.__file__\n"
    )
    done = run(sys.executable, "-c", script, cwd=tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    study = (sys.executable, "-m", "ctcedge_train.research.results", "--help")
    assert run(*study, cwd=tmp_path, PYTHONPATH=str(installed)).returncode == 0


def test_without_the_extra_the_installed_command_prints_one_line(installed, tmp_path):
    script = (
        f"{WITHOUT_TORCH}sys.argv = ['ctcedge-train', *sys.argv[1:]]\n"
        "from ctcedge_train.__main__ import main; main()\n"
    )
    for arguments in ([], ["fit", "cells.csv", "--out", "run"]):
        done = run(
            sys.executable, "-c", script, *arguments, cwd=tmp_path, PYTHONPATH=str(installed)
        )
        assert done.returncode == 2
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.endswith("torch is not installed; install with: pip install 'ctcedge[train]'")


def test_clone_knows_the_installed_name():
    """As an editable install needs it, whose modules are those of the clone."""
    done = run(sys.executable, "-c", "import ctcedge_train.cli as c; print(c.__file__)", cwd=ROOT)
    assert Path(done.stdout.strip()) == ROOT / "train" / "cli" / "__init__.py", done.stderr
