"""A pool of threads that yields results in the order of submission."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


class OrderedPool:
    """Context with a pool of threads; what is submitted ahead is bounded.

    At the end, work that has begun is finished, and work that has not is dropped.

    Args:
        workers: number of threads.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._executor = ThreadPoolExecutor(workers, "ctcedge")

    def __enter__(self) -> OrderedPool:
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def imap(self, function: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
        """Yield the function's result for each item, in order.

        An item is taken from the iterable only when it can be submitted: at most one more than
        there are threads is under way.
        """
        pending: deque[Future[_R]] = deque()
        for item in items:
            pending.append(self._executor.submit(function, item))
            if len(pending) > self._workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
