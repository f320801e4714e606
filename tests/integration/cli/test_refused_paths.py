"""Paths that a user named and the system refuses: exit code 2, the path, the reason, the remedy."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from ctcedge.fs import problems
from ctcedge.fs.problems import path_problem, unexpected_problem
from tests.fault.kernel import without_file_capabilities
from tests.helpers.cli_runner import call, run

COMMANDS = [
    ["classify"],
    ["watch"],
    ["status"],
    ["inspect"],
    ["report"],
    ["export"],
    ["verify"],
    ["controls", "add"],
]


def refuse(monkeypatch: pytest.MonkeyPatch, below: Path, number: int) -> None:
    """Let nothing at or below a path be opened or asked for its state."""

    def refusing(function: Any) -> Any:
        def called(path: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(path, (str, os.PathLike)) and Path(path).is_relative_to(below):
                raise OSError(number, os.strerror(number), os.fspath(path))
            return function(path, *arguments, **options)

        return called

    for name in ("stat", "lstat", "open"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO], ids=errno.errorcode.get)
def test_a_folder_that_may_not_be_entered(
    crops: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], number: int
) -> None:
    refuse(monkeypatch, crops, number)
    message = call(*words, crops, code=2).stderr
    assert str(crops) in message
    assert os.strerror(number) in message
    assert "internal error" not in message
    assert ("permission" if number == errno.EACCES else "check the path") in message


@pytest.mark.parametrize("option", ["--out", "--model", "--config"])
def test_an_option_whose_path_is_refused(
    crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    refuse(monkeypatch, tmp_path / "closed", errno.EACCES)
    message = call("classify", crops, option, tmp_path / "closed" / "x", code=2).stderr
    assert str(tmp_path / "closed") in message
    assert "Permission denied" in message


def test_the_account_of_a_service_without_permission_above_the_folder(
    crops: Path,
) -> None:
    under = without_file_capabilities()
    crops.parent.chmod(0o600)
    try:
        message = run("status", crops, code=2, under=under).stderr
    finally:
        crops.parent.chmod(0o755)
    assert str(crops) in message
    assert "namei -l" in message


def test_errors_of_other_things_stay_internal() -> None:
    assert unexpected_problem(ValueError("x")) is None
    assert unexpected_problem(OSError("x")) is None
    assert unexpected_problem(OSError(errno.EIO, "x")) is None
    assert unexpected_problem(FileNotFoundError(errno.ENOENT, "x", problems.__file__)) is None
    found = unexpected_problem(OSError(errno.EIO, "Input/output error", b"/data/x"))
    assert (
        found == "/data/x: Input/output error; check the path, and the disk or share that it is on"
    )


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_each_error_has_a_remedy(number: int) -> None:
    text = path_problem("/data/x", OSError(number, os.strerror(number)))
    assert text.startswith(f"/data/x: {os.strerror(number)}; ")
    assert len(text.partition("; ")[2]) > 10
