"""Exit codes, and the output in JSON."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EXIT_CRASH = 1
EXIT_SETUP = 2
EXIT_UNCLASSIFIED = 3
EXIT_INTERRUPTED = 128  # plus the number of the signal, as in a shell


def print_json(content: object) -> None:
    """Print an object on standard output; nothing else is printed there."""
    import json

    from ctcedge.results.output_files import standard_output

    text = json.dumps(content, ensure_ascii=False, indent=2)
    with standard_output() as file:
        file.write(text.encode("utf-8", "backslashreplace") + b"\n")


def print_path(path: Path) -> None:
    """Print a path on standard output; harmlessly where that is a terminal."""
    from ctcedge.results.output_files import standard_output

    with standard_output() as file:
        file.write(os.fsencode(path) + b"\n")


def exit_if_incomplete(unreadable: Mapping[str, str]) -> None:
    """Warn of folders that cannot be read, and exit with code 3 if there are any."""
    from ctcedge.cli.console import print_unreadable_folders

    if unreadable:
        print_unreadable_folders(unreadable)
        raise typer.Exit(EXIT_UNCLASSIFIED)
