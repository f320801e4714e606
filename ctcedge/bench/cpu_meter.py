"""CPU time, split between the network's session and everything else.

What a session costs cannot be had by subtraction: ONNX Runtime's threads spin while they wait for
work or for each other, the more so the busier the machine, and the difference of two large and
unsteady numbers is neither large nor steady. So it is measured directly. Of the session is the CPU
time of a thread while it is within `Engine.answer`, and all that of the threads which came with the
session: ONNX Runtime's own, spinning included, and a GPU driver's. All else that the process burns
is outside the session.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ctcedge.model.failover import RecoveringEngine
from ctcedge.model.session import Engine, ModelOutput


class Meter:
    """Adds up the CPU time of one session."""

    def __init__(self) -> None:
        self._calls = 0.0
        self._adding = threading.Lock()
        self._threads: set[int] = set()

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """Context in which the session opens: the threads that start then are its own."""
        before = _threads()
        yield
        pythons = {each.native_id for each in threading.enumerate()}
        self._threads = _threads() - before - pythons

    def measure(self, inference: RecoveringEngine) -> None:
        """Count what its calls cost from now on."""
        inference.current = cast(Engine, _Metered(inference.current, self))

    def add(self, seconds: float) -> None:
        """Count the CPU time of a call in the thread that made it."""
        with self._adding:
            self._calls += seconds

    def calls(self) -> float:
        """CPU seconds so far of the threads that called the session, while they did."""
        return self._calls

    def seconds(self) -> float:
        """CPU seconds of the session so far, its own threads included."""
        return self._calls + sum(map(_cpu_seconds, self._threads))


class _Metered:
    """An engine whose calls are metered."""

    def __init__(self, engine: Engine, meter: Meter) -> None:
        self._engine = engine
        self._meter = meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def answer(self, inputs: NDArray[np.uint8]) -> ModelOutput:
        start = time.thread_time()
        try:
            return self._engine.answer(inputs)
        finally:
            self._meter.add(time.thread_time() - start)


def _threads() -> set[int]:
    return set(map(int, os.listdir("/proc/self/task")))


def _cpu_seconds(thread: int) -> float:
    """CPU time of a thread of this process, by the kernel's number of it; 0 where it has ended."""
    # The clock's number as Linux puts it together, see clock_getcpuclockid(3): any thread's, not
    # only of those that Python has started.
    with contextlib.suppress(OSError):
        return time.clock_gettime((~thread << 3) | 6)
    return 0.0
