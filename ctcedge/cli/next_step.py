"""The next command, which a command prints at its end, ready to copy into a shell.

It goes to standard error, so that standard output holds results only; commands with `--json` print
none. A line is never broken, as half a command would run.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from ctcedge.cli.console import messages

Words: TypeAlias = dict[str, object]
"""Options of a command by name, such as `--sidecars`; those that are None are left out."""

_PRINTABLE = re.compile(
    r"[^\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]*"
)


def print_next(
    command: str,
    *arguments: object,
    options: Words | None = None,
    given: Sequence[str] = (),
    when: str = "",
) -> None:
    """Print a command as the next step.

    Args:
        command: its name, such as `review import`.
        arguments: paths.
        options: its options; True for one without a value.
        given: further words as they are.
        when: what the person does before it.
    """
    words = [quoted(_argument(argument)) for argument in arguments]
    for name, value in (options or {}).items():
        if value is True:
            words.append(name)
        elif value is not None:
            text = quoted(str(value))
            words.append(f"{name}={text}" if str(value).startswith("-") else f"{name} {text}")
    words += map(quoted, given)
    lead = f"Next, {when}:" if when else "Next:"
    messages.print(f"{lead}\n  {' '.join(['ctcedge', command, *words])}", markup=False, whole=True)


def quoted(word: str) -> str:
    """Return a word as a shell reads it; control characters as escapes, which a terminal shows."""
    if _PRINTABLE.fullmatch(word):
        return shlex.quote(word)
    escaped = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b"'\\" else f"\\x{byte:02x}"
        for byte in os.fsencode(word)
    )
    return f"$'{escaped}'"


def _argument(path: object) -> str:
    """Return a path that is not taken for an option."""
    text = str(path)
    return f"./{text}" if text.startswith("-") else text


def folder_options(
    *,
    sidecars: Path | None = None,
    config: Path | None = None,
    pattern: str | None = None,
    name: str = "--sidecars",
    **others: object,
) -> Words:
    """Return the options in force that most commands have.

    Args:
        sidecars: folder of the sidecars, as it was given.
        config: settings file, as it was given.
        pattern: pattern of the names, as it was given.
        name: how the next command calls the folder of the sidecars.
        **others: further options, with underscores for hyphens.
    """
    words: Words = {name: sidecars, "--config": config, "--pattern": pattern}
    return words | {f"--{key.replace('_', '-')}": value for key, value in others.items()}


def print_next_import(folder: object, options: Words) -> None:
    """Print the import of the corrections that a page saved, as the next step."""
    when = "after the review on the page; CORRECTIONS.json is the file that it saved"
    print_next("review import", "CORRECTIONS.json", folder, options=options, when=when)
