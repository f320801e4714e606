"""What opening a graph may take: time and memory are limited, and a graph must not loop.

A model folder may come from anyone. Its hashes show that it is whole, not that it is harmless.
"""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from ctcedge.errors import ModelError

_T = TypeVar("_T")

_TIMEOUT_S = 60.0  # the shipped model opens in a fraction of a second
_GRACE_S = 10.0  # in which ONNX Runtime can end what it does
_MEMORY = 2 * 1024**3  # bytes beyond those that the process has
_MEMORY_PER_BYTE = 8  # of the graph's file

_LOOPS = {b"Loop", b"Scan", b"SequenceMap"}
_MAX_DEPTH = 50  # of graphs in graphs
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Fields of ONNX's messages that lead to operators.
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTION = 7, 20, 25
_TRAINING_GRAPHS = {1, 2}
_GRAPH_NODE, _FUNCTION_NODE = 1, 7
_NODE_OPERATOR, _NODE_ATTRIBUTE = 4, 5
_ATTRIBUTE_GRAPHS = {6, 11}


def call_limited(call: Callable[[], _T], cancel: Callable[[], object], graph_bytes: int) -> _T:
    """Call a function that opens and tries a graph.

    Memory is limited for the whole process meanwhile, and therefore only where it has one thread.

    Args:
        call: the function; called in another thread.
        cancel: makes it end soon; called when the time is up, or the wait is interrupted.
        graph_bytes: size of the graph's file.

    Raises:
        TimeoutError: it did not end in time; it may go on in its thread.
    """
    results: list[_T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    with _memory_limit(_MEMORY + _MEMORY_PER_BYTE * graph_bytes):
        thread = threading.Thread(target=work, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread can be started here
            return call()
        try:
            thread.join(_TIMEOUT_S)
            in_time = not thread.is_alive()
        except BaseException:
            cancel()
            raise
        if not in_time:
            cancel()
            thread.join(_GRACE_S)
    _wait_for_end(thread)
    if results:
        return results[0]
    if not in_time:
        raise TimeoutError(f"it takes longer than {_TIMEOUT_S:.0f} s")
    raise errors[0]


def _wait_for_end(thread: threading.Thread) -> None:
    """Wait until the system, too, no longer counts a thread that has ended: limits may be tight."""
    for _ in range(100):
        if thread.is_alive() or not os.path.exists(f"/proc/self/task/{thread.native_id}"):
            return
        time.sleep(0.001)


@contextlib.contextmanager
def _memory_limit(more: int) -> Iterator[None]:
    """Let the process allocate so many bytes more, where this concerns no other thread."""
    if threading.active_count() > 1:
        yield
        return
    limits = resource.getrlimit(resource.RLIMIT_AS)
    try:
        with open("/proc/self/statm", "rb") as file:
            wanted = int(file.read().split()[0]) * resource.getpagesize() + more
    except OSError:
        yield
        return
    if any(limit != resource.RLIM_INFINITY and limit < wanted for limit in limits):
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (wanted, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def check_operators(graph: bytes) -> None:
    """Check that a graph has no loop, whose time would depend on the images.

    Args:
        graph: the bytes of the ONNX file.

    Raises:
        ModelError: it has one, or it is no ONNX file.
    """
    try:
        for field, message in _fields(memoryview(graph)):
            if field == _MODEL_GRAPH:
                _check_nodes(message, _GRAPH_NODE)
            elif field == _MODEL_FUNCTION:
                _check_nodes(message, _FUNCTION_NODE)
            elif field == _MODEL_TRAINING:
                for inner, training_graph in _fields(message):
                    if inner in _TRAINING_GRAPHS:
                        _check_nodes(training_graph, _GRAPH_NODE)
    except (IndexError, ValueError):
        raise ModelError("it is no ONNX file") from None


def _check_nodes(graph: memoryview, node_field: int, depth: int = 0) -> None:
    if depth > _MAX_DEPTH:
        raise ModelError("its graphs are nested too deeply")
    for field, node in _fields(graph):
        if field != node_field:
            continue
        for inner, value in _fields(node):
            if inner == _NODE_OPERATOR and bytes(value) in _LOOPS:
                raise ModelError(f"it has a loop ({bytes(value).decode()}), which is not accepted")
            if inner == _NODE_ATTRIBUTE:
                for number, attribute in _fields(value):
                    if number in _ATTRIBUTE_GRAPHS:
                        _check_nodes(attribute, _GRAPH_NODE, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a protocol buffer that hold bytes, with their numbers.

    Raises:
        IndexError: it ends within a field.
        ValueError: it is no protocol buffer.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _BYTES:
            size, at = _varint(message, at)
            if size > end - at:
                raise ValueError("a field is cut off")
            yield key >> 3, message[at : at + size]
            at += size
        elif kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("a field of an unknown kind")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number at a position, and the position after it."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of too many bytes")
