from __future__ import annotations

import threading

import pytest

from ctcedge.images import sandbox
from ctcedge.pipeline import ordered_pool
from ctcedge.pipeline.ordered_pool import OrderedPool
from ctcedge.pipeline.pipeline import _while_waits_rise


def test_a_wait_for_a_result_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordered_pool, "_WAIT_S", 0.01)
    waited = threading.Event()
    with OrderedPool(2) as pool:
        results = list(pool.imap(lambda number: waited.wait(60) and number, [1, 2, 3], waited.set))
    assert results == [1, 2, 3]
    assert waited.is_set()


def test_a_timeout_error_of_the_work_itself_is_raised() -> None:
    def fail(number: int) -> None:
        raise TimeoutError(number)

    with OrderedPool(1) as pool, pytest.raises(TimeoutError, match="7"):
        list(pool.imap(fail, [7]))


def test_only_waits_that_move_on_are_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_waits", sandbox._Waits())
    signs = []
    call = _while_waits_rise(lambda: 0, lambda: signs.append(sandbox.waits()))
    call()
    assert signs == []
    sandbox._waits.count += 1
    call()
    call()
    assert signs == [1]
