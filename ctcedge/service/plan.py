"""The steps of an installation in a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ctcedge.service.systemd import Remove, Step, Write


def brief(steps: Sequence[Step]) -> Iterator[str]:
    """Return lines with what is written, removed and run; files of one folder share a line."""
    for verb, kind in (("write", Write), ("remove", Remove)):
        folders: dict[Path, list[str]] = {}
        for step in steps:
            if isinstance(step, kind):
                folders.setdefault(step.path.parent, []).append(step.path.name)
        for folder, names in folders.items():
            if len(names) == 1:
                yield f"{verb} {folder / names[0]}"
            else:
                yield f"{verb} {', '.join(names)} in {folder}"
    yield from _commands(steps)


def command(steps: Sequence[Step]) -> str:
    """Return the command of the service, with all options in force, as a unit file has it.

    Variables that it sets come first.
    """
    words = [
        line.partition("=")[2].removeprefix(":")
        for step in steps
        if isinstance(step, Write) and step.path.name == "machine.conf"
        for line in step.text.splitlines()
        if line.startswith(("Environment=", "ExecStart=:"))
    ]
    return " ".join(words)


def _commands(steps: Sequence[Step]) -> Iterator[str]:
    """Return a line per program, with the arguments of all its runs."""
    runs: dict[str, list[str]] = {}
    for step in steps:
        if not isinstance(step, Write | Remove):
            program, *words = step.words
            what = [word for word in words if not word.startswith("--")]
            runs.setdefault(program, []).append(" ".join(what))
    for program, each in runs.items():
        if program == "install":
            yield f"create {', '.join(each)}"
        else:
            yield f"run {program} {', '.join(each)}"
