"""Messages of a command: notes, and errors that end it with exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ctcedge.log import escape_control_chars


@contextmanager
def exit_on(*kinds: type[Exception]) -> Iterator[None]:
    """Turn these exceptions into a one-line message and exit code 2."""
    try:
        yield
    except kinds as error:
        raise fail(str(error)) from None


def fail(text: str) -> typer.Exit:
    """Print the message, and return the exception that ends the command."""
    _print(f"Error: {text}")
    return typer.Exit(2)


def warn(text: str) -> None:
    """Print a note."""
    _print(f"note: {text}")


def _print(text: str) -> None:
    typer.echo("\n".join(map(escape_control_chars, text.split("\n"))), err=True)
