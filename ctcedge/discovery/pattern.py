"""A regular expression from a user or an export, with a limit of the time that it takes.

Python's `re` keeps the interpreter's lock until a match ends, and some expressions need longer than
anybody waits for a name that does not match. Meanwhile `re` handles signals only, and only in the
main thread: there, a timer of the process's CPU time ends the match. In other threads nothing can,
and no limit applies.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
import warnings
from types import FrameType

from ctcedge.errors import SettingsError
from ctcedge.log import event

log = logging.getLogger("ctcedge.discovery.pattern")

MAX_MATCH_S = 0.5
"""CPU seconds that one name may take."""

_FREE_S = 5.0  # CPU seconds that all names together may take, besides ...
_S_PER_NAME = 0.001  # ... this much for each
_TICK_S = 0.1
_MAX_SLOW_NAMES = 1000
_MAX_SHOWN = 200  # characters of a pattern in a message


class PatternTimeoutError(Exception):
    """A name took too long to match."""


class NamePattern:
    """Matches names within a limited time.

    Args:
        pattern: regular expression.
        shown: text of it in messages; by default, itself.

    Raises:
        SettingsError: it is none.
    """

    def __init__(self, pattern: str, shown: str = "") -> None:
        self._text = shown or pattern
        try:
            with warnings.catch_warnings():
                # syntax that a later Python reads differently
                warnings.simplefilter("error", FutureWarning)
                self._regex = re.compile(pattern)
        except (re.error, OverflowError, RecursionError, FutureWarning) as error:
            raise SettingsError(f"--pattern is not a regular expression: {error}") from None
        self.groups = self._regex.groupindex.keys()
        self._slow: set[str] = set()
        self._names = 0
        self._spent = 0.0

    def fullmatch(self, name: str) -> re.Match[str] | None:
        """Match a name in full.

        Raises:
            PatternTimeoutError: this name takes too long.
            SettingsError: the names together take too long.
        """
        if name in self._slow:
            raise PatternTimeoutError
        if threading.current_thread() is not threading.main_thread():
            return self._regex.fullmatch(name)
        self._names += 1
        try:
            with _TIMER:
                return self._regex.fullmatch(name)
        except PatternTimeoutError:
            self._note_timeout(name)
            raise
        finally:
            self._spent += _TIMER.seconds
            if self._spent > _FREE_S + _S_PER_NAME * self._names:
                raise SettingsError(
                    f"the pattern {self._shown()} (--pattern, or 'pattern' in ctcedge.toml) takes"
                    f" too long: {self._spent:.1f} s for {self._names:,} names. A repetition within"
                    " a repetition, such as (a+)+, is the usual cause; write a simpler one"
                )

    def _note_timeout(self, name: str) -> None:
        if not self._slow:
            log.warning(
                "the pattern %s takes more than %g s for a name: such names are left out. A"
                " repetition within a repetition, such as (a+)+, is the usual cause",
                self._shown(),
                MAX_MATCH_S,
                extra=event("pattern-slow"),
            )
        if len(self._slow) < _MAX_SLOW_NAMES:
            self._slow.add(name)

    def _shown(self) -> str:
        text = repr(self._text)
        return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


class _Timer:
    """Context manager that ends what takes too long in the main thread.

    Attributes:
        seconds: CPU time of the thread within the latest context.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start: float | None = None
        self._installed = False

    def __enter__(self) -> None:
        if not self._installed:
            signal.signal(signal.SIGVTALRM, self._on_signal)
            self._installed = True
        self.seconds = 0.0
        self._start = time.thread_time()
        signal.setitimer(signal.ITIMER_VIRTUAL, MAX_MATCH_S, _TICK_S)

    def __exit__(self, *error: object) -> None:
        start, self._start = self._start, None
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if start is not None:
            self.seconds = time.thread_time() - start

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # The timer also counts the time of other threads, while this one waits for the lock.
        if self._start is not None and time.thread_time() - self._start >= MAX_MATCH_S:
            raise PatternTimeoutError


_TIMER = _Timer()
