"""The last line of a terminal, redrawn in place while `watch` runs; log lines appear above it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

from ctcedge.sidecars.schema import CALLS

if TYPE_CHECKING:
    from ctcedge.results.summary import Summary
    from ctcedge.service.watch_state import WatchState

_CLEAR = "\r\x1b[J"  # from the start of the line to the end of the screen
_DEFAULT_WIDTH = 80
_DUMB = ("", "dumb", "unknown")  # terminals that cannot clear a line


class StatusLine(io.TextIOBase):
    """A text stream to a terminal that keeps one more line below what is written.

    The cursor stays at the start of that line. So it can be cleared as a whole even where the
    terminal was made narrower, and has wrapped it.

    Args:
        terminal: the terminal's stream.
    """

    def __init__(self, terminal: TextIO) -> None:
        super().__init__()
        self._terminal = terminal
        self._lock = threading.Lock()
        self._shown = ""

    def width(self) -> int:
        """Columns that the line may fill; the last column is left free, so that nothing wraps."""
        try:
            columns = os.get_terminal_size(self._terminal.fileno()).columns
        except (OSError, ValueError):
            columns = _DEFAULT_WIDTH
        return max(columns or _DEFAULT_WIDTH, 2) - 1

    def show(self, text: str) -> None:
        """Replace the line; nothing is written where it stays the same."""
        text = text[: self.width()]
        with self._lock:
            if text != self._shown:
                self._shown = text
                self._put(self._line())

    def write(self, text: str, /) -> int:
        """Write whole lines above the line; long ones are wrapped between words."""
        lines = (self._wrapped(line) for line in text.splitlines(keepends=True))
        with self._lock:
            self._put(_CLEAR + "".join(lines) + (self._line() if self._shown else ""))
        return len(text)

    def _wrapped(self, line: str) -> str:
        wrapped = textwrap.fill(
            line,
            self.width(),
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        return wrapped + "\n"

    def flush(self) -> None:
        """Do nothing: every write is flushed."""

    def clear(self) -> None:
        """Remove the line."""
        with self._lock:
            if self._shown:
                self._shown = ""
                self._put(_CLEAR)

    def _line(self) -> str:
        return f"{_CLEAR}{self._shown}\r"

    def _put(self, text: str) -> None:
        self._terminal.write(text)
        self._terminal.flush()


def on_terminal() -> bool:
    """Return whether standard error is a terminal, where a person reads it."""
    try:
        return sys.stderr.isatty()
    except ValueError:  # closed
        return False


@contextlib.contextmanager
def status_line(*, shown: bool) -> Iterator[StatusLine | None]:
    """A status line on standard error, cleared at the end; None where it is not to be shown."""
    if not shown or not on_terminal() or os.environ.get("TERM", "") in _DUMB:
        yield None
        return
    line = StatusLine(sys.stderr)
    try:
        yield line
    finally:
        line.clear()


@contextlib.contextmanager
def on_resize(action: Callable[[], None]) -> Iterator[None]:
    """Call `action` from the signal handler when the size of the terminal changes."""
    before = signal.signal(signal.SIGWINCH, lambda number, frame: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def describe(state: WatchState, summary: Summary, *, scanned: bool, width: int) -> str:
    """Describe a watch on one line: what it does, new crops since the start, and all crops.

    Args:
        state: state of the watch.
        summary: all crops of the folder, each counted once.
        scanned: whether the whole folder has been read.
        width: columns; what fits least is left out first.
    """
    if state.problem is not None:
        activity = "problem, trying again"
    elif state.pending:
        activity = f"{state.pending:,} pending"
    else:
        activity = "waiting" if scanned else "reading the folder"
    new: Counter[str] = Counter({call: state.tally.calls[call] for call in CALLS})
    new["without a call"] = state.unclassified
    total: Counter[str] = Counter({call: summary.tally.calls[call] for call in CALLS})
    total["without a call"] = len(summary.unclassified)
    lines = (
        f"{activity} | new: {_counts(new)} | total: {_counts(total)}",
        f"{activity} | new: {_counts(new)} | total: {total.total():,}",
        f"{activity} | new: {_brief(new)} | total: {_brief(total)}",
        f"{activity} | {new.total():,} new | {total.total():,} total",
        f"{activity} | {new.total():,} new",
    )
    return next((line for line in lines if len(line) <= width), activity)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "none"


def _brief(counts: Counter[str]) -> str:
    return f"{counts.total():,} ({counts['CTC']:,} CTC)"
