"""A person's reviews: from the file that the report page saves into the sidecars.

A review stands beside the model's call and never changes it. An earlier review is kept in the
history of the later one, whoever made them. Nothing is applied to a cell that is no longer what the
person saw: another image, or another call of the model.
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
from ctcedge.sidecars.scan import CropRecord, read_current_image
from ctcedge.sidecars.schema import ReviewEntry, ReviewRecord, Sidecar
from ctcedge.sidecars.store import NotWritten, SidecarStore

_CLOCKS_DIFFER = timedelta(hours=1)  # at most, between the PCs of a laboratory


@dataclass(slots=True)
class Imported:
    """What an import did; cells by the name that the file gives them.

    Attributes:
        reviewer: who reviewed.
        entries: in the file.
        applied: newly written reviews.
        known: that the sidecars had already.
        conflicts: (path, what) another reviewer said otherwise; both are kept.
        ahead: (path, time) of reviews of the future, which a later one cannot replace.
        earlier: (path, what) only kept in the history, as a later review of the cell stands.
        changed: (path, why) not applied, as the cell is not what the person saw.
        missing: (path, why) not applied, as the cell was not found.
        failed: (path, why) not applied, as the sidecar cannot be written.
        moved: (path, where) found by its image under another name.
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
        """Whether every entry stands in a sidecar now."""
        return not (self.changed or self.missing or self.failed)

    def as_json(self) -> dict[str, Any]:
        """The same for scripts."""
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
    stored: Iterable[CropRecord],
    sidecars: SidecarStore,
    *,
    changed_calls: bool = False,
) -> Imported:
    """Add reviews to sidecars, one by one; safe beside a ctcedge that writes them.

    Args:
        corrections: what a person said.
        folder: the searched folder.
        stored: its bright-field crops, with their sidecars.
        sidecars: where these lie.
        changed_calls: apply also where the model's call is another now; the image must be the same.

    Raises:
        OutputError: no sidecar can be written now; what is written stays.
    """
    result = Imported(corrections.reviewer, len(corrections.entries))
    latest = datetime.now(UTC) + _CLOCKS_DIFFER
    places = _Places(stored, by_name=not corrections.pseudonymised)
    for entry in sorted(corrections.entries, key=lambda each: _moment(each.time)):
        name = entry.path
        found = places.find(entry)
        if isinstance(found, str):
            result.missing.append((name, found))
            continue
        crop, moved = found
        reason = _image_changed(folder, crop, entry.image_sha256)
        if reason is not None:
            result.changed.append((name, reason))
            continue
        change = _Change(entry, corrections.reviewer, changed_calls)
        try:
            sidecars.amend(crop, change)
            result.applied += 1
        except _Known:
            result.known += 1
        except _Refused as refusal:
            result.changed.append((name, str(refusal)))
            continue
        except NotWritten as error:
            result.failed.append((name, str(error)))
            continue
        if moved:
            result.moved.append((name, crop.path))
        if change.conflict is not None:
            result.conflicts.append((name, change.conflict))
        if _moment(entry.time) > latest:
            result.ahead.append((name, entry.time))
        if change.later is not None:
            result.earlier.append((name, change.later))
    return result


class _Places:
    """Finds the crop that an entry means.

    A path is looked up among the crops that are there, never opened as it stands in the file.
    """

    def __init__(self, stored: Iterable[CropRecord], *, by_name: bool) -> None:
        self._by_name = by_name
        self._crops: dict[str, Crop] = {}
        self._problems: dict[str, str] = {}
        self._by_image: dict[str, list[Crop]] = defaultdict(list)
        for each in stored:
            self._crops[each.crop.path] = each.crop
            if each.record is None:
                absent = "it has no sidecar; run: ctcedge classify"
                self._problems[each.crop.path] = each.problem or absent
            elif each.record.image.sha256 is not None:
                self._by_image[each.record.image.sha256].append(each.crop)

    def find(self, entry: Entry) -> tuple[Crop, bool] | str:
        """Return the crop, and whether it was found by its image under another name; or why not."""
        crop = self._crops.get(entry.path) if self._by_name else None
        if crop is not None:
            return self._problems.get(crop.path, (crop, False))
        same = self._by_image.get(entry.image_sha256, [])
        if len(same) == 1:
            return same[0], self._by_name
        if same:
            return f"{len(same)} crops have this very image; which is meant cannot be told"
        return "no crop has this name or image" if self._by_name else "no crop has this image"


class _Known(Exception):
    """The sidecar has this very review."""


class _Refused(Exception):
    """The sidecar says that the cell is not what the person saw."""


@dataclass(slots=True)
class _Change:
    """The change of one sidecar.

    Attributes:
        conflict: what another reviewer said otherwise, once it was made.
        later: which later review stands, once it was made.
    """

    entry: Entry
    reviewer: str
    changed_calls: bool
    conflict: str | None = None
    later: str | None = None

    def __call__(self, record: Sidecar) -> Sidecar:
        """Return the record with the review; an exception leaves it as it is."""
        block = _review(self.entry, self.reviewer)
        earlier = record.reviews
        if record.image.sha256 == self.entry.image_sha256:
            self.conflict = _conflict(block, earlier)
        if block in earlier:
            raise _Known
        if record.image.sha256 != self.entry.image_sha256:
            raise _Refused("its sidecar is of another image; run: ctcedge classify")
        if record.call != self.entry.model_call and not self.changed_calls:
            now = record.call or "unclassified"
            raise _Refused(f"the model's call was {self.entry.model_call} then, and is {now} now")
        *history, last = sorted([*earlier, block], key=lambda each: _moment(each.time))
        if last is not block:
            self.later = f"{last.reviewer} said {last.call} at {last.time}"
        review = ReviewRecord.of((*history, last))
        return msgspec.structs.replace(record, review=review)


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


def _conflict(block: ReviewEntry, earlier: Sequence[ReviewEntry]) -> str | None:
    said = {each.reviewer: each.call for each in earlier if each.image_sha256 == block.image_sha256}
    others = [
        f"{reviewer} said {call}"
        for reviewer, call in said.items()
        if reviewer != block.reviewer and call != block.call
    ]
    return f"{block.reviewer} says {block.call}, {', '.join(others)}" if others else None


def _image_changed(folder: Path, crop: Crop, sha256: str) -> str | None:
    now = read_current_image(folder, crop)
    if now.problem is not None:
        return f"its image cannot be read: {now.problem}"
    return None if now.sha256 == sha256 else "its image changed since"


def _moment(time: str) -> datetime:
    """The instant of a time."""
    return datetime.fromisoformat(time)
