"""`python -m train` as a process: what it prints without its optional dependencies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import train
from ctcedge.version import __version__
from tests.helpers.pages import ROOT
from train.cli import app
from train.util import extra

EXTRA = extra.PACKAGES

RUN_WITHOUT = """
import runpy, sys
sys.modules.update(dict.fromkeys({missing!r}))
sys.argv = ["train", *{arguments!r}]
runpy.run_module("train", run_name="__main__")
"""

COMMANDS = {
    "label": ["export", "--out", "cells.csv"],
    "pretrain": ["export", "--out", "run"],
    "fit": ["cells.csv", "--out", "run"],
    "evaluate": ["model", "cells.csv", "--out", "report"],
    "export": ["run", "--name", "mine"],
    "package": ["model", "--out", "mine.zip"],
    "build": ["--name", "mine", "--version", "0.1.0"],
}


def run_without(missing: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    script = RUN_WITHOUT.format(missing=missing, arguments=list(arguments))
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_without_the_extra_one_line_says_how_to_install_it(command):
    result = run_without(sorted(EXTRA), command, *COMMANDS[command])
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert line.endswith(" is not installed; install with: pip install '.[train]'")


@pytest.mark.parametrize("package", ["torch", "monai"])
def test_the_missing_package_is_named(package):
    result = run_without([package], "fit", "cells.csv", "--out", "run")
    assert (result.returncode, result.stderr) == (
        2,
        f"Error: {package} is not installed; install with: pip install '.[train]'\n",
    )


def test_without_the_extra_and_arguments_one_line_says_how_to_install_it():
    assert all(find_spec(package) for package in EXTRA)
    result = run_without(["torch"])
    assert (result.returncode, result.stdout, result.stderr) == (
        2,
        "",
        "Error: torch is not installed; install with: pip install '.[train]'\n",
    )


def test_without_the_extra_help_and_simulation_work(tmp_path):
    shown = run_without(sorted(EXTRA), "--help")
    assert shown.returncode == 0
    assert "Usage" in shown.stdout
    assert shown.stderr == ("note: jinja2 is not installed; install with: pip install '.[train]'\n")
    result = run_without(
        sorted(EXTRA),
        "simulate",
        str(tmp_path / "exports"),
        *("--hospitals", "1", "--samples", "1", "--cells", "2"),
    )
    assert result.returncode == 0, result.stderr


def test_another_missing_module_is_an_error_of_the_code():
    result = run_without(["ctcedge.errors"], "export", "run", "--name", "mine")
    assert result.returncode == 1
    assert "Traceback" in result.stderr or "ModuleNotFoundError" in result.stderr


@pytest.mark.parametrize(
    "module",
    ["train.research.results", "train.research.learning_curve", "train.evaluate.ood_rates"],
)
def test_without_the_extra_a_program_prints_one_line(module, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    result = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (
        2,
        "",
        "Error: torch is not installed; install with: pip install '.[train]'\n",
    )


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "80"})


def test_summaries_fit_a_terminal_of_80_columns():
    shown = call("-h").stdout
    summaries = shown.partition("Commands:\n")[2].splitlines()
    assert len(summaries) == len(COMMANDS) + 1
    for line in summaries:
        assert len(line) <= 80
        assert line.endswith(".") and not line.endswith("..."), line
        assert line.startswith("  ") and line[2] != " ", line


def test_help_and_version_have_short_options():
    for command in COMMANDS:
        shown = call(command, "-h")
        assert shown.exit_code == 0
        assert f"Example: python -m train {command} " in " ".join(shown.stdout.split())
    assert call("-V").stdout == call("--version").stdout == f"ctcedge-train {__version__}\n"


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--epochs", "0_5", "'0_5' is not a number; a whole number from 1 to 100,000 is needed"),
        ("--epochs", "0", "'0': a whole number from 1 to 100,000 is needed"),
        ("--epochs", "2.5", "'2.5': a whole number from 1 to 100,000 is needed"),
        ("--seed", "-1", "'-1': a whole number from 0 to 4,294,967,295 is needed"),
        ("--learning-rate", "0", "'0': a number above 0 and at most 10 is needed"),
        ("--learning-rate", "nan", "'nan': a number above 0 and at most 10 is needed"),
        ("--um-per-px", "0,5", "a number from 0.01 to 20 is needed"),
    ],
)
def test_a_number_that_is_refused_is_named_with_its_bounds(option, text, message):
    result = call("fit", "cells.csv", "--out", "run", option, text)
    assert result.exit_code == 2
    shown = " ".join(result.stderr.split())
    assert f"'{option}'" in shown
    assert message in shown


def test_every_command_is_there():
    assert {command.callback.__name__ for command in app.registered_commands} == {
        *COMMANDS,
        "simulate",
    }


def test_the_kit_works_under_another_package_name(tmp_path):
    """Imports inside the package are relative, so that a lab can install it under a name."""
    shutil.copytree(Path(train.__file__).parent, tmp_path / "ctctrain")
    script = (
        "import sys; sys.path.insert(0, '.'); sys.modules['train'] = None\n"
        "import ctctrain.build, ctctrain.cli, ctctrain.label, ctctrain.research.error_analysis\n"
        "import ctctrain.evaluate.external_negatives, ctctrain.evaluate.ood_rates\n"
        "import ctctrain.pretrain.pretrain\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
