from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from ctcedge.times import now, rfc3339


def test_the_time_is_utc() -> None:
    assert now().endswith("Z")
    age = datetime.now(UTC) - datetime.fromisoformat(now())
    assert abs(age.total_seconds()) < 60


def test_a_time_of_another_zone_becomes_utc() -> None:
    zone = timezone(timedelta(hours=2))
    assert rfc3339(datetime(2026, 3, 1, 8, 15, 30, 123456, zone)) == "2026-03-01T06:15:30.123Z"
