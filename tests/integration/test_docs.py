"""What the README tells a user to do is done here."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_first_command_classifies_the_shipped_samples(tmp_path: Path) -> None:
    command = blocks("bash")[0].partition("/ctcedge ")[2].split()
    assert command[:2] == ["classify", "tests/sample"]
    command[command.index("--out") + 1] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "ctcedge", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    images = list((ROOT / "tests" / "sample").rglob("*_BF.*"))
    assert len(list(tmp_path.rglob("*.ctc.json"))) == len(images) >= 24


def test_second_command_is_what_ci_calls() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert (
        blocks("bash")[1]
        .strip()
        .removesuffix(".venv/bin/pytest")
        .replace("pip install", "pip install --quiet")
        in script
    )


@pytest.mark.parametrize(
    "line",
    [
        line.partition("#")[0].strip()
        for block in blocks("bash")
        for line in block.splitlines()
        if line.startswith("ctcedge ")
    ],
)
def test_every_command_shown_exists_with_its_options(line: str) -> None:
    words = shlex.split(line)[1:]
    commands = [word for word in words[:2] if re.fullmatch(r"[a-z]+", word)]
    shown = subprocess.run(
        [sys.executable, "-m", "ctcedge", *commands, "--help"], capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.stdout


def test_settings_example_is_accepted(tmp_path: Path) -> None:
    from ctcedge.settings import load_settings

    config = tmp_path / "settings.toml"
    config.write_text(blocks("toml")[0], encoding="utf-8")
    settings = load_settings(tmp_path, config)
    assert settings.images.um_per_px == 0.5
    assert settings.images.channels["BF"] == ("BF", "Brightfield", "Vis")


def test_python_example_runs(tmp_path: Path) -> None:
    code = blocks("python")[0]
    code = code.replace('"/deparray/out"', repr(str(ROOT / "tests" / "sample")))
    code = code.replace('"/data/calls"', repr(str(tmp_path)))
    exec(code, {"images": [np.full((40, 40), 100, np.uint8)]})
    assert list(tmp_path.rglob("*.ctc.json"))
