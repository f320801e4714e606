"""End a command with a one-line message and exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def exit_on(*kinds: type[Exception]) -> Iterator[None]:
    """Turn these exceptions into a one-line message and exit code 2."""
    try:
        yield
    except kinds as error:
        raise fail(str(error)) from None


def fail(text: str) -> typer.Exit:
    """Print the message, and return the exception that ends the command."""
    typer.echo(f"train: {text}", err=True)
    return typer.Exit(2)
