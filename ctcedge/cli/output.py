"""Results on standard output: JSON, paths, and what to do where they cannot be written."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import typer

from ctcedge import streams
from ctcedge.cli.exit_codes import EXIT_UNCLASSIFIED
from ctcedge.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def print_json(content: object) -> None:
    """Print an object on standard output; nothing else is printed there."""
    import json

    from ctcedge.results.output_files import standard_output

    text = json.dumps(content, ensure_ascii=False, indent=2)
    with contextlib.suppress(BrokenPipeError), standard_output() as file:
        file.write(text.encode("utf-8", "backslashreplace") + b"\n")


def print_path(path: Path) -> None:
    """Print the path of a written file on standard output; harmlessly where that is a terminal."""
    from ctcedge.results.output_files import standard_output

    with standard_output(required=False) as file:
        file.write(os.fsencode(path) + b"\n")


def require_printed() -> None:
    """Check that what was printed was written, for commands without another result.

    Raises:
        OutputError: standard output cannot be written.
    """
    streams.flush()
    if failure := streams.output_failure():
        raise OutputError(f"standard output cannot be written: {failure.strerror}")


def exit_if_incomplete(folders: Mapping[str, str], sidecars: Mapping[str, str]) -> None:
    """Warn of folders and sidecars that cannot be read; exit with code 3 if there are any."""
    from ctcedge.cli.console import print_unreadable_folders, print_unreadable_sidecars

    print_unreadable_folders(folders)
    print_unreadable_sidecars(sidecars)
    if folders or sidecars:
        raise typer.Exit(EXIT_UNCLASSIFIED)
