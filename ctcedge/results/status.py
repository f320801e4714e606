"""Classification status of a folder, from the files on disk: no inference, no running service.

A sidecar counts if it is valid and belongs to the image that is there now: same size, and written
after the image last changed. If the times leave that open, the image is read and its hash compared.
Whether model and settings are those that the next run would use is not judged; those that were used
are counted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ctcedge.discovery.cut_crops import image_root
from ctcedge.discovery.naming import Crop, Skipped
from ctcedge.fs.descriptors import close_unwritten
from ctcedge.fs.files import is_absence
from ctcedge.model.folder import Model, available_models
from ctcedge.results.domain_shift import FolderDomainShift, FolderFeatures
from ctcedge.results.sample_table import SampleTable
from ctcedge.results.samples import SampleCounter, SampleResults, specs
from ctcedge.results.tally import OTHER_REASONS, Tally
from ctcedge.sidecars.scan import CONFLICTING_SIDECAR, TORN, ModelRef, read_current_image
from ctcedge.sidecars.schema import Sidecar
from ctcedge.sidecars.store import NotWritten, SidecarStore
from ctcedge.times import rfc3339

STATUS_SCHEMA = "ctcedge/status/1"

_MAX_EXAMPLES = 20
_MAX_REASONS = 100  # reasons may hold numbers, and memory is bounded


@dataclass(slots=True)
class Status:
    """Counts of bright-field crops; each is classified, unclassified or pending.

    Attributes:
        folder: the searched folder.
        out: root of the sidecars.
        running: whether a ctcedge on this machine is writing there; None if unknown.
        tally: counts of classified crops.
        unclassified: number of crops by status.
        reasons: number of unclassified crops by reason.
        pending: number of crops without a sidecar of the present image, by reason.
        newest: time of the newest call.
        models: number of sidecars by model.
        settings: number of sidecars by the hash of their settings.
        versions: number of sidecars by version of ctcedge.
        domain_shift: comparison of the samples with the training data.
        unreadable_dirs: sub-folders that cannot be read, and why.
        examples: errors of the first crops that are unclassified or cannot be read, by path.
        sidecar_problems: why the first sidecars that cannot be used are not, by path of the crop.
        not_understood: files that look like images, whose names fit no rule.
        samples: counts by sample.
        sample_results: the results of each sample and patient.
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
    domain_shift: FolderDomainShift = field(default_factory=lambda: FolderDomainShift({}, None))
    unreadable_dirs: dict[str, str] = field(default_factory=dict)
    not_understood: list[Skipped] = field(default_factory=list)
    examples: dict[str, str] = field(default_factory=dict)
    sidecar_problems: dict[str, str] = field(default_factory=dict)
    samples: SampleCounter = field(default_factory=SampleCounter)
    sample_results: SampleResults = field(default_factory=lambda: SampleResults([], [], []))
    _features: FolderFeatures = field(default_factory=FolderFeatures)

    @property
    def crops(self) -> int:
        """Number of bright-field crops."""
        return self.tally.calls.total() + self.unclassified.total() + self.pending.total()

    @property
    def complete(self) -> bool:
        """Whether every image is classified."""
        return not (
            self.unclassified or self.pending or self.unreadable_dirs or self.not_understood
        )

    def warnings(self) -> list[str]:
        """Return warnings for the user."""
        texts = []
        if not self.crops:
            texts.append(
                "no bright-field crop in this folder; 'ctcedge inspect' shows how names are read"
            )
        if len(self.models) > 1:
            texts.append(
                f"the calls come from {len(self.models)} models; probabilities of different models"
                " cannot be compared"
            )
        elif len(self.settings) > 1:
            texts.append(
                f"the calls were made with {len(self.settings)} different settings, such as the"
                " operating point, the pattern or um/px"
            )
        return texts

    def as_json(self) -> dict[str, Any]:
        """Return the status for `--json`."""
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
            "unclassified_examples": [
                {"path": path, "error": error} for path, error in self.examples.items()
            ],
            "domain_shift": asdict(self.domain_shift),
            **self.sample_results.as_json(),
            "pending": self.pending.total(),
            "pending_reasons": dict(self.pending),
            "unusable_sidecars": [
                {"path": path, "reason": why} for path, why in self.sidecar_problems.items()
            ],
            "unreadable_folders": [
                {"path": path, "reason": why} for path, why in self.unreadable_dirs.items()
            ],
            "not_understood": [
                {"path": entry.path, "reason": entry.reason} for entry in self.not_understood
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
        self.samples.add_record(record.sample, record)
        model = ModelRef.of(record)
        if record.call is not None:
            self.tally.add(record.call, record.reasons, cluster=record.cluster is True)
            created = datetime.fromisoformat(record.created).astimezone(UTC)
            self.newest = max(created, self.newest or created)
            with contextlib.suppress(ValueError):  # another number of features than before
                self._features.add(model, record.sample, record)
        else:
            self.unclassified[record.status] += 1
            self._count_reason(str(record.error))
        self.models[model] += 1
        self.settings[record.settings_sha256] += 1
        self.versions[record.software.ctcedge] += 1

    def add_unreadable(self, crop: Crop, reason: str) -> None:
        """Count a crop whose image cannot be examined."""
        self.pending[reason] += 1
        self.samples.add_pending(crop.sample)
        if len(self.examples) < _MAX_EXAMPLES:
            self.examples[crop.path] = reason

    def compare(self, models: Mapping[str, Model], table: SampleTable) -> None:
        """Set `domain_shift` and `sample_results`.

        Args:
            models: the available models, by hash.
            table: the table of samples.
        """
        self.domain_shift = self._features.domain_shift(models)
        self.sample_results = self.samples.results(table, self.domain_shift.samples, specs(models))

    def _count_reason(self, reason: str) -> None:
        counted = reason in self.reasons or len(self.reasons) < _MAX_REASONS
        self.reasons[reason if counted else OTHER_REASONS] += 1


def collect_status(
    folder: Path,
    out: Path | None,
    crops: Iterable[Crop],
    model: Model | None = None,
    unreadable_dirs: Mapping[str, str] | None = None,
    table: SampleTable | None = None,
) -> Status:
    """Read the sidecar of each crop and count.

    Args:
        folder: the searched folder.
        out: root of the sidecars; None for beside the images.
        crops: bright-field crops of the folder.
        model: model that made the calls, if it is not a shipped one; needed to compare the samples
            with its training data.
        unreadable_dirs: sub-folders that cannot be read, filled while `crops` is iterated.
        table: the table of samples; None where there is none.
    """
    sidecars = SidecarStore(folder, out)
    status = Status(folder, sidecars.root, is_running(sidecars.root))
    for crop in crops:
        try:
            image = os.lstat(Path(image_root(folder, crop)) / crop.path)
        except OSError as error:
            if not is_absence(error):
                status.add_unreadable(crop, f"image cannot be read: {error.strerror}")
            continue  # else it was deleted since
        record = _current_sidecar(crop, folder, image, sidecars)
        if isinstance(record, _Pending):
            status.pending[record.reason] += 1
            status.samples.add_pending(crop.sample)
            if record.problem and len(status.sidecar_problems) < _MAX_EXAMPLES:
                status.sidecar_problems[crop.path] = record.problem
        else:
            status.add_record(record)
            if record.call is None and len(status.examples) < _MAX_EXAMPLES:
                status.examples[crop.path] = str(record.error)
    status.unreadable_dirs.update(unreadable_dirs or {})
    status.compare(available_models(model), table or SampleTable())
    return status


def is_running(root: Path) -> bool | None:
    """Return whether a ctcedge on this machine is writing there now; None if that is unknown.

    Tries to take a shared lock and releases it: that fails while a writer holds its exclusive lock,
    and two callers do not take each other for a writer.
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
        close_unwritten(descriptor)
    return False


class _Pending(NamedTuple):
    """Why a crop is pending, and what is wrong with the sidecar that it has."""

    reason: str
    problem: str | None = None


_CHANGED = _Pending("image changed since classification")


def _current_sidecar(
    crop: Crop, folder: Path, image: os.stat_result, sidecars: SidecarStore
) -> Sidecar | _Pending:
    """Return the sidecar of the present image, or why the crop is pending."""
    try:
        written = os.lstat(sidecars.path(crop)).st_ctime_ns
    except OSError as error:
        if is_absence(error):
            return _Pending("no sidecar")
        return _Pending(CONFLICTING_SIDECAR, f"sidecar cannot be read: {error.strerror}")
    try:
        record = sidecars.read(crop)
    except NotWritten as error:
        return _Pending(CONFLICTING_SIDECAR, str(error))
    if record is None:
        return _Pending("damaged sidecar", TORN)
    size = record.image.bytes
    if size is not None and size != image.st_size:
        return _CHANGED
    if image.st_ctime_ns < written:
        return record
    current = read_current_image(folder, crop)
    return record if current.sha256 == record.image.sha256 else _CHANGED
