"""The core loop: from image files to sidecars.

A few worker threads each process a chunk of crops: read, hash, decode, prepare, infer, write. Only
a few of them run Python code at a time; inference needs none. Threads that share Python's lock hand
it over at every call into C, which costs more than the calls.

An image on which an earlier run crashed is decoded in a process of its own. Where only the decision
changed, the call follows from the analysis in the sidecar, without inference. Outcomes are yielded
in the order of the crops.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ctcedge.classification.analysis import CellAnalysis
from ctcedge.classification.classifier import Classifier
from ctcedge.classification.fingerprints import Fingerprint
from ctcedge.discovery.naming import Crop
from ctcedge.errors import BadImage
from ctcedge.fs.mounts import file_system, is_remote
from ctcedge.images.decode import decode
from ctcedge.images.read import read_file
from ctcedge.images.sandbox import CRASHED, decode_in_subprocess
from ctcedge.pipeline.crash_journal import CrashJournal
from ctcedge.pipeline.ordered_pool import OrderedPool
from ctcedge.pipeline.outcome import Outcome, index_entry, unclassified_reason
from ctcedge.pipeline.records import ImageFacts, SidecarBuilder
from ctcedge.pipeline.task import (
    CropFile,
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
from ctcedge.quality.checks import Quality
from ctcedge.sidecars.index import DoneIndex, IndexEntry, Lookup
from ctcedge.sidecars.parse import Parsed
from ctcedge.sidecars.schema import SCHEMA_VERSION, Sidecar
from ctcedge.sidecars.store import NotWritten, SidecarStore, WriteSidecar
from ctcedge.times import now

MAX_WORKERS = 8  # more would wait for each other in Python
WORKERS_PER_CPU_SLOT = 4  # as inference takes three quarters of a worker's time or more
CHUNK_SIZE = 64  # crops; with fewer, code leaves the caches too often
MAX_PIXEL_BYTES = 16 * 2**20  # decoded pixels that a worker holds at a time
LOOKUP_SIZE = 1000  # crops that are looked up in the index together

Chunk: TypeAlias = list[tuple[Crop, Lookup]]
NoteDecoding: TypeAlias = Callable[[str], None]
_T = TypeVar("_T")


class _Batch(NamedTuple):
    """Crops for one call of the network."""

    inputs: NDArray[np.uint8]
    quality: Sequence[Quality]


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
        self._folder = folder
        self._classifier = classifier
        self._store = store
        self._journal = journal
        self._fingerprint = fingerprint
        self._index = index
        self._builder = SidecarBuilder(classifier, fingerprint)
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
            yield crop if lookup.entry is None else _indexed(crop, lookup.entry)

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

        Raises:
            OutputError: no sidecar can be written, for instance because the disk is full.
        """
        chunks = takewhile(lambda _: not should_stop(), self._chunks(crops, force))
        with OrderedPool(self._workers) as pool:
            for tasks in pool.imap(partial(self._process_chunk, force=force), chunks):
                yield from self._finalize(tasks, retry_later)

    def _process_chunk(self, chunk: Chunk, *, force: bool) -> list[Done | Failed]:
        with self._cpu_slots, self._journal.slot() as note_decoding:
            loaded = (self._load(crop, lookup, force, note_decoding) for crop, lookup in chunk)
            tasks, batches = self._prepare(loaded)
        outputs = [self._classifier.infer(batch.inputs) for batch in batches]
        with self._cpu_slots:
            qualities = (batch.quality for batch in batches)
            results = chain.from_iterable(map(self._classifier.postprocess, qualities, outputs))
            return self._write_all([_resolve(task, results) for task in tasks])

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
                    written = self._write_all([Write(file, error)])
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

    def _load(
        self, crop: Crop, lookup: Lookup, force: bool, note_decoding: NoteDecoding
    ) -> CropTask:
        """Read a crop's files, as far as needed to know what is to be done."""
        if lookup.entry is not None and not force:
            return Done(_indexed(crop, lookup.entry))
        try:
            data = self._read(crop)
        except FileNotFoundError:
            return Done(Outcome(crop, "vanished"))
        if isinstance(data, BadImage):
            file = CropFile(crop, lookup, ImageFacts(None, None))
        else:
            digest = hashlib.sha256(data).hexdigest()
            file = CropFile(crop, lookup, ImageFacts(digest, len(data)))
        try:
            previous = None if lookup.is_new else self._store.load(crop)
        except NotWritten as error:
            return Done(Outcome(crop, "not-written", error=str(error)))
        if previous is not None and not force and self._is_current(previous, file.image, data):
            return self._keep(file, previous)
        if isinstance(data, BadImage):
            return _refuse(file, previous, data)
        if previous is not None and not force:
            analysis = self._reusable_analysis(previous.sidecar, digest)
            if analysis is not None:
                return Rescore(_with_recorded_size(file, previous.sidecar), analysis)
        return self._decode(file, data, digest, previous, note_decoding)

    def _read(self, crop: Crop) -> bytes | BadImage:
        """The bytes of an image, or why they cannot be read.

        Raises:
            FileNotFoundError: it is gone.
        """
        try:
            return read_file(f"{self._folder}/{crop.path}")
        except FileNotFoundError:
            raise
        except BadImage as error:
            return error
        except OSError as error:
            return BadImage("unreadable", f"cannot be read: {error.strerror}")

    def _is_current(self, previous: Parsed, image: ImageFacts, data: bytes | BadImage) -> bool:
        """Whether a sidecar is of this image, model and settings."""
        sidecar, version = previous
        if version < 2:  # it lacks the score
            return False
        recorded = sidecar.image.sha256, sidecar.model.sha256, sidecar.settings_sha256
        model_sha256 = self._classifier.model.sha256
        if recorded != (image.sha256, model_sha256, self._fingerprint.settings_sha256):
            return False
        if isinstance(data, BadImage):  # there is no hash: the sidecar must have the same error
            return sidecar.error == str(data)
        return self._has_own_features(sidecar)

    def _has_own_features(self, sidecar: Sidecar) -> bool:
        """Whether a sidecar has as many OOD features as this model computes."""
        detector = self._classifier.ood_detector
        if detector is None or sidecar.ood is None:
            return True
        return len(sidecar.ood.features) == detector.feature_count

    def _keep(self, file: CropFile, previous: Parsed) -> Done | Upgrade:
        sidecar, version = previous
        if version < SCHEMA_VERSION:
            return Upgrade(file, sidecar)
        outcome = Outcome(file.crop, "current", sidecar, unclassified_reason(sidecar))
        self._record_done(outcome, file.lookup)
        return Done(outcome)

    def _reusable_analysis(self, sidecar: Sidecar, sha256: str) -> CellAnalysis | None:
        """The analysis in a sidecar, where this run would compute the same."""
        recorded = sidecar.image.sha256, sidecar.model.sha256, sidecar.inference_sha256
        expected = sha256, self._classifier.model.sha256, self._fingerprint.inference_sha256
        if recorded != expected or not self._has_own_features(sidecar):
            return None
        return CellAnalysis.from_sidecar(sidecar)

    def _decode(
        self,
        file: CropFile,
        data: bytes,
        sha256: str,
        previous: Parsed | None,
        note_decoding: NoteDecoding,
    ) -> Infer | Failed:
        crashed_before = (
            previous is not None
            and previous.sidecar.error == CRASHED
            and previous.sidecar.image.sha256 == sha256
        )
        try:
            if crashed_before or sha256 in self._journal.quarantined:
                decoded = decode_in_subprocess(data)
                self._journal.clear(sha256)
            else:
                note_decoding(sha256)
                decoded = decode(data)
        except BadImage as error:
            return Failed(file, error)
        header = decoded.header
        image = ImageFacts(sha256, len(data), header.width, header.height, header.bits)
        return Infer(file._replace(image=image), decoded)

    def _prepare(self, loaded: Iterable[CropTask]) -> tuple[list[ReadyTask], list[_Batch]]:
        """Prepare decoded images for inference, a bounded number of bytes of pixels at a time.

        All images pass one step before the next, which keeps code in the CPU's caches.
        """
        tasks: list[ReadyTask] = []
        crops = []
        for part in _split_by_bytes(loaded):
            images = [
                (task.decoded.pixels, task.decoded.header.bits)
                for task in part
                if isinstance(task, Infer)
            ]
            crops += self._classifier.prepare(images, self._fingerprint.um_per_px)
            tasks += (Prepared(task.file) if isinstance(task, Infer) else task for task in part)
        batches = [
            _Batch(np.stack([crop.input for crop in batch]), [crop.quality for crop in batch])
            for batch in _groups(crops, self.batch_size)
        ]
        return tasks, batches

    def _write_all(self, tasks: Sequence[WriteTask]) -> list[Done | Failed]:
        """Write and upgrade sidecars; other tasks are returned as they are."""
        created = now()
        # All are built before the first is written: it keeps code in the CPU's caches.
        sidecars = [
            self._builder.build(task.file.crop, task.file.image, task.result, created)
            if isinstance(task, Write)
            else None
            for task in tasks
        ]
        done: list[Done | Failed] = []
        with self._store.batch() as write:
            for task, sidecar in zip(tasks, sidecars, strict=True):
                match task:
                    case Done() | Failed():
                        done.append(task)
                    case Upgrade(file, old):
                        done.append(Done(_upgrade(file.crop, old, write)))
                    case Write(file, _, rescored):
                        assert sidecar is not None
                        done.append(Done(_write(file.crop, sidecar, rescored, write)))
        for task, finished in zip(tasks, done, strict=True):
            if isinstance(task, Write | Upgrade) and isinstance(finished, Done):
                self._record_written(finished.outcome, task.file.lookup)
        return done

    def _record_written(self, outcome: Outcome, lookup: Lookup) -> None:
        if outcome.done in ("written", "upgraded"):
            self._record_done(outcome, lookup)

    def _record_done(self, outcome: Outcome, lookup: Lookup) -> None:
        """Record in the index that a crop is done, where its image could be read."""
        if self._index is None or outcome.record is None:
            return
        sha256 = outcome.record.image.sha256
        if sha256 is not None:
            written = outcome.done != "current"
            self._index.record(lookup, index_entry(outcome), sha256=sha256, written=written)


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


def _write(crop: Crop, sidecar: Sidecar, rescored: bool, write: WriteSidecar) -> Outcome:
    try:
        written, kept_aside = write(crop, sidecar)
    except NotWritten as error:
        return Outcome(crop, "not-written", error=str(error))
    return Outcome(
        crop,
        "written",
        written,
        unclassified_reason(written),
        rescored=rescored,
        kept_aside=kept_aside,
    )


def _upgrade(crop: Crop, old: Sidecar, write: WriteSidecar) -> Outcome:
    try:
        upgraded, _ = write(crop, None)
    except NotWritten:  # it is current all the same, and is read in its old schema
        return Outcome(crop, "current", old, unclassified_reason(old))
    return Outcome(crop, "upgraded", upgraded, unclassified_reason(upgraded))


def _refuse(file: CropFile, previous: Parsed | None, error: BadImage) -> Done | Failed:
    """What follows from an image that cannot be read, or is too large to be."""
    was_read = previous is not None and previous.sidecar.image.sha256 is not None
    if error.status == "unreadable" and was_read:
        # Whatever is wrong with the disk or the share, the sidecar is still valid.
        kept = f"the image {error}; its sidecar is kept"
        return Done(Outcome(file.crop, "not-written", error=kept))
    return Failed(file, error)


def _with_recorded_size(file: CropFile, sidecar: Sidecar) -> CropFile:
    recorded = sidecar.image
    image = file.image._replace(
        width=recorded.width, height=recorded.height, bits=recorded.bit_depth
    )
    return file._replace(image=image)


def _indexed(crop: Crop, entry: IndexEntry) -> Outcome:
    return Outcome(crop, "current", None, entry.error, index_entry=entry)


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
