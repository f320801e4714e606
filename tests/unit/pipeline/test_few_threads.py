"""Where threads cannot be started, the caller's own does their work."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ctcedge.pipeline.ordered_pool import OrderedPool
from ctcedge.sidecars import index as index_module
from ctcedge.sidecars.index import DoneIndex
from tests.unit.sidecars.index_place import KEY, KNOWN, Place

_START = threading.Thread.start


@pytest.mark.parametrize("startable", [0, 1, 2])
def test_a_pool_works_with_the_threads_that_can_be_started(
    startable: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limit_threads(monkeypatch, startable)
    monkeypatch.setattr(OrderedPool, "_warned", False)
    with OrderedPool(2) as pool:
        assert list(pool.imap(lambda number: number * 2, range(50))) == list(range(0, 100, 2))
    assert ("can be started here" in caplog.text) == (startable < 2)


def test_an_error_is_raised_at_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for startable in (0, 1):
        limit_threads(monkeypatch, startable)
        done = []
        with OrderedPool(2) as pool, pytest.raises(ZeroDivisionError):
            for result in pool.imap(lambda number: 6 // number, [3, 2, 0, 1]):
                done.append(result)
        assert done == [2, 3]


def test_the_index_is_written_without_a_thread(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = place.many(10)
    limit_threads(monkeypatch, 0)
    with DoneIndex(place.folder, place.out, KEY) as opened:
        for lookup in opened.lookup(crops):
            opened.record(lookup, KNOWN, sha256="", written=False)
        opened.prune(len(crops))
    assert place.known(*crops) == [KNOWN] * 10


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("CTCEDGE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(index_module, "TIMESTAMP_GRANULARITY", 0.0)
    monkeypatch.setattr(index_module, "MIN_WRITE", 1)
    return Place(tmp_path)


def limit_threads(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let only so many threads be started from now on."""
    left = [count]

    def limited(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        _START(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
