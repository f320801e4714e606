"""A person's reviews: from the file that the report page saves into the sidecars.

A review stands beside the model's call and never changes it. An earlier review is kept in the
history of the later one, whoever made them. Nothing is applied to a cell that is no longer what the
person saw: another image, or another call of the model.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec

from ctcedge import validation as strict
from ctcedge.discovery.naming import Crop
from ctcedge.errors import SetupError
from ctcedge.fs.files import FileTooLargeError, NotRegularFileError, read_limited
from ctcedge.sidecars.scan import CropRecord, read_current_image
from ctcedge.sidecars.schema import CALLS, Call, ReviewEntry, ReviewRecord, Sidecar
from ctcedge.sidecars.store import NotWritten, SidecarStore

SCHEMA = "ctcedge/corrections/1"
MAX_BYTES = 64 * 1024 * 1024
_MAX_ENTRIES = 100_000
_MAX_NAME = 4096
_MAX_REVIEWER = 200
_MAX_NOTE = 2000
_MAX_CHANNELS = 64
_CLOCKS_DIFFER = timedelta(hours=1)  # at most, between the PCs of a laboratory
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


class CorrectionsError(SetupError):
    """The file of reviews cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Draw:
    """The random draw that the report mixed in."""

    drawn: int
    leukocytes: int


@dataclass(frozen=True, slots=True)
class _Told:
    """An entry but for its key `from`, which is no name in Python."""

    path: str
    sample: str
    cell: str
    image_sha256: str
    model_sha256: str
    call: Literal["CTC", "leukocyte", "unsure"]
    note: str
    time: str
    channels: tuple[str, ...]
    blinded: bool
    weight: float | None

    def __post_init__(self) -> None:
        _need_hash("image_sha256", self.image_sha256)
        _need_hash("model_sha256", self.model_sha256)
        _need_time("time", self.time)
        for name in ("path", "sample", "cell"):
            _need_length(name, getattr(self, name), _MAX_NAME)
        _need_length("note", self.note, _MAX_NOTE)
        if not self.path or not self.cell:
            raise ValueError("'path' and 'cell' must not be empty")
        if not 1 <= len(self.channels) <= _MAX_CHANNELS or not all(self.channels):
            raise ValueError(f"'channels' must be 1 to {_MAX_CHANNELS} names")
        if len(set(self.channels)) != len(self.channels):
            raise ValueError("'channels' must not hold a name twice")
        for channel in self.channels:
            _need_length("channels", channel, _MAX_REVIEWER)
        if self.weight is not None and self.weight < 1:
            raise ValueError("'weight' must not be below 1")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a person said of one cell.

    Attributes:
        told: as in the file.
        was: the model's call that the person saw, or would have seen.
    """

    told: _Told
    was: Call

    def block(self, reviewer: str) -> ReviewEntry:
        """As it stands in a sidecar, without history."""
        told = self.told
        return ReviewEntry(
            call=told.call,
            reviewer=reviewer,
            time=told.time,
            model_call=self.was,
            note=told.note,
            image_sha256=told.image_sha256,
            channels=told.channels,
            blinded=told.blinded,
            weight=told.weight,
        )


@dataclass(frozen=True, slots=True)
class _Head:
    """The file but for its entries."""

    schema: Literal["ctcedge/corrections/1"]
    report_id: str
    folder_name: str
    pseudonymised: bool
    created: str
    reviewer: str
    draw: Draw

    def __post_init__(self) -> None:
        _need_hash("report_id", self.report_id)
        _need_time("created", self.created)
        _need_length("folder_name", self.folder_name, _MAX_NAME)
        _need_length("reviewer", self.reviewer, _MAX_REVIEWER)
        if not self.reviewer.strip():
            raise ValueError("'reviewer' must say who reviewed")
        if min(self.draw.drawn, self.draw.leukocytes) < 0:
            raise ValueError("'draw' must hold counts")


@dataclass(frozen=True, slots=True)
class Corrections:
    """A checked file of reviews."""

    head: _Head
    entries: tuple[Entry, ...]


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


def read_corrections(path: Path) -> Corrections:
    """Read and check a file that the report page saved.

    Raises:
        CorrectionsError: naming the key that does not fit.
    """
    try:
        data = read_limited(path, MAX_BYTES, follow=True)
    except NotRegularFileError:
        text = f"{path} is not a file; give the one that the report page saved"
        raise CorrectionsError(text) from None
    except FileTooLargeError as error:
        raise CorrectionsError(f"{path}: {error.strerror}") from None
    except OSError as error:
        raise CorrectionsError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return _checked(json.loads(data, object_pairs_hook=_no_key_twice))
    except (ValueError, RecursionError) as error:
        raise CorrectionsError(
            f"{path}: not a file that a report page of this ctcedge saved: {error}"
        ) from None


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice in a table")
    return made


def _checked(content: Any) -> Corrections:
    if not isinstance(content, dict):
        raise ValueError("it holds no table")
    found = str(content.get("schema"))
    if found != SCHEMA:
        raise ValueError(f"its schema is {found[:100]!r}, and {SCHEMA!r} is known")
    listed = content.pop("entries", None)
    if not isinstance(listed, list):
        raise ValueError("'entries' must be a list")
    if len(listed) > _MAX_ENTRIES:
        raise ValueError(f"'entries' holds more than {_MAX_ENTRIES:,}")
    head = strict.build(_Head, content)
    return Corrections(head, tuple(_entry(each, f"entries[{i}]") for i, each in enumerate(listed)))


def _entry(content: Any, where: str) -> Entry:
    if not isinstance(content, dict):
        raise ValueError(f"'{where}' must be a table")
    was = content.pop("from", None)
    for call in CALLS:
        if was == call:
            return Entry(strict.build(_Told, content, where), call)
    raise ValueError(f"'{where}.from' must be one of {', '.join(CALLS)}")


def _need_hash(name: str, value: str) -> None:
    if not _SHA256.fullmatch(value):
        raise ValueError(f"'{name}' must be 64 hexadecimal digits")


def _need_time(name: str, value: str) -> None:
    try:
        if not _TIME.fullmatch(value):
            raise ValueError
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"'{name}' must be a time such as 2026-01-31T12:00:00Z") from None


def _need_length(name: str, value: str, most: int) -> None:
    if len(value) > most:
        raise ValueError(f"'{name}' must have at most {most} characters")


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
    head = corrections.head
    result = Imported(head.reviewer, len(corrections.entries))
    latest = datetime.now(UTC) + _CLOCKS_DIFFER
    places = _Places(stored, by_name=not head.pseudonymised)
    for entry in sorted(corrections.entries, key=lambda each: _moment(each.told.time)):
        name = entry.told.path
        found = places.find(entry)
        if isinstance(found, str):
            result.missing.append((name, found))
            continue
        crop, moved = found
        reason = _image_changed(folder, crop, entry.told.image_sha256)
        if reason is not None:
            result.changed.append((name, reason))
            continue
        change = _Change(entry, head.reviewer, changed_calls)
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
        if _moment(entry.told.time) > latest:
            result.ahead.append((name, entry.told.time))
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
        crop = self._crops.get(entry.told.path) if self._by_name else None
        if crop is not None:
            return self._problems.get(crop.path, (crop, False))
        same = self._by_image.get(entry.told.image_sha256, [])
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
        block = self.entry.block(self.reviewer)
        earlier = record.reviews
        if record.image.sha256 == self.entry.told.image_sha256:
            self.conflict = _conflict(block, earlier)
        if block in earlier:
            raise _Known
        if record.image.sha256 != self.entry.told.image_sha256:
            raise _Refused("its sidecar is of another image; run: ctcedge classify")
        if record.call != self.entry.was and not self.changed_calls:
            now = record.call or "unclassified"
            raise _Refused(f"the model's call was {self.entry.was} then, and is {now} now")
        *history, last = sorted([*earlier, block], key=lambda each: _moment(each.time))
        if last is not block:
            self.later = f"{last.reviewer} said {last.call} at {last.time}"
        review = ReviewRecord.of((*history, last))
        return msgspec.structs.replace(record, review=review)


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
