"""Notifies systemd of the state of a service: ready, status, watchdog, stopping; see sd_notify(3).

Without systemd every call does nothing. Errors of the socket are never raised: a service must not
fail because its manager does not listen.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping

_SEND_TIMEOUT = 1.0  # seconds; systemd reads at once, or not at all
_PINGS_PER_INTERVAL = 3
_MAX_DIGITS = 20  # of a number of 64 bits, as the protocol has them


class Notifier:
    """Connection of a service to its service manager.

    Args:
        address: address of the manager's datagram socket: an absolute path, or an abstract name
            after `@`; None where there is no service manager.
        watchdog: seconds without a ping after which the manager ends the service; None where it
            expects no pings.
        clock: monotonic clock, seconds.

    Attributes:
        ping_interval: seconds between two pings; None where no pings are expected.
    """

    def __init__(
        self,
        address: str | None,
        watchdog: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ping_interval = None if watchdog is None else watchdog / _PINGS_PER_INTERVAL
        self._address = address
        self._clock = clock
        self._next_ping: float | None = None
        self._status: str | None = None

    @classmethod
    def from_environment(
        cls, env: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> Notifier:
        """Create a notifier from NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.

        Values that the protocol does not define count as not set.
        """
        address = env.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls(None)
        microseconds = env.get("WATCHDOG_USEC", "")
        is_ours = env.get("WATCHDOG_PID") in (None, str(os.getpid()))
        is_number = microseconds.isdecimal() and len(microseconds) <= _MAX_DIGITS
        watched = is_ours and is_number and int(microseconds) > 0
        return cls(address, int(microseconds) / 1e6 if watched else None, clock)

    def ready(self, status: str) -> None:
        """Notify that the service has started, with its status."""
        self._status = _one_line(status)
        self._send(f"READY=1\nSTATUS={self._status}")

    def status(self, text: str) -> None:
        """Notify a new status of the service; nothing is sent where it has not changed."""
        line = _one_line(text)
        if line != self._status and self._send(f"STATUS={line}"):
            self._status = line

    def watchdog_ping(self) -> None:
        """Ping the watchdog if it is due; to be called whenever the service makes progress."""
        if self.ping_interval is None:
            return
        now = self._clock()
        due = self._next_ping is None or now >= self._next_ping
        if due and self._send("WATCHDOG=1"):
            self._next_ping = now + self.ping_interval

    def stopping(self) -> None:
        """Notify that the service ends on purpose."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> bool:
        if self._address is None:
            return False
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.settimeout(_SEND_TIMEOUT)
                connection.sendto(message.encode("utf-8", "backslashreplace"), address)
        except OSError:
            return False
        return True


def _one_line(text: str) -> str:
    """The text without line breaks, which would separate messages."""
    return " ".join(text.split())
