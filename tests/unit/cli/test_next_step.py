"""The next command at the end of each command, ready to copy."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from ctcedge.cli import next_step
from tests.helpers.cli_runner import call


@pytest.mark.parametrize(
    "word",
    [
        "plain",
        "with space",
        "it's",
        "$HOME",
        "a\nb",
        "a\x1b[31mb'\\",
        "\udcff",
        "\u202eevil",
        "M\u00fc",
    ],
)
def test_a_shell_reads_each_word_as_it_is(word: str) -> None:
    quoted = next_step.quoted(word)
    assert quoted.isprintable()
    done = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True, check=True)
    assert done.stdout == os.fsencode(word)


def following(stderr: str) -> list[str]:
    """The words of the command that is proposed on the last line."""
    *_, lead, line = stderr.splitlines()
    assert lead.startswith("Next")
    return shlex.split(line)


@pytest.mark.parametrize("name", ["export", "a very long name " * 8, "-x"])
def test_each_command_proposes_the_next_with_its_options(
    crops: Path,
    model_folder: Path,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    crops.rename(name)
    folder = f"./{name}"
    if not name.startswith("-"):
        folder = name
    pattern = r"(?:.*/)?(?P<sample>[^/]+)/(?:Cell_)?(?P<cell>\d+)_(?P<channel>\w+)\.\w+"
    out, names = "my out", ["--pattern", pattern]
    beside = ["--sidecars", out]
    model = ["--model", str(model_folder)]

    done = call("inspect", folder, *names, "--um-per-px", 0.5)
    classify = following(done.stderr)
    assert classify == ["ctcedge", "classify", folder, *names, "--um-per-px", "0.5"]
    done = call(*classify[1:], *model, "--out", out)
    report = following(done.stderr)
    assert sorted(report) == sorted(["ctcedge", "report", folder, *names, *beside, *model])
    done = call(*report[1:])
    assert done.stdout == f"{Path(folder) / 'ctcedge-report.html'}\n"
    review = following(done.stderr)
    assert sorted(review) == sorted(
        ["ctcedge", "review", "import", "CORRECTIONS.json", folder, *names, *beside]
    )
    done = call("status", folder, *names, "--out", out)
    assert sorted(following(done.stderr)) == sorted(report[: -len(model)])
    done = call("export", folder, *names, *beside, "--out", "x.csv")
    verify = following(done.stderr)
    assert verify[:3] == ["ctcedge", "verify", folder]
    call(*verify[1:], *model)


def test_nothing_is_proposed_beside_json(called: Path, model_folder: Path) -> None:
    for command in ("classify", "status", "inspect"):
        words = ["--model", model_folder] if command == "classify" else []
        assert "Next" not in call(command, called, *words, "--json").stderr


def test_after_a_report_of_classify_comes_the_import(called: Path, model_folder: Path) -> None:
    done = call("classify", called, "--model", model_folder, "--report")
    assert following(done.stderr)[:3] == ["ctcedge", "review", "import"]
