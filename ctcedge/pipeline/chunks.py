"""From a chunk of crops to their sidecars, in one thread: the core of classification.

The steps are: read, hash, decode, prepare, infer, decide, write. All crops of a chunk pass one step
before the next, which keeps code in the CPU's caches. Where only the decision changed, the call
follows from the analysis in the sidecar, without inference. An image on which an earlier run
crashed is decoded in a process of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctcedge.classification.analysis import CellAnalysis
from ctcedge.classification.classifier import Classifier, PreparedCrop
from ctcedge.classification.fingerprints import Fingerprint
from ctcedge.errors import BadImage
from ctcedge.images.decode import Decoded
from ctcedge.iteration import batched
from ctcedge.pipeline.crash_journal import DecodingJournal
from ctcedge.pipeline.loader import CropLoader, FolderIdentity
from ctcedge.pipeline.task import (
    CropTask,
    Done,
    Failed,
    Infer,
    Prepared,
    ReadyTask,
    Request,
    Rescore,
    Upgrade,
    Write,
    WriteTask,
)
from ctcedge.pipeline.writer import SidecarWriter
from ctcedge.quality.checks import Quality
from ctcedge.sidecars.store import SidecarStore

MAX_PIXEL_BYTES = 16 * 2**20  # decoded pixels that a thread holds at a time


class _Batch(NamedTuple):
    """Crops for one call of the network."""

    inputs: NDArray[np.uint8]
    quality: Sequence[Quality]


class ChunkProcessor:
    """Classifies chunks of crops of one folder; several threads may do so at once.

    Args:
        folder: the searched folder.
        classifier: model and session.
        store: the sidecars.
        journal: records what is being decoded, and which images are quarantined.
        fingerprint: of the settings.
        batch_size: inference batch size.
        max_in_python: number of threads that may run Python code at a time.
    """

    def __init__(
        self,
        folder: Path,
        classifier: Classifier,
        store: SidecarStore,
        journal: DecodingJournal,
        fingerprint: Fingerprint,
        batch_size: int,
        max_in_python: int,
    ) -> None:
        self._classifier = classifier
        self._journal = journal
        self._um_per_px = fingerprint.um_per_px
        self._batch_size = batch_size
        self._writer = SidecarWriter(classifier, store, fingerprint)
        self._loader = CropLoader(folder, classifier, store, journal, fingerprint)
        self._cpu_slots = threading.Semaphore(max_in_python)

    def folder_identity(self) -> FolderIdentity:
        """The identity of the searched folder now, for `process`."""
        return self._loader.identity()

    def process(
        self, requests: Sequence[Request], identity: FolderIdentity, *, force: bool
    ) -> list[Done | Failed]:
        """Classify crops that have no current sidecar.

        Args:
            requests: the crops.
            identity: of the searched folder at the begin of the run.
            force: classify also those whose sidecar is current, or needs only a new decision.

        Returns:
            What became of each crop, in order. `Failed` are images that cannot be read or decoded,
            which may be temporary: nothing is written for them.

        Raises:
            OutputError: no sidecar can be written, for instance because the disk is full.
        """
        loader = self._loader
        with (
            self._cpu_slots,
            loader.open(identity) as folders,
            self._journal.slot() as note_decoding,
        ):
            loaded = (loader.load(request, force, folders, note_decoding) for request in requests)
            tasks, batches = self._prepare(loaded)
        outputs = [self._classifier.infer(batch.inputs) for batch in batches]
        with self._cpu_slots:
            qualities = (batch.quality for batch in batches)
            results = chain.from_iterable(map(self._classifier.postprocess, qualities, outputs))
            return self._writer.write_all([_resolve(task, results) for task in tasks])

    def write_failed(self, failed: Failed) -> Done:
        """Write the sidecar of an image that cannot be read or decoded."""
        (done,) = self._writer.write_all([Write(failed.file, failed.error)])
        assert isinstance(done, Done)
        return done

    def _prepare(self, loaded: Iterable[CropTask]) -> tuple[list[ReadyTask], list[_Batch]]:
        """Prepare decoded images for inference, a bounded number of bytes of pixels at a time."""
        tasks: list[ReadyTask] = []
        crops = []
        for part in _split_by_bytes(loaded):
            decoded = [task.decoded for task in part if isinstance(task, Infer)]
            crops += self._prepare_part(decoded)
            tasks += (Prepared(task.file) if isinstance(task, Infer) else task for task in part)
        batches = [
            _Batch(np.stack([crop.input for crop in batch]), [crop.quality for crop in batch])
            for batch in batched(crops, self._batch_size)
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
