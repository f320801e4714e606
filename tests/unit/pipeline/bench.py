"""A folder of crops with a pipeline that classifies it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.fingerprints import Fingerprint
from ctcedge.discovery.naming import Crop, Naming
from ctcedge.discovery.scan import iter_entries
from ctcedge.pipeline.crash_journal import CrashJournal
from ctcedge.pipeline.outcome import Outcome
from ctcedge.pipeline.pipeline import Pipeline
from ctcedge.settings import ImageSettings
from ctcedge.sidecars.store import SidecarStore
from tests.helpers.drawn_cells import UM_PER_PX


def fingerprint(classifier: Classifier, um_per_px: float | None = UM_PER_PX) -> Fingerprint:
    images = ImageSettings(um_per_px=um_per_px)
    return Fingerprint.of(images, classifier.model.spec, classifier.rule)


class Bench:
    """A folder and what classifies it."""

    def __init__(self, folder: Path, classifier: Classifier) -> None:
        self.folder = folder
        self.classifier = classifier

    def crops(self) -> list[Crop]:
        found = [each for each in iter_entries(self.folder, Naming()) if isinstance(each, Crop)]
        return [crop for crop in found if crop.channel == "BF"]

    def run(
        self,
        crops: Iterable[Crop] | None = None,
        *,
        um_per_px: float | None = UM_PER_PX,
        batch_size: int = 4,
        classifier: Classifier | None = None,
        **options: Any,
    ) -> list[Outcome]:
        used = classifier or self.classifier
        pipeline = Pipeline(
            self.folder,
            used,
            SidecarStore(self.folder),
            CrashJournal(self.folder),
            fingerprint(used, um_per_px),
            batch_size,
            workers=1,
        )
        return list(pipeline.run(self.crops() if crops is None else crops, **options))

    @contextmanager
    def opened(self, workers: int, classifier: Classifier | None = None) -> Iterator[Pipeline]:
        """The folder locked, with a pipeline that may have worker processes."""
        used, store = classifier or self.classifier, SidecarStore(self.folder)
        with store.open(), CrashJournal(self.folder) as journal:
            pipeline = Pipeline(
                self.folder, used, store, journal, fingerprint(used), 4, workers=workers
            )
            try:
                yield pipeline
            finally:
                pipeline.close()


def done(outcomes: list[Outcome]) -> list[str]:
    return [outcome.done for outcome in outcomes]


REVIEWED = {
    "call": "CTC",
    "reviewer": "Ada",
    "time": "2026-01-03T00:00:00Z",
    "from": "leukocyte",
    "note": "",
    "image_sha256": "0" * 64,
    "channels": ["BF"],
    "blinded": True,
    "weight": 12.5,
    "history": [],
}
