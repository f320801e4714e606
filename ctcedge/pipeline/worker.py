"""A worker process: classifies chunks of crops for the process that started it.

`python -m ctcedge.pipeline.worker SOCKET LIFELINE` is the process; both are inherited descriptors.
The lock on the sidecars, the index and the order of outcomes stay with the process that started it.
That process ends its workers: signals that stop a run are not meant for them, and where it is
killed, the lifeline closes and they end at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.ood import OodDetector
from ctcedge.errors import CtcEdgeError
from ctcedge.images import sandbox
from ctcedge.model.failover import FailoverEngine, Inference
from ctcedge.model.session import ModelOutput
from ctcedge.pipeline.chunks import ChunkProcessor
from ctcedge.pipeline.crash_journal import LentSlot
from ctcedge.pipeline.messages import (
    Failure,
    FromWorker,
    Infer,
    Inferred,
    LogLine,
    Ready,
    RemoteEngine,
    Result,
    Setup,
    ToWorker,
    Waits,
    Work,
)
from ctcedge.sidecars.store import SidecarStore

_PULSE_S = 1.0  # between two looks at the other process and at waits
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _ClosedError(Exception):
    """The other process has ended, or gave up this work."""


class _Channel:
    """The connection to the process that started this one, for several threads."""

    def __init__(self, descriptor: int) -> None:
        self._connection: Connection[FromWorker, ToWorker] = Connection(descriptor)
        self._lock = threading.Lock()

    def send(self, message: FromWorker) -> None:
        """Send a message."""
        try:
            with self._lock:
                self._connection.send(message)
        except OSError:
            raise _ClosedError from None

    def receive(self, timeout: float | None = None) -> ToWorker:
        """The next message; None where there is none for so many seconds."""
        try:
            if timeout is not None and not self._connection.poll(timeout):
                return None
            return self._connection.recv()
        except (EOFError, OSError):
            raise _ClosedError from None


class _RemoteInference:
    """Inference by the session of the process that started this one.

    Attributes:
        current: that session's provider and graph.
    """

    def __init__(self, channel: _Channel, engine: RemoteEngine) -> None:
        self.current = engine
        self._channel = channel

    def infer(self, inputs: NDArray[np.uint8]) -> tuple[ModelOutput, RemoteEngine]:
        """Run the network there."""
        self._channel.send(Infer(inputs))
        answer = self._channel.receive()
        if not isinstance(answer, Inferred):
            raise _ClosedError
        self.current = answer.engine
        return answer.output, answer.engine


class _SendingHandler(logging.Handler):
    """Sends log records to the process that started this one."""

    def __init__(self, channel: _Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        self._channel.send(LogLine(record))


def main() -> None:
    """Work until the other process has no more work, or ends."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    channel, lifeline = _Channel(int(sys.argv[1])), int(sys.argv[2])
    threading.Thread(target=_watch_over, args=(channel, lifeline), daemon=True).start()
    with contextlib.suppress(_ClosedError):
        _serve(channel)
    os._exit(0)  # nothing is left to write


def _watch_over(channel: _Channel, lifeline: int) -> None:
    """End this process with the other one, and tell it of waits."""
    waits = sandbox.waits()
    while not select.select([lifeline], [], [], _PULSE_S)[0]:
        if (count := sandbox.waits()) != waits:
            waits = count
            try:
                channel.send(Waits())
            except _ClosedError:
                break
    os._exit(1)


def _serve(channel: _Channel) -> None:
    setup = channel.receive()
    assert isinstance(setup, Setup)
    logger = logging.getLogger("ctcedge")
    logger.setLevel(setup.log_level)
    logger.addHandler(_SendingHandler(channel))
    logger.propagate = False
    try:
        worker = _Worker(setup, channel)
    except Exception as error:
        channel.send(Failure(_portable(error)))
        return
    channel.send(Ready())
    while isinstance(work := channel.receive(setup.max_idle_s), Work):
        try:
            result = worker.process(work)
        except _ClosedError:
            raise
        except Exception as error:
            channel.send(Failure(_portable(error)))
        else:
            channel.send(result)


class _Worker:
    """Everything that a chunk needs."""

    def __init__(self, setup: Setup, channel: _Channel) -> None:
        inference: Inference
        if setup.engine is None:
            inference = FailoverEngine(setup.model, "cpu")
        else:
            inference = _RemoteInference(channel, setup.engine)
        detector = OodDetector.load(setup.model)
        classifier = Classifier(setup.model, setup.rule, inference, detector)
        self._journal = LentSlot(setup.journal)
        self._processor = ChunkProcessor(
            setup.folder,
            classifier,
            SidecarStore.under_lock(setup.folder, setup.out, setup.lock),
            self._journal,
            setup.fingerprint,
            setup.batch_size,
            max_in_python=1,
        )

    def process(self, work: Work) -> Result:
        """Classify crops."""
        self._journal.quarantined = set(work.quarantined)
        self._journal.cleared = []
        tasks = self._processor.process(work.requests, work.identity, force=work.force)
        return Result(tasks, self._journal.cleared)


def _portable(error: Exception) -> Exception:
    """The exception as it can be sent; where it was not expected, with the place it comes from."""
    if not isinstance(error, CtcEdgeError):
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"{os.path.basename(f.filename)}:{f.lineno} {f.name}" for f in reversed(frames)]
        error.add_note(f"in a worker process: {' < '.join(places)}")
    return error.with_traceback(None)


if __name__ == "__main__":
    main()
