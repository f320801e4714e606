"""Graceful shutdown: Ctrl-C and SIGTERM are requests to stop; a second Ctrl-C ends at once."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Context manager that turns SIGINT and SIGTERM into requests to stop.

    Attributes:
        number: number of the first signal, 0 if there was none.
    """

    def __init__(self) -> None:
        self.number = 0
        self._action: Callable[[], None] = lambda: None

    def requested(self) -> bool:
        """Return whether a signal was received."""
        return self.number != 0

    def on_request(self, action: Callable[[], None]) -> None:
        """Call `action` from the signal handler, or now if a signal was received already."""
        self._action = action
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
        """Restore the earlier handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.requested():
            self.number = number
            self._action()
        elif number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
