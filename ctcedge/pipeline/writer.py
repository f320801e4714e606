"""Write the sidecars of a chunk of crops."""

from __future__ import annotations

from collections.abc import Sequence

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.fingerprints import Fingerprint
from ctcedge.discovery.naming import Crop
from ctcedge.pipeline.outcome import Outcome, unclassified_reason
from ctcedge.pipeline.records import SidecarBuilder
from ctcedge.pipeline.task import Done, Failed, Upgrade, Write, WriteTask
from ctcedge.sidecars.schema import Sidecar
from ctcedge.sidecars.store import NotWritten, SidecarStore, WriteSidecar
from ctcedge.times import now


class SidecarWriter:
    """Writes the sidecars of one run.

    Args:
        classifier: model and decision rule.
        store: the sidecars.
        fingerprint: of the settings.
    """

    def __init__(
        self, classifier: Classifier, store: SidecarStore, fingerprint: Fingerprint
    ) -> None:
        self._builder = SidecarBuilder(classifier, fingerprint)
        self._store = store

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
                        done.append(_upgrade(file.crop, old, write))
                    case Write(file, _, rescored):
                        assert sidecar is not None
                        done.append(_write(file.crop, sidecar, rescored, write))
        return done


def _write(crop: Crop, sidecar: Sidecar, rescored: bool, write: WriteSidecar) -> Done:
    try:
        written, kept_aside = write(crop, sidecar)
    except NotWritten as error:
        return Done(Outcome(crop, "not-written", error=str(error)))
    outcome = Outcome(
        crop,
        "written",
        written,
        unclassified_reason(written),
        rescored=rescored,
        kept_aside=kept_aside,
    )
    return Done(outcome, is_current=True)


def _upgrade(crop: Crop, old: Sidecar, write: WriteSidecar) -> Done:
    try:
        upgraded, _ = write(crop, None)
    except NotWritten:  # it is current all the same, and is read in its old schema
        return Done(Outcome(crop, "current", old, unclassified_reason(old)))
    outcome = Outcome(crop, "upgraded", upgraded, unclassified_reason(upgraded))
    return Done(outcome, is_current=True)
