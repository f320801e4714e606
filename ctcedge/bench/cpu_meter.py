"""CPU time of the inference session, separate from that of the rest of the process.

It is measured directly, not by subtraction: the threads of ONNX Runtime spin while they wait, more
so on a busy machine, and the difference of two large, noisy numbers would be noisy. The session's
CPU time is that of any thread during `Engine.infer`, plus all CPU time of the threads that started
with the session: those of ONNX Runtime, including spinning, and of a GPU driver.
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

from ctcedge.model.failover import FailoverEngine
from ctcedge.model.session import Engine, ModelOutput


class Meter:
    """Measures the CPU time of one session."""

    def __init__(self) -> None:
        self._calls = 0.0
        self._lock = threading.Lock()
        self._threads: set[int] = set()

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """Context in which the session is opened: threads that start meanwhile belong to it."""
        before = _threads()
        yield
        python_threads = {thread.native_id for thread in threading.enumerate()}
        self._threads = _threads() - before - python_threads

    def measure(self, inference: FailoverEngine) -> None:
        """Start to measure the calls of an engine."""
        inference.current = cast(Engine, _Metered(inference.current, self))

    def add(self, seconds: float) -> None:
        """Add the CPU time of a call in the thread that made it."""
        with self._lock:
            self._calls += seconds

    def calls(self) -> float:
        """CPU seconds so far of the calling threads, during their calls."""
        return self._calls

    def seconds(self) -> float:
        """CPU seconds of the session so far, including its own threads."""
        return self._calls + sum(map(_cpu_seconds, self._threads))


class _Metered:
    """An engine whose calls are measured."""

    def __init__(self, engine: Engine, meter: Meter) -> None:
        self._engine = engine
        self._meter = meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def infer(self, inputs: NDArray[np.uint8]) -> ModelOutput:
        start = time.thread_time()
        try:
            return self._engine.infer(inputs)
        finally:
            self._meter.add(time.thread_time() - start)


def _threads() -> set[int]:
    return set(map(int, os.listdir("/proc/self/task")))


def _cpu_seconds(thread: int) -> float:
    """CPU seconds of a thread of this process by its kernel id; 0 where it has ended."""
    # The clock id as Linux composes it, see clock_getcpuclockid(3), which works for any thread and
    # not only for Python's.
    with contextlib.suppress(OSError):
        return time.clock_gettime((~thread << 3) | 6)
    return 0.0
