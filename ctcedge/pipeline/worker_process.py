"""A worker process, as the process sees it that started it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from multiprocessing.connection import Connection

from ctcedge.pipeline.messages import FromWorker, Setup, ToWorker
from ctcedge.processes import child_process

_END_S = 5.0  # seconds that a process has to end


class WorkerDiedError(Exception):
    """A worker process has ended."""


class WorkerProcess:
    """A worker process, and the connection to it.

    Args:
        setup: the first message to it; its descriptors are inherited.

    Attributes:
        slot: its slot of the crash journal.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, setup: Setup) -> None:
        self.slot = setup.journal
        lifeline, self._lifeline = os.pipe()
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            os.close(lifeline)
            os.close(self._lifeline)
            raise
        inherited = [setup.lock, setup.journal.descriptor, theirs.fileno(), lifeline]
        try:
            words, environment = child_process(
                "-m", "ctcedge.pipeline.worker", str(theirs.fileno()), str(lifeline)
            )
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
                pass_fds=[descriptor for descriptor in inherited if descriptor is not None],
                start_new_session=True,  # Ctrl-C is meant for this process only
            )
        except BaseException:
            ours.close()
            os.close(self._lifeline)
            raise
        finally:
            theirs.close()
            os.close(lifeline)
        self._connection: Connection[ToWorker, FromWorker] = Connection(ours.detach())
        self.send(setup)

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    @property
    def has_retired(self) -> bool:
        """Whether it ended by itself because it had no work for long."""
        return self._process.poll() == 0

    @property
    def fate(self) -> str:
        """How it ended, in words."""
        code = self._process.poll()
        if code is None:
            return "it does not answer"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def send(self, message: ToWorker) -> None:
        """Send a message; where the worker has ended, `receive` reports it."""
        with contextlib.suppress(OSError):
            self._connection.send(message)

    def receive(self) -> FromWorker:
        """Wait for a message.

        Raises:
            WorkerDiedError: it has ended.
        """
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
            raise WorkerDiedError(f"it has ended, {self.fate}") from None

    def close(self) -> None:
        """Free what it holds; a process that has not ended is ended."""
        self._connection.close()
        os.close(self._lifeline)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
