"""Progress bars with the remaining time, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Advance(Protocol):
    """Callback that advances a progress bar."""

    def __call__(self, steps: int = 1, note: str = "") -> None:
        """Advance by `steps`; a non-empty `note` replaces the text after the bar."""


@contextmanager
def progress(
    title: str, total: int, *, quiet: bool = False, lines: bool = False
) -> Iterator[Advance]:
    """Show a progress bar during the block.

    Args:
        title: of the bar.
        total: number of steps.
        quiet: show nothing.
        lines: print each note on a line of its own where standard error is no terminal.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    console = Console(stderr=True)
    lines = lines and not quiet and not console.is_terminal
    with Progress(*columns, console=console, disable=quiet or lines) as bar:
        task = bar.add_task(title, total=total, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bar.advance(task, steps)
            if note and lines:
                print(f"{title}: {note}", file=sys.stderr, flush=True)
            elif note:
                bar.update(task, note=note)

        yield advance
