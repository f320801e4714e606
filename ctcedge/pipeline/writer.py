"""Write the sidecars of a chunk of crops, and record in the index that they are done."""

from __future__ import annotations

from collections.abc import Sequence

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.fingerprints import Fingerprint
from ctcedge.discovery.naming import Crop
from ctcedge.pipeline.outcome import Outcome, index_entry, unclassified_reason
from ctcedge.pipeline.records import SidecarBuilder
from ctcedge.pipeline.task import Done, Failed, Upgrade, Write, WriteTask
from ctcedge.sidecars.index import DoneIndex, Lookup
from ctcedge.sidecars.schema import Sidecar
from ctcedge.sidecars.store import NotWritten, SidecarStore, WriteSidecar
from ctcedge.times import now


class SidecarWriter:
    """Writes the sidecars of one run.

    Args:
        classifier: model and decision rule.
        store: the sidecars.
        fingerprint: of the settings.
        index: index of done crops; None for no index.
    """

    def __init__(
        self,
        classifier: Classifier,
        store: SidecarStore,
        fingerprint: Fingerprint,
        index: DoneIndex | None,
    ) -> None:
        self._builder = SidecarBuilder(classifier, fingerprint)
        self._store = store
        self._index = index

    def write_all(self, tasks: Sequence[WriteTask]) -> list[Done | Failed]:
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

    def record_current(self, outcome: Outcome, lookup: Lookup) -> None:
        """Record in the index that a crop has a current sidecar."""
        self._record(outcome, lookup, written=False)

    def _record_written(self, outcome: Outcome, lookup: Lookup) -> None:
        if outcome.done in ("written", "upgraded"):
            self._record(outcome, lookup, written=True)

    def _record(self, outcome: Outcome, lookup: Lookup, *, written: bool) -> None:
        if self._index is None or outcome.record is None:
            return
        sha256 = outcome.record.image.sha256
        if sha256 is not None:  # an image that could not be read may be readable next time
            self._index.record(lookup, index_entry(outcome), sha256=sha256, written=written)


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
