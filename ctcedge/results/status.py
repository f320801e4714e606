"""How things stand in a folder, read from disk alone: no network runs and no service is asked.

A sidecar counts if it is whole and is of the image that lies there now: of the same size, and
written after the image last changed. Only where the times leave that open is the image read and its
hash compared. Whether a sidecar is of the model and settings that would be used next is not judged;
those that were used are counted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ctcedge.discovery.naming import Crop
from ctcedge.model.folder import Model, models_at_hand
from ctcedge.results.domain_shift import FolderDomainShift, FolderFeatures
from ctcedge.results.tally import OTHER_REASONS, Tally
from ctcedge.sidecars.scan import Closed, ModelRef, read_current_image
from ctcedge.sidecars.schema import Sidecar
from ctcedge.sidecars.store import NotWritten, SidecarStore
from ctcedge.times import rfc3339

STATUS_SCHEMA = "ctcedge/status/1"

_MOST_REASONS = 100  # kept apart; reasons may hold numbers, and memory is bounded


@dataclass(slots=True)
class Status:
    """Counts of bright-field crops: each is called, unclassified or pending.

    Attributes:
        folder: the searched folder.
        out: root of the sidecars.
        running: whether a ctcedge on this machine is writing there; None where that cannot be told.
        tally: classified crops.
        unclassified: by status.
        reasons: unclassified, by reason.
        pending: without a sidecar of the image as it is now, by reason.
        newest: when the newest call was made.
        models: sidecars by model.
        settings: sidecars by the hash of their settings.
        versions: sidecars by ctcedge's version.
        traits: by which samples are compared with the training data.
        likeness: what is like the training data.
        closed: sub-folders that cannot be read.
    """

    folder: Path
    out: Path
    running: bool | None
    tally: Tally = field(default_factory=Tally)
    unclassified: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    pending: Counter[str] = field(default_factory=Counter)
    newest: datetime | None = None
    models: Counter[ModelRef] = field(default_factory=Counter)
    settings: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    traits: FolderFeatures = field(default_factory=FolderFeatures)
    likeness: FolderDomainShift = field(default_factory=lambda: FolderDomainShift({}, None))
    closed: Closed = field(default_factory=dict)

    @property
    def crops(self) -> int:
        """All bright-field crops."""
        return self.tally.calls.total() + self.unclassified.total() + self.pending.total()

    @property
    def complete(self) -> bool:
        """Whether every crop is classified."""
        return not (self.unclassified or self.pending or self.closed)

    def warnings(self) -> list[str]:
        """What a person should know."""
        found = []
        if not self.crops:
            found.append(
                "no bright-field crop in this folder; 'ctcedge inspect' shows how names are read"
            )
        if len(self.models) > 1:
            found.append(
                f"calls of {len(self.models)} models stand side by side; probabilities of different"
                " models do not compare"
            )
        elif len(self.settings) > 1:
            found.append(
                f"calls were made with {len(self.settings)} different settings, such as the"
                " operating point, the pattern or um/px"
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """The same for scripts."""
        together = self.likeness.overall
        return {
            "schema": STATUS_SCHEMA,
            "folder": str(self.folder),
            "out": str(self.out),
            "running": self.running,
            "complete": self.complete,
            "crops": self.crops,
            **self.tally.as_json(),
            "unclassified": dict(self.unclassified),
            "unclassified_reasons": dict(self.reasons),
            "likeness": {name: asdict(each) for name, each in self.likeness.samples.items()},
            "likeness_together": together and asdict(together),
            "pending": self.pending.total(),
            "pending_reasons": dict(self.pending),
            "unreadable_folders": [
                {"path": path, "reason": why} for path, why in self.closed.items()
            ],
            "newest_call": self.newest and rfc3339(self.newest),
            "models": [
                {**model._asdict(), "sidecars": count} for model, count in self.models.most_common()
            ],
            "settings": dict(self.settings),
            "ctcedge_versions": dict(self.versions),
            "warnings": self.warnings(),
        }

    def add_record(self, record: Sidecar) -> None:
        """Count a sidecar."""
        seen = ModelRef.of(record)
        if record.call is not None:
            self.tally.add(record.call, record.reasons, cluster=record.cluster is True)
            self._note_time(record.created)
            with contextlib.suppress(ValueError):  # not as many features as before
                self.traits.add(seen, record.sample, record)
        else:
            self.unclassified[record.status] += 1
            self._note(self.reasons, str(record.error))
        self.models[seen] += 1
        self.settings[record.settings_sha256] += 1
        self.versions[record.software.ctcedge] += 1

    @staticmethod
    def _note(reasons: Counter[str], reason: str) -> None:
        known = reason in reasons or len(reasons) < _MOST_REASONS
        reasons[reason if known else OTHER_REASONS] += 1

    def _note_time(self, text: str) -> None:
        time = datetime.fromisoformat(text).astimezone(UTC)
        self.newest = max(time, self.newest or time)


def collect_status(
    folder: Path,
    out: Path | None,
    crops: Iterable[Crop],
    model: Model | None = None,
    closed: Closed | None = None,
) -> Status:
    """Look at the sidecar of each crop.

    Args:
        folder: the searched folder.
        out: root of the sidecars; None for beside the images.
        crops: bright-field crops of the folder.
        model: that made the calls, where it is no shipped one; it tells whether samples are like
            its training data.
        closed: what `crops` found of sub-folders that cannot be read.
    """
    sidecars = SidecarStore(folder, out)
    status = Status(folder, sidecars.root, is_running(sidecars.root))
    for crop in crops:
        try:
            image = os.lstat(folder / crop.path)
        except OSError:
            continue  # gone meanwhile
        found = _sidecar_of(crop, folder, image, sidecars)
        if isinstance(found, str):
            status.pending[found] += 1
        else:
            status.add_record(found)
    status.closed.update(closed or {})
    status.likeness = status.traits.domain_shift(models_at_hand(model))
    return status


def is_running(root: Path) -> bool | None:
    """Whether a ctcedge on this machine is writing there now; None where that cannot be told.

    A shared lock is asked for and let go: it is refused while a writer holds its own, and two who
    ask do not take each other for a writer.
    """
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


def _sidecar_of(
    crop: Crop, folder: Path, image: os.stat_result, sidecars: SidecarStore
) -> Sidecar | str:
    """The crop's sidecar, or why it is pending."""
    try:
        written = os.lstat(sidecars.path(crop)).st_ctime_ns
    except OSError:
        return "no sidecar"
    try:
        record = sidecars.read(crop)
    except NotWritten:
        return "sidecar in the way: another sample's, a newer ctcedge's, or not readable"
    if record is None:
        return "sidecar not whole"
    size = record.image.bytes
    if size is not None and size != image.st_size:
        return "image changed since"
    if image.st_ctime_ns < written:
        return record
    current = read_current_image(folder, crop)
    return record if current.sha256 == record.image.sha256 else "image changed since"
