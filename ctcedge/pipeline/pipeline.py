"""The core loop: chunks of crops go to threads or worker processes, outcomes come back in order.

A few threads each process a chunk of crops. Only a few of them run Python code at a time; inference
needs none. Threads that share Python's lock hand it over at every call into C, which costs more
than the calls. In a large run, worker processes take over, which share no lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import TypeAlias

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.fingerprints import Fingerprint
from ctcedge.cpus import cores
from ctcedge.discovery.naming import Crop
from ctcedge.fs.mounts import file_system, is_remote
from ctcedge.images import sandbox
from ctcedge.iteration import batched
from ctcedge.pipeline.chunks import ChunkProcessor
from ctcedge.pipeline.crash_journal import CrashJournal
from ctcedge.pipeline.messages import Work
from ctcedge.pipeline.ordered_pool import OrderedPool
from ctcedge.pipeline.outcome import Outcome, index_entry, indexed_outcome
from ctcedge.pipeline.task import Done, Failed, Request
from ctcedge.pipeline.worker_pool import Plan, WorkerPool, worker_count
from ctcedge.sidecars.index import DoneIndex, IndexEntry, Lookup
from ctcedge.sidecars.store import SidecarStore

MAX_THREADS = 8  # more would wait for each other in Python
THREADS_PER_CPU_SLOT = 4  # as inference takes three quarters of a thread's time or more
CHUNK_SIZE = 64  # crops; with fewer, code leaves the caches too often
MIN_FOR_WORKERS = 2048  # crops; for fewer, worker processes take longer to start than they save
LOOKUP_SIZE = 1000  # crops that are looked up in the index together

Chunk: TypeAlias = list[tuple[Crop, Lookup]]
Processed: TypeAlias = list[tuple[Lookup, Done | Failed]]


def _never(*arguments: object) -> bool:
    return False


class Pipeline:
    """Classifies the crops of one folder into its sidecars.

    Args:
        folder: the searched folder.
        classifier: model and session.
        store: the sidecars.
        journal: records what is being decoded, and which images are quarantined.
        fingerprint: of the settings.
        batch_size: inference batch size; None for the provider's default.
        index: index of done crops, whose files then are not read; None for no index.
        workers: number of worker processes; None for as many as suit the machine and the run.

    Attributes:
        batch_size: inference batch size.
        chunk_size: crops that a thread takes at a time.
    """

    def __init__(
        self,
        folder: Path,
        classifier: Classifier,
        store: SidecarStore,
        journal: CrashJournal,
        fingerprint: Fingerprint,
        batch_size: int | None = None,
        index: DoneIndex | None = None,
        workers: int | None = None,
    ) -> None:
        self._index = index
        optimum = classifier.engine.optimal_batch_size
        self.batch_size = batch_size or optimum
        self.chunk_size = chunk_size(batch_size, optimum)
        self._threads = min(max(2, cores()), MAX_THREADS)
        # On a network share, threads wait for files: all may run Python, so that others work.
        remote = any(is_remote(file_system(path)) for path in (folder, store.root))
        slots = self._threads if remote else max(1, self._threads // THREADS_PER_CPU_SLOT)
        self._processor = ChunkProcessor(
            folder, classifier, store, journal, fingerprint, self.batch_size, slots
        )
        plan = Plan(
            folder,
            classifier,
            store,
            journal,
            fingerprint,
            self.batch_size,
            worker_count(workers),
        )
        self._workers = WorkerPool(plan)
        self._max_threads = max(self._threads, plan.workers)

    def close(self) -> None:
        """End the worker processes."""
        self._workers.close()

    def lookup_done(self, crops: Iterable[Crop]) -> Iterator[Outcome | Crop]:
        """Yield the outcome of each crop that the index knows as done; else the crop."""
        for crop, lookup in self._lookup(crops):
            yield crop if lookup.entry is None else indexed_outcome(crop, lookup.entry)

    def prune_index(self, crops: int) -> None:
        """Drop images that are gone from the index.

        Args:
            crops: number of crops in the whole folder.
        """
        if self._index is not None:
            self._index.prune(crops)

    def run(
        self,
        crops: Iterable[Crop],
        *,
        force: bool = False,
        should_stop: Callable[[], bool] = _never,
        retry_later: Callable[[Crop, bool], bool] = _never,
        on_wait: Callable[[], object] = _never,
    ) -> Iterator[Outcome]:
        """Classify crops that have no current sidecar; yield the outcome of each crop, in order.

        Args:
            crops: bright-field crops.
            force: classify also those whose sidecar is current, or needs only a new decision.
            should_stop: called before each chunk; where it returns True, the chunks under way are
                finished and the run ends.
            retry_later: called with a crop whose image cannot be decoded, or not even read, and
                with whether it was read; where it returns True, the crop is deferred and no sidecar
                is written.
            on_wait: called now and then while images that may hang the decoder are waited for.

        Raises:
            OutputError: no sidecar can be written, for instance because the disk is full.
            WorkerError: worker processes die again and again.
        """
        identity = self._processor.folder_identity()
        is_large = threading.Event()

        def process(requests: list[Request]) -> list[Done | Failed]:
            tasks = None
            if is_large.is_set():
                self._workers.start()
                tasks = self._workers.process(Work(requests, force, identity))
            if tasks is None:
                tasks = self._processor.process(requests, identity, force=force)
            return tasks

        def process_chunk(chunk: Chunk) -> Processed:
            return _with_indexed(chunk, process, force=force)

        chunks = takewhile(lambda _: not should_stop(), self._chunks(crops, force))
        noted = _note_large(chunks, is_large, force=force)
        waiting = _while_waits_rise(lambda: self._workers.waits, on_wait)
        with OrderedPool(self._max_threads) as pool:
            for processed in pool.imap(process_chunk, noted, waiting):
                for lookup, task in processed:
                    yield self._finalize(lookup, task, retry_later)

    def _finalize(
        self, lookup: Lookup, task: Done | Failed, retry_later: Callable[[Crop, bool], bool]
    ) -> Outcome:
        """Write that an image is unreadable, unless it is tried again; record what is done."""
        if isinstance(task, Failed):
            crop = task.file.crop
            if retry_later(crop, task.file.image.sha256 is not None):
                return Outcome(crop, "deferred", error=str(task.error))
            task = self._processor.write_failed(task)
        if task.is_current:
            self._record(lookup, task.outcome)
        return task.outcome

    def _record(self, lookup: Lookup, outcome: Outcome) -> None:
        """Record in the index that a crop is done."""
        if self._index is None or outcome.record is None:
            return
        sha256 = outcome.record.image.sha256
        if sha256 is not None:  # an image that could not be read may be readable next time
            written = outcome.done != "current"
            self._index.record(lookup, index_entry(outcome), sha256=sha256, written=written)

    def _chunks(self, crops: Iterable[Crop], force: bool) -> Iterator[Chunk]:
        """Chunks with as many crops to be read as fill some inference batches."""
        chunk: Chunk = []
        to_read = 0
        for crop, lookup in self._lookup(crops):
            chunk.append((crop, lookup))
            to_read += _known(lookup, force) is None
            if to_read == self.chunk_size or len(chunk) == LOOKUP_SIZE:
                yield chunk
                chunk, to_read = [], 0
        if chunk:
            yield chunk

    def _lookup(self, crops: Iterable[Crop]) -> Iterator[tuple[Crop, Lookup]]:
        for group in batched(crops, LOOKUP_SIZE):
            if self._index is None:
                yield from ((crop, Lookup(crop.path)) for crop in group)
            else:
                yield from zip(group, self._index.lookup(group), strict=True)


def chunk_size(batch_size: int | None, optimum: int) -> int:
    """Crops that a thread takes at a time: one inference batch where its size was chosen.

    Args:
        batch_size: the chosen inference batch size; None for the provider's default.
        optimum: the fastest inference batch size of the provider.
    """
    return batch_size or optimum * max(1, CHUNK_SIZE // optimum)


def _note_large(
    chunks: Iterable[Chunk], is_large: threading.Event, *, force: bool
) -> Iterator[Chunk]:
    """The same chunks; the event is set once there is much to read."""
    to_read = 0
    for chunk in chunks:
        to_read += sum(_known(lookup, force) is None for _, lookup in chunk)
        if to_read > MIN_FOR_WORKERS:
            is_large.set()
        yield chunk


def _with_indexed(
    chunk: Chunk, process: Callable[[list[Request]], list[Done | Failed]], *, force: bool
) -> Processed:
    """Process the crops of a chunk that the index does not know as done."""
    unknown = [
        Request(crop, lookup.is_new) for crop, lookup in chunk if _known(lookup, force) is None
    ]
    tasks = iter(process(unknown) if unknown else ())
    processed: Processed = []
    for crop, lookup in chunk:
        entry = _known(lookup, force)
        task = next(tasks) if entry is None else Done(indexed_outcome(crop, entry))
        processed.append((lookup, task))
    return processed


def _known(lookup: Lookup, force: bool) -> IndexEntry | None:
    """The entry of the index by which the crop's files need not be read; None to read them."""
    return None if force else lookup.entry


def _while_waits_rise(
    waits_elsewhere: Callable[[], int], on_wait: Callable[[], object]
) -> Callable[[], None]:
    """Return a function that calls `on_wait` if waits for the sandbox began or ended since."""
    before = sandbox.waits() + waits_elsewhere()

    def call() -> None:
        nonlocal before
        if (count := sandbox.waits() + waits_elsewhere()) != before:
            before = count
            on_wait()

    return call
