"""Every command, Python example and settings example of README and docs is tried here.

Commands that can run are run, page by page, in a temporary folder with the sample crops. Of the
rest, such as those that need root, a service, a GPU or much time, command and options must exist.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

import ctcedge
from ctcedge.quality import checks
from ctcedge.quality.checks import Reason
from ctcedge.settings import load_settings
from docs import generate
from tests.helpers.correction_entries import correction
from tests.helpers.pages import PAGES, README, ROOT, Block, Lab, blocks, name
from tests.helpers.sidecar_files import load, sidecars

SAMPLE = ROOT / "tests" / "sample"
# Their commands are examples of the code's own help, not steps that follow each other.
UNCONNECTED = {"reference/cli.md", "reference/train-cli.md"}
# Commands of a page that trains take minutes: they are run with the tests of training.
TRAINING = ROOT / "docs" / "tutorial" / "train-your-model.md"
SYSTEM = {
    "apt-get",
    "bioimageio",
    "journalctl",
    "mkdocs",
    "pre-commit",
    "source",
    "systemd-analyze",
    "usermod",
}

_MUST_NOT_RUN = re.compile(
    r"^sudo|^/opt/|\b[A-Z]{4,}\b|ctcedge (service|bench|--install)|--provider cuda|[.]h5ad"
)


def all_commands() -> list[Any]:
    return [
        pytest.param(command, id=f"{name(page)}: {command}")
        for page in PAGES
        for block in blocks(page, "bash")
        for command in block.commands()
    ]


# Every command exists -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", all_commands())
def test_command_exists_with_its_options(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "sudo":
        words = words[1:]
    program = words[0].rpartition("/")[2]
    match program:
        case "ctcedge":
            check_options(typer.main.get_command(runtime_app()), words[1:])
        case "ctcedge-train":
            check_options(typer.main.get_command(training_app()), words[1:])
        case "python" | "python3" if words[1:3] == ["-m", "train"]:
            check_options(typer.main.get_command(training_app()), words[3:])
        case "python" | "python3" if words[1] == "-m":
            check_module(words[2])
        case "python" | "python3":
            source = (ROOT / words[1]).read_text(encoding="utf-8")
            assert all(word in source for word in words if word.startswith("--"))
        case "pip":
            assert words[1] == "install"
            extras = re.findall(r"\[(.*?)\]", words[-1])
            assert set(extras) <= set(project()["optional-dependencies"])
        case "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(words[1:]) <= set(targets)
        case "pytest":
            markers = pyproject()["tool"]["pytest"]["ini_options"]["markers"]
            assert set(words[2:]) <= {marker.partition(":")[0] for marker in markers}
        case _:
            assert program in SYSTEM


def check_module(module: str) -> None:
    """Check that a module exists; its package is imported, and that of `train` needs PyTorch."""
    try:
        assert importlib.util.find_spec(module) is not None
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if not module.startswith("train.") or missing in ("ctcedge", "train"):
            raise
        pytest.skip("needs the train extra")


def check_options(command: Any, words: list[str]) -> None:
    """Check that words name a command of a group, with options that it has."""
    while hasattr(command, "commands"):
        if words[0].startswith("-"):
            break
        command, words = command.commands[words[0]], words[1:]
    options = {option for param in command.params for option in param.opts} | {"--help"}
    if command.context_settings.get("ignore_unknown_options"):  # `service install`: those of watch
        watch = typer.main.get_command(runtime_app()).commands["watch"]  # type: ignore[attr-defined]
        options |= {option for param in watch.params for option in param.opts}
    assert {word for word in words if word.startswith("--")} <= options


def runtime_app() -> typer.Typer:
    from ctcedge.cli.commands import app

    return app


def training_app() -> typer.Typer:
    from train.cli import app

    return app


@functools.cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def project() -> dict[str, Any]:
    found: dict[str, Any] = pyproject()["project"]
    return found


# What can run is run ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, an export and a donor's run, and the export's calls; do not change it."""
    root = tmp_path_factory.mktemp("lab")
    shutil.copytree(SAMPLE, root / "tests" / "sample")
    shutil.copytree(SAMPLE, root / "deparray" / "out")
    shutil.copytree(SAMPLE / "h05s00", root / "deparray" / "donor7")
    shutil.copy(SAMPLE / "ctcedge.toml", root / "deparray" / "donor7")
    (root / "data" / "metrics").mkdir(parents=True)
    Lab(root).run("ctcedge classify /deparray/out --out /data/calls")
    entries = [
        correction(path.removesuffix(".ctc.json"), record)
        for path, record in sidecars(root / "data/calls").items()
    ]
    (root / "corrections.json").write_text(
        json.dumps(
            {
                "schema": "ctcedge/corrections/1",
                "report_id": "a" * 64,
                "folder_name": "out",
                "pseudonymised": False,
                "created": "2026-01-02T03:05:00Z",
                "reviewer": "Ada",
                "draw": {"drawn": 1, "leukocytes": 1},
                "entries": entries[:3],
            }
        )
    )
    return root


@pytest.fixture
def lab(furnished: Path, tmp_path: Path) -> Lab:
    return Lab(Path(shutil.copytree(furnished, tmp_path / "lab")))


def runnable(page: Path) -> bool:
    if page == TRAINING or name(page) in UNCONNECTED:
        return False
    return any(runs(command) for block in blocks(page, "bash") for command in block.commands())


def runs(command: str) -> bool:
    """Whether a command is run here: those of ctcedge, unless a test of its own has them."""
    words = shlex.split(command)
    is_ours = words[0].rpartition("/")[2] == "ctcedge" or command.startswith("python -m json.tool")
    return is_ours and _MUST_NOT_RUN.search(command) is None


@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=name)
def test_commands_of_a_page_run_one_after_the_other(page: Path, lab: Lab) -> None:
    printed = ""
    for block in blocks(page):
        if block.language == "bash":
            commands = [command for command in block.commands() if runs(command)]
            printed = "".join(lab.run(command) for command in commands)
        elif "Output" in block.title:
            check_output(block, printed)


def check_output(block: Block, printed: str) -> None:
    """Every line that a page shows must be printed, whatever the width of tables."""
    lines = {squeezed(line) for line in printed.splitlines()}
    for line in block.text.splitlines():
        assert squeezed(line) in lines, f"{line!r} is not in:\n{printed}"


def squeezed(line: str) -> str:
    return " ".join(line.split())


def test_first_command_classifies_the_shipped_samples(tmp_path: Path) -> None:
    installs, classifies = blocks(README, "bash")[0].text.strip().rsplit(" && ", 1)
    assert installs == "python3 -m venv .venv && .venv/bin/pip install ."
    command = classifies.removeprefix(".venv/bin/ctcedge ").split()
    assert command == ["classify", "tests/sample", "--out", "out"]
    done = subprocess.run(
        [sys.executable, "-m", "ctcedge", *command[:-1], str(tmp_path)], cwd=ROOT, text=True
    )
    assert done.returncode == 0
    images = list(SAMPLE.rglob("*_BF.*"))
    assert len(list(tmp_path.rglob("*.ctc.json"))) == len(images) >= 24


def test_second_command_is_what_ci_calls() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    command = blocks(README, "bash")[1].text.strip().removesuffix(".venv/bin/pytest")
    assert command.replace("pip install", "pip install --quiet") in script


# Examples in other languages ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, id=name(page)) for page in PAGES for block in blocks(page, "python")],
)
def test_python_example_runs(block: Block, lab: Lab) -> None:
    code = block.text.replace("/deparray", str(lab.root / "deparray"))
    code = code.replace("/data", str(lab.root / "data"))
    exec(compile(code, name(block.page), "exec"), {})
    assert load(lab.root / "data" / "calls" / "h05s00" / "00000_BF.png.ctc.json")


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, id=name(page)) for page in PAGES for block in blocks(page, "toml")],
)
def test_settings_example_is_accepted(block: Block, tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(block.text, encoding="utf-8")
    settings = load_settings(tmp_path, config)
    assert settings.images.um_per_px == 0.5
    assert tuple(settings.images.channels["BF"]) == ("BF", "Brightfield", "Vis")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_languages_of_blocks_are_known(page: Path) -> None:
    known = {"bash", "py", "python", "r", "toml", "text", "promql"}  # py, r: not run here
    assert {block.language for block in blocks(page)} <= known


# The pages and the code agree ---------------------------------------------------------------------


@pytest.mark.parametrize("path", generate.pages(), ids=lambda path: path.name)
def test_generated_page_is_current(path: Path) -> None:
    """If it is not: `python -m docs.generate`."""
    assert path.read_text(encoding="utf-8") == generate.pages()[path]


def test_api_page_has_every_public_name() -> None:
    text = (ROOT / "docs" / "reference" / "python-api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: ctcedge\.(\w+)$", text, re.MULTILINE))
    assert shown - {"errors"} == set(ctcedge.__all__) - {"__version__"}


def test_quality_page_has_every_reason() -> None:
    text = (ROOT / "docs" / "explanation" / "quality-checks.md").read_text(encoding="utf-8")
    codes = get_args(Reason)
    assert re.findall(r"^    ([a-z-]+)  ", checks.__doc__ or "", re.MULTILINE) == list(codes)
    assert [code for code in codes if f"`{code}`" not in text] == []


def test_every_settings_key_is_in_the_example() -> None:
    page = ROOT / "docs" / "reference" / "settings.md"
    example = tomllib.loads(blocks(page, "toml")[0].text)
    keys = set(re.findall(r"^\| `(\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert set(nested(example)) - {"decision", "images", "watch", "BF"} == keys


def nested(table: dict[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        yield key
        if isinstance(value, dict):
            yield from nested(value)


def test_readme_is_short() -> None:
    assert README.stat().st_size <= 8 * 1024


def test_pages_of_the_readme_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (ROOT / target).exists(), target
