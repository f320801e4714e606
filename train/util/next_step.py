"""The next command, which a command prints at its end, ready to copy."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import typer

from ctcedge.log import escape_control_chars
from ctcedge.model.spec import SPEC_NAME

from .extra import COMMAND

MODELS = Path("models")
"""Where models are exported to, if no other folder is given."""

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


def name_for(path: Path) -> str:
    """Return a name for a run, report or model, from that of a file or folder."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name.removesuffix(".csv")).strip("-._")[
        :64
    ]
    return name or "NAME"


def newest_model() -> Path:
    """Return the model folder that was exported last, or a placeholder."""
    specs = MODELS.glob(f"*/{SPEC_NAME}")
    with contextlib.suppress(OSError, ValueError):
        return max(specs, key=lambda path: path.stat().st_mtime_ns).parent
    return MODELS / "NAME"


def _print(program: str, *words: object, when: str) -> None:
    case = f"Next, {when}:\n  " if when else "Next: "
    typer.echo(f"{case}{program} {escape_control_chars(shlex.join(map(str, words)))}")
