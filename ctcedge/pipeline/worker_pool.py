"""Worker processes that classify chunks of crops, started when a run proves to be large.

Python runs one thread at a time in a process, so that threads cannot keep many cores busy. Each
worker process has an interpreter and, on the CPU, a session of its own; on a GPU the session stays
in this process and workers send it their inputs. The lock on the sidecars, the index and the order
of outcomes stay here, too.

A worker that dies does no harm: its chunk is done again by another. If it died while it decoded an
image, that image is quarantined, as after a crash of the whole process.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from pathlib import Path
from typing import NamedTuple

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.fingerprints import Fingerprint
from ctcedge.cpus import available_cpus
from ctcedge.errors import SetupError
from ctcedge.log import event
from ctcedge.pipeline.crash_journal import MAX_WORKERS, CrashJournal
from ctcedge.pipeline.messages import (
    Failure,
    Infer,
    Inferred,
    LogLine,
    Ready,
    RemoteEngine,
    Result,
    Setup,
    Waits,
    Work,
)
from ctcedge.pipeline.task import Done, Failed
from ctcedge.pipeline.worker_process import WorkerDiedError, WorkerProcess
from ctcedge.sidecars.store import SidecarStore

log = logging.getLogger("ctcedge.pipeline.worker_pool")

START_WAIT_S = 0.0  # for a worker that is being started; meanwhile, threads do the work
MAX_CPUS_OF_THREADS = 4  # threads keep so many busy, as inference needs no Python
_MAX_DEATHS = 3  # of workers on one chunk, besides those that quarantine an image
_MAX_IDLE_S = 60.0  # seconds without work after which a worker ends
_START_AGAIN_S = 60.0  # seconds without a further try where no worker could be started
_EVENT = event("worker")


class WorkerError(SetupError):
    """Worker processes die again and again; the message contains the remedy."""


class _FailureError(Exception):
    """Work in a worker process ended with an exception."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class Plan(NamedTuple):
    """What the workers of a run have in common.

    Attributes:
        folder: the searched folder.
        classifier: model and session.
        store: the sidecars, locked.
        journal: the crash journal.
        fingerprint: of the settings.
        batch_size: inference batch size.
        workers: number of worker processes; 0 for none.
    """

    folder: Path
    classifier: Classifier
    store: SidecarStore
    journal: CrashJournal
    fingerprint: Fingerprint
    batch_size: int
    workers: int


class WorkerPool:
    """The worker processes of a folder that is open for classification.

    None is started before `start` is called. One that has no work for a while ends, and is started
    again when it is needed. Several threads may use the pool.

    Args:
        plan: what the workers need.

    Attributes:
        waits: number of waits for images that may hang the decoder, begun or ended in workers.
    """

    def __init__(self, plan: Plan) -> None:
        self.waits = 0
        self._plan = plan
        self._idle: queue.LifoQueue[WorkerProcess] = queue.LifoQueue()
        self._workers: set[WorkerProcess] = set()
        self._starting: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._no_start_before = 0.0
        self._closed = False
        self._warned = False

    def start(self) -> None:
        """Start the workers that are missing, in the background."""
        for worker in [worker for worker in tuple(self._workers) if worker.has_ended]:
            self._bury(worker)
        with self._lock:
            self._starting = [thread for thread in self._starting if thread.is_alive()]
            missing = self._plan.workers - len(self._workers)
            if missing <= 0 or self._starting or time.monotonic() < self._no_start_before:
                return
            self._starting = [
                threading.Thread(target=self._start_one, name="ctcedge-start")
                for _ in range(missing)
            ]
        try:
            for thread in self._starting:
                thread.start()
        except RuntimeError as error:
            self._note_failure(error)
            self._starting = [thread for thread in self._starting if thread.ident is not None]

    def close(self) -> None:
        """End the workers; none has work any more."""
        with self._lock:
            self._closed = True
            workers = tuple(self._workers)
        for worker in workers:
            worker.send(None)
        for thread in self._starting:
            thread.join()
        for worker in workers:
            self._bury(worker)

    def process(self, work: Work) -> list[Done | Failed] | None:
        """Classify crops in a worker.

        Args:
            work: the crops; images in quarantine are added.

        Returns:
            What became of each crop, in order; None where no worker is ready.

        Raises:
            WorkerError: worker processes die of these crops again and again.
            Exception: as from `ChunkProcessor.process`.
        """
        deaths = 0
        while (worker := self._take_idle()) is not None:
            quarantined = frozenset(self._plan.journal.quarantined)
            try:
                result = self._ask(worker, work._replace(quarantined=quarantined))
            except WorkerDiedError:
                retired = worker.has_retired
                quarantines = self._bury(worker)
                deaths += not (retired or quarantines)
                if deaths == _MAX_DEATHS:
                    raise WorkerError(
                        f"{deaths} worker processes have ended one after the other ({worker.fate}),"
                        " for instance because memory is short; what is written stays, run again"
                        " with --workers 1"
                    ) from None
                if (replacement := self._open()) is not None:
                    self._idle.put(replacement)
                continue
            except _FailureError as failure:
                self._idle.put(worker)
                raise failure.error from None
            except BaseException:  # it waits for an answer that does not come
                self._bury(worker)
                raise
            self._idle.put(worker)
            for sha256 in result.cleared:
                self._plan.journal.clear(sha256)
            return result.tasks
        return None

    def _take_idle(self) -> WorkerProcess | None:
        if not self._plan.workers:
            return None
        try:
            return self._idle.get(timeout=START_WAIT_S)
        except queue.Empty:
            return None

    def _ask(self, worker: WorkerProcess, work: Work) -> Result:
        """Send work, and serve the worker until it is done.

        Raises:
            WorkerDiedError: the worker has ended.
            _FailureError: the work ended with an exception.
        """
        inference = self._plan.classifier.inference
        worker.send(work)
        while True:
            match worker.receive():
                case Infer(inputs):
                    output, engine = inference.infer(inputs)
                    worker.send(Inferred(output, RemoteEngine(engine.provider, engine.variant)))
                case Waits():
                    self.waits += 1
                case LogLine(record):
                    logging.getLogger(record.name).handle(record)
                case Failure(error):
                    raise _FailureError(error)
                case Result() as result:
                    return result
                case Ready():
                    raise AssertionError("a worker is ready once")

    def _start_one(self) -> None:
        if (worker := self._open()) is not None:
            self._idle.put(worker)

    def _open(self) -> WorkerProcess | None:
        """Start a worker and wait until it is ready; None where that is impossible."""
        try:
            worker = self._spawn()
        except OSError as error:
            self._note_failure(error)
            return None
        if worker is None:
            return None
        try:
            while not isinstance(message := worker.receive(), Ready):
                match message:
                    case LogLine(record):
                        logging.getLogger(record.name).handle(record)
                    case Failure(problem):
                        raise WorkerDiedError(problem)
        except WorkerDiedError as death:
            if not self._closed:
                self._note_failure(death)
            self._bury(worker, quietly=True)
            return None
        return worker

    def _spawn(self) -> WorkerProcess | None:
        """Start a worker; None where the pool was closed meanwhile."""
        plan = self._plan
        engine = plan.classifier.inference.current
        remote = None if engine.provider == "cpu" else RemoteEngine(engine.provider, engine.variant)
        slot = plan.journal.lend_slot()
        setup = Setup(
            plan.folder,
            plan.store.out,
            plan.store.lock_descriptor,
            slot,
            plan.classifier.model,
            plan.classifier.rule,
            remote,
            plan.fingerprint,
            plan.batch_size,
            logging.getLogger("ctcedge").getEffectiveLevel(),
            _MAX_IDLE_S,
        )
        worker = None
        with self._lock:
            try:
                if not self._closed:
                    worker = WorkerProcess(setup)
                    self._workers.add(worker)
            finally:
                if worker is None:
                    plan.journal.take_back(slot)
        return worker

    def _bury(self, worker: WorkerProcess, *, quietly: bool = False) -> bool:
        """Free what a worker holds; return whether the image that it decoded was quarantined."""
        with self._lock:
            if worker not in self._workers:
                return False
            self._workers.remove(worker)
        worker.close()
        sha256 = self._plan.journal.take_back(worker.slot)
        if not (quietly or self._closed or worker.has_retired):
            decoding = "" if sha256 is None else " while it decoded an image, which is quarantined"
            log.warning("a worker process has ended%s: %s", decoding, worker.fate, extra=_EVENT)
        return sha256 is not None

    def _note_failure(self, error: Exception) -> None:
        self._no_start_before = time.monotonic() + _START_AGAIN_S
        with self._lock:  # several threads start workers at a time
            is_first, self._warned = not self._warned, True
        if is_first:
            text = error.strerror if isinstance(error, OSError) else error
            log.warning(
                "a worker process cannot be started (%s); the work takes longer",
                text,
                extra=_EVENT,
            )


def worker_count(chosen: int | None) -> int:
    """Number of worker processes of a large run; 0 where threads do as well.

    Args:
        chosen: by the user; None for as many as there are CPU cores, or as the control group's CPU
            quota allows, where these are more than a few. One process is this one.
    """
    count = available_cpus() if chosen is None else chosen
    too_few = count <= (MAX_CPUS_OF_THREADS if chosen is None else 1)
    return 0 if too_few else min(count, MAX_WORKERS)
