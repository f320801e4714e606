"""A pool of threads that yields results in the order of submission."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from ctcedge.log import event

log = logging.getLogger("ctcedge.pipeline.ordered_pool")

_WAIT_S = 1.0
_T = TypeVar("_T")
_R = TypeVar("_R")


class OrderedPool:
    """Context with a pool of threads; what is submitted ahead is bounded.

    Threads are started when there is work for them. Where not even one can be, because of a limit,
    the caller's own does the work. At the end, work that has begun is finished, and work that has
    not is dropped.

    Args:
        max_threads: number of threads.
    """

    _warned = False

    def __init__(self, max_threads: int) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._max_threads = max_threads
        self._closed = False

    def __enter__(self) -> OrderedPool:
        return self

    def __exit__(self, *error: object) -> None:
        self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def imap(
        self,
        function: Callable[[_T], _R],
        items: Iterable[_T],
        on_wait: Callable[[], object] = lambda: None,
    ) -> Iterator[_R]:
        """Yield the function's result for each item, in order.

        An item is taken from the iterable only when it can be submitted: at most one more than
        there are threads is under way. `on_wait` is called each second of a wait for a result.
        """
        pending: deque[Future[_R]] = deque()
        for item in items:
            if len(pending) >= len(self._threads) < self._max_threads:
                self._start_thread()
            if not self._threads:
                yield function(item)
                continue
            pending.append(self._submit(function, item))
            if len(pending) > len(self._threads):
                yield _result(pending.popleft(), on_wait)
        while pending:
            yield _result(pending.popleft(), on_wait)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name="ctcedge")
        try:
            thread.start()
        except RuntimeError:
            self._warn()
            self._max_threads = len(self._threads)
        else:
            self._threads.append(thread)

    def _submit(self, function: Callable[[_T], _R], item: _T) -> Future[_R]:
        future: Future[_R] = Future()

        def work() -> None:
            try:
                result = function(item)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self._queue.put(work)
        return future

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            if not self._closed:
                work()
            del work  # with its item and result, which may be large

    def _warn(self) -> None:
        if not OrderedPool._warned:
            log.warning(
                "only %d of %d threads can be started here (a limit on processes or threads);"
                " the work takes longer",
                len(self._threads),
                self._max_threads,
                extra=event("few-threads"),
            )
        OrderedPool._warned = True


def _result(future: Future[_R], on_wait: Callable[[], object]) -> _R:
    while True:
        try:
            return future.result(_WAIT_S)
        except TimeoutError:
            if future.done():  # meanwhile, or the function itself raised the error
                return future.result()
            on_wait()
