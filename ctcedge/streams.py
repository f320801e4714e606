"""Standard streams of a command that may be closed, full, or read by nobody.

A command whose results are files must not fail because nobody can read what it prints: what cannot
be printed is dropped and remembered. A command whose result is what it prints asks for an error,
with `strict`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_NAMES = "stdin", "stdout", "stderr"


class _Guarded(io.RawIOBase):
    """A descriptor whose write errors are remembered, and raised in strict mode only.

    Attributes:
        failure: the first error of writing in the other mode.
        strict: whether errors are raised.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.failure: OSError | None = None
        self.strict = False
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return self._write(data)
        except OSError as error:
            if self.strict:
                raise
            self.failure = self.failure or error
            return memoryview(data).nbytes

    def _write(self, data: ReadableBuffer) -> int:
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # another program made the terminal or pipe non-blocking
                select.select([], [self._descriptor], [])


def prepare() -> None:
    """Open streams that are closed, and guard the output streams of this process.

    A file that a library opens would otherwise get the descriptor of a closed stream, and receive
    what is printed there.
    """
    for descriptor, name in enumerate(_NAMES):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
        if getattr(sys, name) is None:
            mode = "w" if descriptor else "r"
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))
    sys.stdout, sys.stderr = _guarded(sys.stdout, 1), _guarded(sys.stderr, 2)


def flush() -> None:
    """Write what is buffered, so that nothing is left to the end of the interpreter."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def output_failure() -> OSError | None:
    """Return why standard output could not be written outside of `strict`, if it could not.

    That its reader has closed it, as `head` does, is no failure.
    """
    raw = _raw()
    failure = None if raw is None else raw.failure
    return None if failure is None or failure.errno == errno.EPIPE else failure


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """Raise errors of writing to standard output."""
    raw = _raw()
    if raw is None:
        yield
        return
    raw.strict = True
    try:
        yield
    finally:
        raw.strict = False


def _raw() -> _Guarded | None:
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Guarded) else None


def _guarded(stream: io.TextIOBase | object, descriptor: int) -> io.TextIOWrapper:
    """Return a stream for file names of any characters; a redirected one only gets that."""
    assert isinstance(stream, io.TextIOWrapper)
    try:
        own = stream.fileno() == descriptor
    except (OSError, ValueError):  # in memory, or closed
        own = False
    if not own or isinstance(getattr(stream.buffer, "raw", None), _Guarded):
        stream.reconfigure(errors="backslashreplace")
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Guarded(descriptor)),
        encoding=stream.encoding,
        errors="backslashreplace",
        newline="\n",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
