"""What became of a crop, as a run reports it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from ctcedge.discovery.naming import Crop
from ctcedge.sidecars.index import IndexEntry
from ctcedge.sidecars.schema import Sidecar

DoneKind: TypeAlias = Literal[
    "written", "upgraded", "current", "vanished", "deferred", "not-written"
]


class TallyKey(NamedTuple):
    """The parts of an outcome that a summary counts.

    Attributes:
        done: what was done.
        call: the call, where there is one.
        reasons: codes of the reasons for review.
        cluster: whether the crop shows touching cells.
        rescored: whether the call was made from a stored score, without inference.
    """

    done: DoneKind
    call: str | None = None
    reasons: tuple[str, ...] = ()
    cluster: bool = False
    rescored: bool = False
    review: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one crop.

    Attributes:
        crop: the crop.
        done: `written`: a new sidecar; `upgraded`: a current sidecar of an older schema was
            rewritten in the present one; `current`: there was one already; `vanished`: the image is
            gone; `deferred`: to be tried again later; `not-written`: the sidecar's path refused it,
            or the image cannot be read now, but could be before.
        record: the content of the sidecar; None where there is none, or it was not read.
        error: why the crop is not classified, or None.
        replaces: outcome of the same crop earlier in the run, where `watch` classified it again.
        index_entry: entry of the index for a current sidecar, which then was not read.
        rescored: whether the call was made from a stored score, without inference.
        kept_aside: name under which a damaged sidecar was kept, beside the new one; None where
            there was none.
    """

    crop: Crop
    done: DoneKind
    record: Sidecar | None = None
    error: str | None = None
    replaces: TallyKey | None = None
    index_entry: IndexEntry | None = None
    rescored: bool = False
    kept_aside: str | None = None

    @property
    def tally_key(self) -> TallyKey:
        """The parts of it that a summary counts."""
        if (entry := self.index_entry) is not None:
            return TallyKey(
                self.done, entry.call, entry.reasons, entry.cluster, review=entry.review
            )
        record = self.record
        if record is None or record.call is None:
            return TallyKey(self.done)
        cluster = record.cluster is True
        return TallyKey(
            self.done, record.call, record.reasons, cluster, self.rescored, record.reviewed_call
        )

    @property
    def call(self) -> str | None:
        """The call, where there is one."""
        return self.tally_key.call

    @property
    def is_unread(self) -> bool:
        """Whether the image could not be read at all, which may be temporary."""
        record = self.record
        return record is not None and record.status == "unreadable" and record.image.sha256 is None

    @property
    def ood_features(self) -> Sequence[float]:
        """Features by which the crop's run is compared with the training data; may be empty."""
        if self.index_entry is not None:
            return self.index_entry.features
        ood = self.record and self.record.ood
        return ood.features if ood else ()


def index_entry(outcome: Outcome) -> IndexEntry:
    """The entry of the index for a crop that is done."""
    key = outcome.tally_key
    return IndexEntry(
        key.call, key.reasons, key.cluster, outcome.error, outcome.ood_features, key.review
    )


def indexed_outcome(crop: Crop, entry: IndexEntry) -> Outcome:
    """The outcome of a crop that the index knows as done."""
    return Outcome(crop, "current", error=entry.error, index_entry=entry)


def unclassified_reason(sidecar: Sidecar) -> str | None:
    """Why a crop is not classified; None where it is."""
    return None if sidecar.status == "classified" else f"{sidecar.status}: {sidecar.error}"
