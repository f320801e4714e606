"""Printing on a terminal: consoles, escaping, progress bars and lists."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ctcedge.log import escape_control_chars

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping


_UNLIMITED = 1_000_000  # columns
_MAX_VALUES = 6  # printed of a counter


class _Console(Console):
    """Wraps lines on a terminal between words, never within a path; elsewhere not at all."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, emoji=False)

    @property
    def options(self) -> ConsoleOptions:
        """Rich's options; elsewhere than on a terminal without a width, so that no name is cut."""
        options = super().options
        return options if self.is_terminal else options.update(max_width=_UNLIMITED)

    def print(self, *objects: Any, whole: bool = False, **options: Any) -> None:
        """Print as Rich does, except for the wrapping of lines: with `whole`, none is broken."""
        whole = whole or not self.is_terminal or any(map(self._has_long_word, objects))
        super().print(*objects, soft_wrap=whole, **options)

    def _has_long_word(self, shown: object) -> bool:
        if not isinstance(shown, str):
            return False
        return any(cell_len(word) > self.width for word in Text.from_markup(shown).plain.split())


output: _Console = _Console()
"""Results, on standard output."""
messages: _Console = _Console(stderr=True)
"""Everything else, on standard error."""

MAX_LINES = 20
"""Lines of a list that are printed."""
_MORE_IN_JSON = "; --json lists all"


def printable(text: str) -> str:
    """Escape control characters and markup in text from outside, such as a file name."""
    return escape(escape_control_chars(text))


def format_counts(counter: Counter[str] | Counter[int]) -> str:
    """Return the most common values with their counts: `PNG (12), TIFF (3)`."""
    shown = [f"{value} ({count:,})" for value, count in counter.most_common(_MAX_VALUES)]
    more = len(counter) - len(shown)
    return ", ".join(shown or ["none"]) + (f" and {more:,} more" if more else "")


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Return a number with its noun: `1 crop`, `1,200 crops`.

    Args:
        count: the number.
        noun: singular.
        nouns: plural; None for the singular and an s.
    """
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


@contextmanager
def progress(total: int | None, task: str = "Classifying") -> Iterator[Progress]:
    """Show a progress bar if standard error is a terminal.

    Args:
        total: number of steps; None if unknown.
        task: label of the bar.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages, disable=not sys.stderr.isatty()) as bar:
        bar.add_task(task, total=total)
        yield bar


def print_error(text: str) -> None:
    """Print the message of an error."""
    lines = map(printable, text.split("\n"))
    messages.print("[bold red]Error:[/] " + "\n".join(lines))


def print_warning(text: str) -> None:
    """Print a warning; names in it are escaped."""
    messages.print(f"[yellow]{printable(text)}[/]")


def print_list(
    one: str,
    many: str,
    lines: Iterable[str],
    console: Console = output,
    *,
    more: str = _MORE_IN_JSON,
) -> None:
    """Print a heading with the number of lines, then the lines; nothing if there are none.

    Args:
        one: heading of one line, after its number.
        many: heading of several lines, after their number.
        lines: the list.
        console: where to.
        more: follows "and N more" if the list is cut.
    """
    items = list(lines)
    if items:
        console.print(f"[yellow]{plural(len(items), one, many)}:[/]")
        print_lines(items, console, more=more)


def print_lines(lines: Iterable[str], console: Console, *, more: str = _MORE_IN_JSON) -> None:
    """Print the first lines of a list, indented, and the number of lines left out."""
    items = list(lines)
    for line in items[:MAX_LINES]:
        console.print(f"  {printable(line)}")
    if len(items) > MAX_LINES:
        console.print(f"  and {len(items) - MAX_LINES:,} more{more}")


def pairs(items: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Return lines of paths and what is wrong with each."""
    return (f"{path}: {problem}" for path, problem in items)


def print_unreadable_folders(unreadable: Mapping[str, str]) -> None:
    """Warn of sub-folders that cannot be read, whose cells are in no result."""
    if unreadable:
        subject = (
            f"{len(unreadable)} folders cannot be read; their"
            if len(unreadable) > 1
            else "1 folder cannot be read; its"
        )
        messages.print(f"[yellow]{subject} cells are left out:[/]")
        print_lines(pairs(unreadable.items()), messages, more="")


def print_unreadable_sidecars(unreadable: Mapping[str, str]) -> None:
    """Warn of sidecars that are there and cannot be read, whose cells count as pending."""
    print_list(
        "sidecar cannot be read now; its cell counts as not classified",
        "sidecars cannot be read now; their cells count as not classified",
        pairs(unreadable.items()),
        messages,
        more="",
    )
