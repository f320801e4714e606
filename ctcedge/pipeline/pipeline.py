"""The core loop: from image files to sidecars.

A few worker threads each process a chunk of crops: read, hash, decode, prepare, infer, write. Only
a few of them run Python code at a time; inference needs none. Threads that share Python's lock hand
it over at every call into C, which costs more than the calls.

An image on which an earlier run crashed is decoded in a process of its own. Where only the decision
changed, the call follows from the analysis in the sidecar, without inference. Outcomes are yielded
in the order of the crops.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, groupby, islice, takewhile
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ctcedge.classification.analysis import CellAnalysis
from ctcedge.classification.classifier import Classifier, PreparedCrop
from ctcedge.classification.fingerprints import Fingerprint
from ctcedge.discovery.naming import Crop
from ctcedge.errors import BadImage
from ctcedge.fs.mounts import file_system, is_remote
from ctcedge.images import sandbox
from ctcedge.images.decode import Decoded
from ctcedge.pipeline.crash_journal import CrashJournal
from ctcedge.pipeline.loader import CropLoader
from ctcedge.pipeline.ordered_pool import OrderedPool
from ctcedge.pipeline.outcome import Outcome, indexed_outcome
from ctcedge.pipeline.task import (
    CropTask,
    Done,
    Failed,
    Infer,
    Prepared,
    ReadyTask,
    Rescore,
    Upgrade,
    Write,
    WriteTask,
)
from ctcedge.pipeline.writer import SidecarWriter
from ctcedge.quality.checks import Quality
from ctcedge.sidecars.index import DoneIndex, Lookup
from ctcedge.sidecars.store import SidecarStore

MAX_WORKERS = 8  # more would wait for each other in Python
WORKERS_PER_CPU_SLOT = 4  # as inference takes three quarters of a worker's time or more
CHUNK_SIZE = 64  # crops; with fewer, code leaves the caches too often
MAX_PIXEL_BYTES = 16 * 2**20  # decoded pixels that a worker holds at a time
LOOKUP_SIZE = 1000  # crops that are looked up in the index together

Chunk: TypeAlias = list[tuple[Crop, Lookup]]
_T = TypeVar("_T")


class _Batch(NamedTuple):
    """Crops for one call of the network."""

    inputs: NDArray[np.uint8]
    quality: Sequence[Quality]


def _never(*arguments: object) -> bool:
    return False


def _while_waits_rise(on_wait: Callable[[], object]) -> Callable[[], None]:
    """Return a function that calls `on_wait` if waits for the sandbox began or ended since."""
    before = sandbox.waits()

    def call() -> None:
        nonlocal before
        if (count := sandbox.waits()) != before:
            before = count
            on_wait()

    return call


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

    Attributes:
        batch_size: inference batch size.
        chunk_size: crops that a worker takes at a time.
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
    ) -> None:
        self._classifier = classifier
        self._journal = journal
        self._um_per_px = fingerprint.um_per_px
        self._index = index
        self._writer = SidecarWriter(classifier, store, fingerprint, index)
        self._loader = CropLoader(
            folder, classifier, store, journal, fingerprint, self._writer.record_current
        )
        optimum = classifier.engine.optimal_batch_size
        self.batch_size = batch_size or optimum
        self.chunk_size = chunk_size(batch_size, optimum)
        self._workers = min(max(2, len(os.sched_getaffinity(0))), MAX_WORKERS)
        # On a network share, workers wait for files: all may run Python, so that others work.
        remote = any(is_remote(file_system(path)) for path in (folder, store.root))
        slots = self._workers if remote else max(1, self._workers // WORKERS_PER_CPU_SLOT)
        self._cpu_slots = threading.Semaphore(slots)

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
        """
        self._loader.begin()
        chunks = takewhile(lambda _: not should_stop(), self._chunks(crops, force))
        with OrderedPool(self._workers) as pool:
            process = partial(self._process_chunk, force=force)
            for tasks in pool.imap(process, chunks, _while_waits_rise(on_wait)):
                yield from self._finalize(tasks, retry_later)

    def _process_chunk(self, chunk: Chunk, *, force: bool) -> list[Done | Failed]:
        loader = self._loader
        with self._cpu_slots, loader.open() as folders, self._journal.slot() as note_decoding:
            loaded = (
                loader.load(crop, lookup, force, folders, note_decoding) for crop, lookup in chunk
            )
            tasks, batches = self._prepare(loaded)
        outputs = [self._classifier.infer(batch.inputs) for batch in batches]
        with self._cpu_slots:
            qualities = (batch.quality for batch in batches)
            results = chain.from_iterable(map(self._classifier.postprocess, qualities, outputs))
            return self._writer.write_all([_resolve(task, results) for task in tasks])

    def _finalize(
        self, tasks: Iterable[Done | Failed], retry_later: Callable[[Crop, bool], bool]
    ) -> Iterator[Outcome]:
        """Yield outcomes; write that an image is unreadable, unless it is to be tried again."""
        for task in tasks:
            match task:
                case Done(outcome):
                    yield outcome
                case Failed(file, error) if retry_later(file.crop, file.image.sha256 is not None):
                    yield Outcome(file.crop, "deferred", error=str(error))
                case Failed(file, error):
                    written = self._writer.write_all([Write(file, error)])
                    yield from (done.outcome for done in written if isinstance(done, Done))

    def _chunks(self, crops: Iterable[Crop], force: bool) -> Iterator[Chunk]:
        """Chunks with as many crops to be read as fill some inference batches."""
        chunk: Chunk = []
        to_read = 0
        for crop, lookup in self._lookup(crops):
            chunk.append((crop, lookup))
            to_read += force or lookup.entry is None
            if to_read == self.chunk_size or len(chunk) == LOOKUP_SIZE:
                yield chunk
                chunk, to_read = [], 0
        if chunk:
            yield chunk

    def _lookup(self, crops: Iterable[Crop]) -> Iterator[tuple[Crop, Lookup]]:
        for group in _groups(crops, LOOKUP_SIZE):
            if self._index is None:
                yield from ((crop, Lookup(crop.path)) for crop in group)
            else:
                yield from zip(group, self._index.lookup(group), strict=True)

    def _prepare(self, loaded: Iterable[CropTask]) -> tuple[list[ReadyTask], list[_Batch]]:
        """Prepare decoded images for inference, a bounded number of bytes of pixels at a time.

        All images pass one step before the next, which keeps code in the CPU's caches.
        """
        tasks: list[ReadyTask] = []
        crops = []
        for part in _split_by_bytes(loaded):
            decoded = [task.decoded for task in part if isinstance(task, Infer)]
            crops += self._prepare_part(decoded)
            tasks += (Prepared(task.file) if isinstance(task, Infer) else task for task in part)
        batches = [
            _Batch(np.stack([crop.input for crop in batch]), [crop.quality for crop in batch])
            for batch in _groups(crops, self.batch_size)
        ]
        return tasks, batches

    def _prepare_part(self, decoded: Sequence[Decoded]) -> list[PreparedCrop]:
        """Prepare images; where um/px is not given, images that state the same go together."""
        prepare = self._classifier.prepare
        if self._um_per_px is None and self._classifier.model.spec.input.um_per_px is not None:
            crops: list[PreparedCrop] = []
            for um_per_px, group in groupby(decoded, lambda image: image.header.um_per_px):
                crops += prepare([image.image for image in group], um_per_px)
            return crops
        return prepare([image.image for image in decoded], self._um_per_px)


def chunk_size(batch_size: int | None, optimum: int) -> int:
    """Crops that a worker takes at a time: one inference batch where its size was chosen.

    Args:
        batch_size: the chosen inference batch size; None for the provider's default.
        optimum: the fastest inference batch size of the provider.
    """
    return batch_size or optimum * max(1, CHUNK_SIZE // optimum)


def _resolve(task: ReadyTask, results: Iterator[CellAnalysis | BadImage]) -> WriteTask:
    """The task after inference.

    Args:
        task: the crop's task.
        results: results of the prepared crops, in order.
    """
    match task:
        case Prepared(file):
            return Write(file, next(results))
        case Rescore(file, analysis):
            return Write(file, analysis, rescored=True)
        case Failed(file, error) if error.status != "unreadable":
            return Write(file, error)
        case Done() | Upgrade() | Failed():
            return task


def _split_by_bytes(tasks: Iterable[CropTask]) -> Iterator[list[CropTask]]:
    """Split tasks so that no part holds many more bytes of pixels than `MAX_PIXEL_BYTES`."""
    part: list[CropTask] = []
    held = 0
    for task in tasks:
        part.append(task)
        held += task.decoded.pixels.nbytes if isinstance(task, Infer) else 0
        if held > MAX_PIXEL_BYTES:
            yield part
            part, held = [], 0
    yield part


def _groups(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    remaining = iter(items)
    while group := list(islice(remaining, size)):
        yield group
