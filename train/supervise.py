"""Runs a command in a child process, and reports in one line by which signal it died, if it did.

Libraries can end a process where no exception can be caught: a fault in compiled code, or the
kernel when memory runs out.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable

_FROM_TERMINAL = 0x80  # si_code of a signal from the kernel, which the child receives itself
_PR_SET_PDEATHSIG = 1
_REQUESTS = signal.SIGINT, signal.SIGTERM
_SHOW_CURSOR = "\x1b[?25h"

_MEMORY = (
    "the kernel kills processes when memory runs out; free memory, or use fewer cells or a lower"
    " --batch-size"
)
_FAULT = (
    "a fault in a library or the hardware, not in the data; run the same command again, with"
    " OMP_NUM_THREADS=1 if it recurs, and report it with the versions of torch and Python"
)
_ADVICE = {
    signal.SIGKILL: _MEMORY,
    signal.SIGXCPU: "its limit of CPU time is used up; raise it, for instance with ulimit -t",
    signal.SIGXFSZ: "a file grew beyond the limit of file sizes; raise it with ulimit -f",
    **dict.fromkeys(
        (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL), _FAULT
    ),
}


def supervised(command: Callable[[], None]) -> None:
    """Run a command in a child process.

    In the child this returns when the command returns. In the parent it exits with the child's exit
    code, or with 128 plus the number of the signal by which the child died.

    Args:
        command: started before any thread.
    """
    watched = {*_REQUESTS, signal.SIGCHLD}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _end_with(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        command()
        return
    requested, status = _wait(child, watched)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    code = os.waitstatus_to_exitcode(status)
    if requested == signal.SIGINT and code in (-signal.SIGTERM, 128 + signal.SIGTERM):
        code = 128 + signal.SIGINT  # it was passed on as SIGTERM
    if code < 0 and -code not in _REQUESTS:
        _report(signal.Signals(-code))
    os._exit(code if code >= 0 else 128 - code)


def _wait(child: int, watched: set[signal.Signals]) -> tuple[int, int]:
    """Wait for the child and pass requests to stop on.

    Returns:
        The first request to stop, 0 without one, and the child's status.
    """
    requested = 0
    while True:
        received = signal.sigwaitinfo(watched)
        if received.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return requested, status
        elif received.si_code != _FROM_TERMINAL:
            # A first SIGINT goes on as SIGTERM: a second SIGINT would end the child at once, and
            # the sender may have sent one to each process.
            passed_on = received.si_signo if requested else signal.SIGTERM
            requested = requested or received.si_signo
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, passed_on)


def _end_with(parent: int) -> None:
    """Let the kernel end this process when its parent is killed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _report(number: signal.Signals) -> None:
    advice = _ADVICE.get(number, "it was sent to it, or a limit was reached")
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)  # a progress bar hides it
    sys.stderr.write(f"Error: the process died of {number.name}: {advice}\n")
    sys.stderr.flush()
