"""The format of all times: RFC 3339 in UTC with milliseconds, such as 2026-03-01T08:15:30.123Z."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(time: datetime) -> str:
    """Return the text of an aware time."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now() -> str:
    """Return the text of the present time."""
    return rfc3339(datetime.now(UTC))
