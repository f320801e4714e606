"""References of the command lines, from their parsers."""

from __future__ import annotations

import enum
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import typer

from .markdown import cell, fill, table, with_code


def runtime_cli() -> str:
    """Return the reference of `ctcedge`."""
    from ctcedge.cli.commands import app

    return _reference("cli.md", app, "ctcedge")


def training_cli() -> str:
    """Return the reference of `ctcedge-train`."""
    from ctcedge_train.cli import app

    return _reference("train-cli.md", app, "ctcedge-train")


def _reference(template: str, app: typer.Typer, name: str) -> str:
    sections = _commands(typer.main.get_command(app), name)
    return fill(template, commands="\n\n".join(sections))


def _commands(command: Any, name: str) -> Iterator[str]:
    """Yield the sections of a command and its sub-commands."""
    children = getattr(command, "commands", {})
    options = [_option(param) for param in command.params if _is_shown_option(param)]
    arguments = [_argument(param) for param in command.params if param.param_type_name != "option"]
    yield f"## {name}"
    if not children:
        yield f"```text\n{_usage(command, name)}\n```"
    yield _help(command.help or "")
    if arguments:
        yield table(("argument", "meaning"), arguments)
    if options:
        yield table(("option", "meaning"), options)
    for child_name, child in children.items():
        yield from _commands(child, f"{name} {child_name}")


def _help(text: str) -> str:
    """Return a command's help, with its example as a block of code."""
    parts = []
    for paragraph in textwrap.dedent(text).strip().split("\n\n"):
        line = " ".join(paragraph.split())
        example = re.fullmatch(r"Example: `?(.*?)`?", line)
        parts.append(f"Example:\n\n```bash\n{example[1]}\n```" if example else with_code(line))
    return "\n\n".join(parts)


def _usage(command: Any, name: str) -> str:
    arguments = [_metavar(param) for param in command.params if param.param_type_name == "argument"]
    return " ".join(filter(None, (name, command.options_metavar, *arguments)))


def _metavar(param: Any) -> str:
    shown = param.metavar or param.name.upper()
    if param.nargs == -1:
        shown += "..."
    return shown if param.required else f"[{shown}]"


def _is_shown_option(param: Any) -> bool:
    return param.param_type_name == "option" and not param.hidden


def _argument(param: Any) -> tuple[str, str]:
    return f"`{_metavar(param)}`", cell(param.help or "")


def _option(param: Any) -> tuple[str, str]:
    names = ", ".join((*param.opts, *param.secondary_opts))
    usage = names if param.is_flag else f"{names} {_value(param)}"
    notes = []
    if param.required:
        notes.append("Required.")
    elif isinstance(param.show_default, str):
        notes.append(f"Default: {param.show_default}.")
    elif not param.is_flag and param.default not in (None, "", [], ()):
        notes.append(f"Default: `{_plain(param.default)}`.")
    return f"`{usage}`", " ".join([cell(param.help or ""), *notes]).strip()


def _value(param: Any) -> str:
    """Return the placeholder of an option's value: its metavar, its choices, or its kind."""
    if param.metavar:
        return str(param.metavar)
    # Newer versions of typer describe types themselves; older ones use click's.
    descriptor = getattr(param, "type_descriptor", None)
    kind = param.type if descriptor is None else descriptor.annotation
    choices = getattr(kind, "choices", kind if isinstance(kind, enum.EnumType) else ())
    if choices:
        return "|".join(_plain(choice) for choice in choices)
    name = getattr(kind, "name", getattr(kind, "__name__", "text"))
    numbers = ("int", "float", "integer", "integer range", "float range")
    return "NUMBER" if name in numbers else "PATH" if name in ("Path", "path") else "TEXT"


def _plain(value: object) -> str:
    return str(getattr(value, "value", value))
