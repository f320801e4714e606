"""Telling systemd how a service is: ready, what it does, alive, stopping; see sd_notify(3).

Without systemd every call does nothing. A service must not fail because nobody listens, so an error
of the socket is never raised.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping

_LONGEST_SEND = 1.0  # seconds; systemd reads at once, or not at all
_SIGNS_PER_INTERVAL = 3


class Notifier:
    """The service manager, as the service sees it.

    Args:
        address: of its datagram socket: an absolute path, or an abstract name after `@`; None
            where there is no service manager.
        watchdog: seconds after which it ends a service that gave no sign of life; None where it
            waits for ever.
        clock: seconds that only go forward.

    Attributes:
        every: seconds between two signs of life that are sent; None where none is wanted.
    """

    def __init__(
        self,
        address: str | None,
        watchdog: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.every = None if watchdog is None else watchdog / _SIGNS_PER_INTERVAL
        self._address = address
        self._clock = clock
        self._next_sign: float | None = None
        self._status: str | None = None

    @classmethod
    def from_environment(
        cls, env: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> Notifier:
        """What NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID tell; the environment stays as it is.

        Values that this protocol does not know count as not set.
        """
        address = env.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls(None)
        microseconds = env.get("WATCHDOG_USEC", "")
        meant = env.get("WATCHDOG_PID") in (None, str(os.getpid()))
        watched = meant and microseconds.isdecimal() and int(microseconds) > 0
        return cls(address, int(microseconds) / 1e6 if watched else None, clock)

    def ready(self, status: str) -> None:
        """Say that the service has started and what it does."""
        self._status = _one_line(status)
        self._send(f"READY=1\nSTATUS={self._status}")

    def status(self, text: str) -> None:
        """Say what the service does, where that changed."""
        line = _one_line(text)
        if line != self._status and self._send(f"STATUS={line}"):
            self._status = line

    def watchdog_ping(self) -> None:
        """Give a sign of life; may be called as often as the service gets on."""
        if self.every is None:
            return
        now = self._clock()
        due = self._next_sign is None or now >= self._next_sign
        if due and self._send("WATCHDOG=1"):
            self._next_sign = now + self.every

    def stopping(self) -> None:
        """Say that the service ends on purpose."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> bool:
        if self._address is None:
            return False
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.settimeout(_LONGEST_SEND)
                connection.sendto(message.encode("utf-8", "backslashreplace"), address)
        except OSError:
            return False
        return True


def _one_line(text: str) -> str:
    """The text without line ends, which would begin another message."""
    return " ".join(text.split())
