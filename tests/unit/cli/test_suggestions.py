"""Wrong words on the command line are answered with what was probably meant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ctcedge.meant import number_to_write
from tests.helpers.cli_runner import call, run

_NAMED_SHELL = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0,5", "0.5"),
        ("1/5000", "0.0002"),
        ("1 in 5000", "0.0002"),
        ("1:5000", "0.0002"),
        ("0.02 %", "0.0002"),
        ("0,02%", "0.0002"),
        ("0.5um", "0.5"),
        ("0,5 µm/px", "0.5"),
        ("1/0", None),
        ("1,000,000", None),
        ("half", None),
        ("", None),
    ],
)
def test_what_number_is_meant(text: str, number: str | None) -> None:
    assert number_to_write(text) == number


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("clasify x", "Did you mean 'classify'?"),
        ("service instal x", "Did you mean 'install'"),
        ("classify x --um-per-pix 1", "No such option: --um-per-pix; did you mean '--um-per-px'?"),
        ("service install x --sidecar y", "No such option: --sidecar"),
        ("report x --um_per_px 1", "No such option: --um_per_px"),
        ("watch x --stability_delay 1", "did you mean '--stability-delay'?"),
        ("--versoin", "did you mean '--version'?"),
        ("classify x --provider cup", "not one of 'auto', 'cuda', 'cpu'; did you mean 'cpu'?"),
        (
            "classify x --prevalence 1/5000",
            "'--prevalence': '1/5000' is not a number; write 0.0002",
        ),
        ("classify x --batch-size 0,5", "'--batch-size': must be a whole number, such as 32"),
        ("verify x --sample 1,5", "'--sample': must be a whole number"),
    ],
)
def test_an_error_of_usage_proposes_what_to_write(words: str, answer: str) -> None:
    assert answer in call(*words.split(), code=2).stderr


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["ctcedge", "cla"], {"classify"}),
        (["ctcedge", "service", "un"], {"uninstall"}),
        (["ctcedge", "classify", "--op"], {"--operating-point"}),
        (["ctcedge", "classify", "--operating-point", "s"], {"screening"}),
    ],
)
def test_bash_completes(words: list[str], completed: set[str], tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("# mine\n", encoding="utf-8")
    home = {"HOME": str(tmp_path)}
    script = run("--show-completion", "bash", env=home | _NAMED_SHELL).stdout
    program = tmp_path / "bin" / "ctcedge"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nexec "$PYTHON" -m ctcedge "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    quoted = " ".join(f"'{word}'" for word in words)
    ask = (
        f"{script}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}\n"
        '_ctcedge_completion ctcedge; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", ask],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            **home,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PYTHON": sys.executable,
        },
    )
    assert set(done.stdout.split()) == completed


@pytest.mark.parametrize(
    ("shell", "file"),
    [
        ("bash", ".bash_completions/ctcedge.sh"),
        ("zsh", ".zfunc/_ctcedge"),
        ("fish", ".config/fish/completions/ctcedge.fish"),
    ],
)
def test_completion_is_installed(shell: str, file: str, tmp_path: Path) -> None:
    run("--install-completion", shell, env={"HOME": str(tmp_path)} | _NAMED_SHELL)
    assert "_CTCEDGE_COMPLETE" in (tmp_path / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete(shell: str) -> None:
    asked = {
        "_CTCEDGE_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": "ctcedge cla",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    assert "classify" in run(env=asked).stdout
