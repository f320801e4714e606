"""The look of the training kit's command lines: help, version and numbers as of `ctcedge`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ctcedge.cli.options import HELP_OPTIONS, parse_number, parse_path, version_option

from .extra import COMMAND, PACKAGE

INSTALLED = "ctcedge-train"
"""Name of the command line in the help texts of the code."""

_STYLE: dict[str, Any] = {
    "add_completion": False,
    "context_settings": HELP_OPTIONS,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
}


def application(*commands: Callable[..., None], about: str) -> typer.Typer:
    """Return a command line with these commands.

    Args:
        commands: functions, whose docstrings are the help.
        about: help of the command line.
    """
    app = typer.Typer(help=_as_called(about), no_args_is_help=True, **_STYLE)
    app.callback()(_root)
    for command in commands:
        app.command(help=help_of(command))(command)
    return app


def run_program(command: Callable[..., None]) -> None:
    """Run a program of one command: `python -m` and the name of its module."""
    app = typer.Typer(**_STYLE)
    app.command(help=help_of(command))(command)
    app(complete_var="")


def help_of(command: Callable[..., None]) -> str:
    """Return a command's docstring, with the command line as it was called."""
    return _as_called(inspect.getdoc(command) or "")


def path_option(text: str, metavar: str = "DIR", **more: Any) -> Any:
    """Return an option that takes a path."""
    return typer.Option(metavar=metavar, parser=parse_path, help=text, **more)


def path_argument(text: str, metavar: str, **more: Any) -> Any:
    """Return an argument that takes a path."""
    return typer.Argument(metavar=metavar, parser=parse_path, help=text, **more)


def whole_option(text: str, minimum: int, maximum: int, *names: str, **more: Any) -> Any:
    """Return an option that takes a whole number between bounds."""
    return typer.Option(*names, metavar="N", parser=whole(minimum, maximum), help=text, **more)


def real_option(
    text: str, minimum: float, maximum: float, *names: str, above: bool = False, **more: Any
) -> Any:
    """Return an option that takes a number between bounds, or above the lower one."""
    parser = real(minimum, maximum, above=above)
    return typer.Option(*names, metavar="X", parser=parser, help=text, **more)


def whole(minimum: int, maximum: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `minimum` to `maximum`."""
    wanted = f"a whole number from {minimum:,} to {maximum:,} is needed"

    def parse(text: str) -> int:
        number = _number(text, wanted)
        if not (number.is_integer() and minimum <= number <= maximum):
            raise typer.BadParameter(f"'{text}': {wanted}")
        return int(number)

    return parse


def real(minimum: float, maximum: float, *, above: bool = False) -> Callable[[str], float]:
    """Return a parser of numbers from, or above, `minimum` to `maximum`."""
    lowest = f"above {minimum:,} and at most" if above else f"from {minimum:,} to"
    wanted = f"a number {lowest} {maximum:,} is needed"

    def parse(text: str) -> float:
        number = _number(text, wanted)
        if not minimum <= number <= maximum or (above and number == minimum):
            raise typer.BadParameter(f"'{text}': {wanted}")
        return number

    return parse


def _number(text: str, wanted: str) -> float:
    """Return the number of a text, or of a default, which is one already."""
    try:
        return parse_number(str(text))
    except typer.BadParameter as error:
        raise typer.BadParameter(f"{error.message}; {wanted}") from None


def _as_called(text: str) -> str:
    return text.replace(INSTALLED, COMMAND).replace("-m train.", f"-m {PACKAGE}.")


def _root(version: Annotated[bool, version_option(INSTALLED)] = False) -> None:
    pass
