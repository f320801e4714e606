"""Version, help and import time."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ctcedge
from tests.helpers.cli_runner import call, run


def test_version() -> None:
    assert run("--version").stdout == f"ctcedge {ctcedge.__version__}\n"
    assert call("-V").stdout == run("--version").stdout


@pytest.mark.parametrize(
    "words",
    [
        "classify",
        "watch",
        "inspect",
        "doctor",
        "models",
        "models list",
        "models show",
        "models verify",
    ],
)
def test_every_commands_help_shows_an_example(words: str) -> None:
    assert "Example: ctcedge " + words.split()[0] in call(*words.split(), "--help").stdout


@pytest.mark.parametrize("group", ["", "models", "review", "controls", "service"])
def test_summaries_fit_a_terminal_of_80_columns(
    group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = call(*group.split(), "-h").stdout
    summaries = shown.partition("Commands:\n")[2].splitlines()
    assert summaries
    for line in summaries:
        assert line.startswith("  ") and line[2] != " ", line
        assert line.endswith(".") and not line.endswith("..."), line


def test_help_names_commands_and_exit_codes() -> None:
    text = run("--help").stdout
    for word in ("classify", "watch", "inspect", "models", "doctor", "status", "Exit codes", "130"):
        assert word in text


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, ctcedge.cli.commands\n"
        "try: ctcedge.cli.commands.app(['classify', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'cv2', 'onnxruntime', 'watchdog', 'torch'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
