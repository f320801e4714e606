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
    """Show a progress bar during the block; without a terminal, a line per tenth of the steps.

    Args:
        title: of the bar.
        total: number of steps.
        quiet: show nothing.
        lines: without a terminal, print each note on a line of its own instead.
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
    if not (quiet or console.is_terminal):
        yield _lines(title, total, notes_only=lines)
        return
    with Progress(*columns, console=console, disable=quiet) as bar:
        task = bar.add_task(title, total=total, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bar.advance(task, steps)
            if note:
                bar.update(task, note=note)

        yield advance


def _lines(title: str, total: int, *, notes_only: bool) -> Advance:
    done = tenths = 0

    def advance(steps: int = 1, note: str = "") -> None:
        nonlocal done, tenths
        done += steps
        reached = 10 * done // max(total, 1)
        if note and notes_only:
            print(f"{title}: {note}", file=sys.stderr, flush=True)
        elif not notes_only and (note or reached > tenths):
            text = f"{title}: {done:,} of {total:,}"
            print(f"{text}, {note}" if note else text, file=sys.stderr, flush=True)
        tenths = max(tenths, reached)

    return advance
