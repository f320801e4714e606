"""The next command at the end of a command."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from train.util.next_step import name_for, newest_model, print_classify, print_next


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("cells.csv", "cells"),
        ("runs/mine", "mine"),
        ("runs/v1.2", "v1.2"),
        ("my cells.csv", "my-cells"),
        ("\u767d\u8840.csv", "NAME"),
        ("x" * 100, "x" * 64),
    ],
)
def test_a_name_is_taken_from_a_path(path, name):
    assert name_for(Path(path)) == name


def test_words_are_quoted_for_a_shell(capsys):
    print_next("fit", Path("my cells.csv"), "--out", Path("a'b"))
    print_classify(Path("my models/x$y"), when="to use it")
    first, heading, last = capsys.readouterr().out.splitlines()
    assert first.startswith("Next: python -m train fit ")
    assert shlex.split(first)[-3:] == ["my cells.csv", "--out", "a'b"]
    assert heading == "Next, to use it:"
    assert shlex.split(last) == ["ctcedge", "classify", "FOLDER", "--model", "my models/x$y"]


def test_the_newest_model_is_proposed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert newest_model() == Path("models/NAME")
    for age, name in enumerate(("b", "a", "c")):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "model.json").touch()
        os.utime(folder / "model.json", (100 - age, 100 - age))
    assert newest_model() == Path("models/b")
