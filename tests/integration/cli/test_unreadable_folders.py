"""Sub-folders that cannot be read, in all commands."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ctcedge.fs import tree
from tests.helpers.cli_runner import call
from tests.helpers.drawn_cells import cell, save


def close_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no folder be read whose name begins with "closed"."""
    open_beneath = tree.open_beneath

    def refusing(root: int, path: str, flags: int) -> int:
        if path.rpartition("/")[2].startswith("closed") and not flags & os.O_PATH:
            raise PermissionError(13, "Permission denied")
        return open_beneath(root, path, flags)

    monkeypatch.setattr(tree, "open_beneath", refusing)


def test_a_sub_folder_that_cannot_be_read_is_told_and_is_exit_3(
    crops: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (crops / "closed").mkdir()
    close_folders(monkeypatch)
    done = call("classify", crops, "--model", model_folder, "--json", code=3)
    assert json.loads(done.stdout)["unclassified"] == [
        {"path": "closed", "error": "folder cannot be read: Permission denied"}
    ]
    found = json.loads(call("inspect", crops, "--json", code=0).stdout)
    assert [each["path"] for each in found["unreadable_folders"]] == ["closed"]


@pytest.mark.parametrize(
    "words",
    [["status"], ["verify"], ["export"], ["report"], ["controls", "add"]],
    ids=" ".join,
)
def test_cells_of_a_folder_that_cannot_be_read_are_not_left_out_in_silence(
    crops: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    save(crops / "closed" / "1_BF.png", cell())
    call("classify", crops, "--model", model_folder, code=0)
    model = ["--model", model_folder] if words[0] in ("status", "verify") else []
    call(*words, crops, *model, code=0)
    close_folders(monkeypatch)
    done = call(*words, crops, *model, code=3)
    assert "1 folder cannot be read; its cells are left out:" in done.stderr
    assert "closed: folder cannot be read: Permission denied" in done.stderr
    assert "without an image" not in done.stdout


def test_of_many_folders_that_cannot_be_read_some_are_named_and_the_rest_counted(
    crops: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("classify", crops, "--model", model_folder, code=0)
    for number in range(25):
        (crops / f"closed-{number}").mkdir()
    close_folders(monkeypatch)
    message = call("status", crops, "--model", model_folder, code=3).stderr
    assert "25 folders cannot be read; their cells are left out:" in message
    assert message.count("Permission denied") == 20
    assert "and 5 more" in message
