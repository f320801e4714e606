"""The next command, which a command prints at its end, ready to copy."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import typer

from ctcedge.log import escape_control_chars

from .extra import COMMAND

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names that a model can have."""


def print_next(*words: object, when: str = "") -> None:
    """Print a command of the training kit; words in capitals are for the reader to replace.

    Args:
        words: of the command, after the name of the command line.
        when: the case that the command is for, if there are several.
    """
    _print(COMMAND, *words, when=when)


def print_classify(model: object, when: str = "") -> None:
    """Print the command that classifies a folder with a model."""
    _print("ctcedge", "classify", "FOLDER", "--model", model, when=when)


def print_command(*words: object) -> None:
    """Print the command of another program."""
    program, *rest = words
    _print(str(program), *rest, when="")


def model_name(folder: Path) -> str:
    """Return a name for the model of a run: the run folder's, where a model can have it."""
    name = folder.resolve().name
    return name if MODEL_NAME.fullmatch(name) else "NAME"


def _print(program: str, *words: object, when: str) -> None:
    case = f"Next, {when}: " if when else "Next: "
    typer.echo(escape_control_chars(f"{case}{program} {shlex.join(map(str, words))}"))
