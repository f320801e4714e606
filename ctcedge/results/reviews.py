"""Import of reviews from a corrections file into sidecars.

A review is stored beside the model's call and never changes it. An earlier review is kept in the
history of the later one, whoever made them. A review is not applied to a cell that differs from
what the person saw: another image, or another call of the model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from ctcedge.discovery.naming import Crop
from ctcedge.results.corrections import Corrections, Entry
from ctcedge.sidecars.parse import MAX_REVIEW_BYTES, MAX_REVIEWS, reviews_fit
from ctcedge.sidecars.scan import CropRecord, read_current_image
from ctcedge.sidecars.schema import ReviewEntry, ReviewRecord, Sidecar
from ctcedge.sidecars.store import NotWritten, SidecarStore

_MAX_CLOCK_DIFFERENCE = timedelta(hours=1)  # between the computers of a laboratory


@dataclass(slots=True)
class Imported:
    """Result of an import; cells are identified by their path in the file.

    Attributes:
        reviewer: name of the reviewer.
        entries: number of entries in the file.
        applied: number of newly written reviews.
        known: number of reviews that the sidecars contained already.
        conflicts: (path, text) where another reviewer gave another call; both are kept.
        ahead: (path, time) of reviews dated in the future, which a later one cannot replace.
        earlier: (path, text) of reviews that went into the history, as a later one exists.
        changed: (path, reason) not applied, as the cell differs from what the person saw.
        missing: (path, reason) not applied, as the cell was not found.
        failed: (path, reason) not applied, as the sidecar cannot be written.
        moved: (path, new path) found by the image, under another name.
    """

    reviewer: str
    entries: int
    applied: int = 0
    known: int = 0
    conflicts: list[tuple[str, str]] = field(default_factory=list)
    ahead: list[tuple[str, str]] = field(default_factory=list)
    earlier: list[tuple[str, str]] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the sidecars contain every entry now."""
        return not (self.changed or self.missing or self.failed)

    def as_json(self) -> dict[str, Any]:
        """Return the result for `--json`."""
        lists = ("conflicts", "ahead", "earlier", "changed", "missing", "failed", "moved")
        return {
            "reviewer": self.reviewer,
            "entries": self.entries,
            "applied": self.applied,
            "known": self.known,
            **{
                name: [{"path": path, "what": what} for path, what in getattr(self, name)]
                for name in lists
            },
        }


def import_reviews(
    corrections: Corrections,
    folder: Path,
    crops: Iterable[CropRecord],
    sidecars: SidecarStore,
    *,
    changed_calls: bool = False,
) -> Imported:
    """Add reviews to sidecars, one by one; safe while another ctcedge writes there.

    When it returns, the reviews survive a power cut.

    Args:
        corrections: the reviews.
        folder: the searched folder.
        crops: its bright-field crops with their sidecars.
        sidecars: store of the sidecars.
        changed_calls: apply also where the model's call has changed; the image must be the same.

    Raises:
        OutputError: no sidecar can be written now, or their folders cannot be brought to the disk;
            those already written stay.
    """
    result = Imported(corrections.reviewer, len(corrections.entries))
    latest = datetime.now(UTC) + _MAX_CLOCK_DIFFERENCE
    touched: list[Crop] = []
    full: dict[str, frozenset[ReviewEntry]] = {}  # reviews of cells that can hold no more
    lookup = _CropLookup(crops, by_name=not corrections.pseudonymised)
    for entry in sorted(corrections.entries, key=_time):
        path = entry.path
        found = lookup.find(entry)
        if isinstance(found, str):
            result.missing.append((path, found))
            continue
        crop, moved = found
        touched.append(crop)
        reason = _image_changed(folder, crop, entry.image_sha256)
        if reason is not None:
            result.changed.append((path, reason))
            continue
        change = _AddReview(entry, corrections.reviewer, changed_calls)
        try:
            change.check_full(full.get(crop.path))
            sidecars.amend(crop, change)
            result.applied += 1
        except _FullError as error:
            full[crop.path] = error.reviews
            result.failed.append((path, str(error)))
            continue
        except _AlreadyThereError:
            result.known += 1
        except _CellChangedError as error:
            result.changed.append((path, str(error)))
            continue
        except NotWritten as error:
            result.failed.append((path, str(error)))
            continue
        if moved:
            result.moved.append((path, crop.path))
        if change.conflict is not None:
            result.conflicts.append((path, change.conflict))
        if _time(entry) > latest:
            result.ahead.append((path, entry.time))
        if change.later is not None:
            result.earlier.append((path, change.later))
    sidecars.sync(touched)
    return result


class _CropLookup:
    """Finds the crop of an entry.

    A path from the file is only looked up among the crops of the folder, never opened.
    """

    def __init__(self, crops: Iterable[CropRecord], *, by_name: bool) -> None:
        self._by_name = by_name
        self._crops: dict[str, Crop] = {}
        self._problems: dict[str, str] = {}
        self._by_image: dict[str, list[Crop]] = defaultdict(list)
        for crop in crops:
            path = crop.crop.path
            self._crops[path] = crop.crop
            if crop.record is None:
                self._problems[path] = crop.problem or "it has no sidecar; run: ctcedge classify"
            elif crop.record.image.sha256 is not None:
                self._by_image[crop.record.image.sha256].append(crop.crop)

    def find(self, entry: Entry) -> tuple[Crop, bool] | str:
        """Return the crop and whether its image has another name now; or the reason why not."""
        crop = self._crops.get(entry.path) if self._by_name else None
        if crop is not None:
            return self._problems.get(crop.path, (crop, False))
        same_image = self._by_image.get(entry.image_sha256, [])
        if len(same_image) == 1:
            return same_image[0], self._by_name
        if same_image:
            return f"{len(same_image)} crops have this image, so that the cell is ambiguous"
        return "no crop has this name or image" if self._by_name else "no crop has this image"


class _AlreadyThereError(Exception):
    """The sidecar contains this very review."""


class _CellChangedError(Exception):
    """The cell differs from what the person saw, as the text describes."""


class _FullError(Exception):
    """The cell has as many reviews as a sidecar can hold.

    Attributes:
        reviews: those reviews.
    """

    def __init__(self, reviews: Iterable[ReviewEntry]) -> None:
        self.reviews = frozenset(reviews)
        super().__init__(
            f"its sidecar has {len(self.reviews):,} reviews and cannot hold this one: at most"
            f" {MAX_REVIEWS:,}, of {MAX_REVIEW_BYTES:,} bytes together, are kept of a cell"
        )


@dataclass(slots=True)
class _AddReview:
    """Adds a review to a sidecar.

    Attributes:
        conflict: text on another reviewer's other call, set by the call.
        later: text on a later review of the cell, set by the call.
    """

    entry: Entry
    reviewer: str
    changed_calls: bool
    conflict: str | None = None
    later: str | None = None

    def check_full(self, reviews: frozenset[ReviewEntry] | None) -> None:
        """Spare the work for a cell that can hold no more reviews.

        Args:
            reviews: its reviews; None where it can hold more.

        Raises:
            _AlreadyThereError: they contain this review.
            _FullError: they do not.
        """
        if reviews is not None:
            if _review(self.entry, self.reviewer) in reviews:
                raise _AlreadyThereError
            raise _FullError(reviews)

    def __call__(self, record: Sidecar) -> Sidecar:
        """Return the record with the review.

        Raises:
            _FullError: the record can hold no more reviews.
            _AlreadyThereError: the record contains the review.
            _CellChangedError: it is of another image, or has another call.
        """
        entry, review = self.entry, _review(self.entry, self.reviewer)
        if record.image.sha256 == entry.image_sha256:
            self.conflict = _conflict(review, record.reviews)
        if review in record.reviews:
            raise _AlreadyThereError
        if record.image.sha256 != entry.image_sha256:
            raise _CellChangedError("its sidecar is of another image; run: ctcedge classify")
        if record.call != entry.model_call and not self.changed_calls:
            call = record.call or "unclassified"
            raise _CellChangedError(
                f"the model's call was {entry.model_call} at the review and is {call} now"
            )
        reviews = sorted([*record.reviews, review], key=_time)
        last = reviews[-1]
        if last is not review:
            self.later = f"{last.reviewer}: {last.call} at {last.time}"
        combined = ReviewRecord.of(tuple(reviews))
        if not reviews_fit(combined):
            raise _FullError(record.reviews)
        return msgspec.structs.replace(record, review=combined)


def _review(entry: Entry, reviewer: str) -> ReviewEntry:
    """Return the review as it is kept in a sidecar."""
    return ReviewEntry(
        call=entry.call,
        reviewer=reviewer,
        time=entry.time,
        model_call=entry.model_call,
        note=entry.note,
        image_sha256=entry.image_sha256,
        channels=entry.channels,
        blinded=entry.blinded,
        weight=entry.weight,
    )


def _conflict(review: ReviewEntry, earlier: Sequence[ReviewEntry]) -> str | None:
    calls = {
        other.reviewer: other.call for other in earlier if other.image_sha256 == review.image_sha256
    }
    conflicting = [
        f"{reviewer}: {call}"
        for reviewer, call in calls.items()
        if reviewer != review.reviewer and call != review.call
    ]
    return f"{review.reviewer}: {review.call}, {', '.join(conflicting)}" if conflicting else None


def _image_changed(folder: Path, crop: Crop, sha256: str) -> str | None:
    image = read_current_image(folder, crop)
    if image.problem is not None:
        return f"its image cannot be read: {image.problem}"
    return None if image.sha256 == sha256 else "its image has changed"


def _time(review: Entry | ReviewEntry) -> datetime:
    return datetime.fromisoformat(review.time)
