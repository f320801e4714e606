"""Ending a command with one line and exit code 2, where a person can mend what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def exit_on(*kinds: type[Exception]) -> Iterator[None]:
    """End with one line and exit code 2 where one of these is raised."""
    try:
        yield
    except kinds as error:
        raise fail(str(error)) from None


def fail(text: str) -> typer.Exit:
    """Print the line, and return what ends the command."""
    typer.echo(f"train: {text}", err=True)
    return typer.Exit(2)
