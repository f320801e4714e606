"""Ctrl-C and SIGTERM ask to finish the batch in hand; a second Ctrl-C ends at once."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Context in which SIGINT and SIGTERM are requests.

    Attributes:
        number: the first signal's number, 0 before one came.
    """

    def __init__(self) -> None:
        self.number = 0
        self._then: Callable[[], None] = lambda: None

    def requested(self) -> bool:
        """Whether a signal came."""
        return self.number != 0

    def then(self, action: Callable[[], None]) -> None:
        """Call `action` from the signal handler; at once if a signal came already."""
        self._then = action
        if self.requested():
            action()

    def __enter__(self) -> Interruption:
        """Install the handlers."""
        self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put the earlier handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.requested():
            self.number = number
            self._then()
        elif number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
