"""What a report shows of each cell, read from the sidecars, in the order of the gallery."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ctcedge.discovery.naming import Crop
from ctcedge.results.agreement import Assessment, assess
from ctcedge.results.controls import DecisionContext
from ctcedge.results.domain_shift import FolderFeatures
from ctcedge.sidecars.scan import CropRecord, ModelRef
from ctcedge.sidecars.schema import ReviewEntry, Sidecar

IN_THE_WAY = "sidecar in the way: another sample's, a newer ctcedge's, or not readable"


@dataclass(frozen=True, slots=True)
class Cell:
    """One classified bright-field crop.

    Attributes:
        crop: where it lies, its sample and cell.
        sha256: of its image when it was called.
        call: the model's.
        probability: of CTC, at `prior`.
        prior: share of CTCs that `probability` assumes.
        score: the network's logit; None where it was not kept.
        reasons: codes that explain a review.
        cluster: whether the crop shows touching cells.
        model: which one called it.
        um_per_px: edge length of a pixel, um; None where it is not known.
        um_per_px_assumed: whether the model's own was taken for it.
        width: of the crop, pixels.
        height: of the crop, pixels.
        unlike: share of cells like those of training that are at least as unlike them; None where
            it is not known.
        reviews: by persons, of this image, the oldest first.
    """

    crop: Crop
    sha256: str
    call: str
    probability: float
    prior: float
    score: float | None
    reasons: tuple[str, ...]
    cluster: bool
    model: ModelRef
    um_per_px: float | None
    um_per_px_assumed: bool
    width: int
    height: int
    unlike: float | None
    reviews: tuple[ReviewEntry, ...]

    @property
    def rank(self) -> tuple[object, ...]:
        """Place in the gallery: clusters, then by how much the image itself speaks for a CTC.

        Probabilities at different priors compare only when each is freed of its own.
        """
        odds = _log_odds(self.probability) - _log_odds(self.prior)
        return (not self.cluster, -odds, -(self.score or 0.0), self.crop.path)


class Decided(NamedTuple):
    """From which probability on a cell is called what.

    Attributes:
        operating_point: its name; None for the model's own decision.
        review: least probability of the call review; `ctc` where there is no review band.
        ctc: least probability of the call CTC.
    """

    operating_point: str | None
    review: float
    ctc: float

    @classmethod
    def of(cls, record: Sidecar) -> Decided:
        """The thresholds by which a sidecar's call was made."""
        low, high = record.review_band
        least = max(record.threshold, high)
        return cls(record.operating_point, low if low < high else least, least)


@dataclass(slots=True)
class Gathered:
    """All that the sidecars of a folder say.

    Attributes:
        cells: classified crops, in the order of the gallery.
        pending: crops without a usable sidecar, by reason.
        unclassified: crops that could not be classified, by reason.
        models: sidecars by model.
        providers: sidecars by where the network ran.
        versions: sidecars by ctcedge's version.
        rules: sidecars by what decided.
        decisions: sidecars by where it decided.
        traits: by which samples are compared with the training data.
        newest: when the newest call was made, RFC 3339; empty where there is none.
    """

    cells: list[Cell] = field(default_factory=list)
    pending: Counter[str] = field(default_factory=Counter)
    unclassified: Counter[str] = field(default_factory=Counter)
    models: Counter[ModelRef] = field(default_factory=Counter)
    traits: FolderFeatures = field(default_factory=FolderFeatures)
    providers: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    rules: Counter[DecisionContext] = field(default_factory=Counter)
    decisions: Counter[Decided] = field(default_factory=Counter)
    newest: str = ""

    @property
    def crops(self) -> int:
        """All bright-field crops."""
        return len(self.cells) + self.unclassified.total() + self.pending.total()

    def taking(self, found: Iterable[CropRecord]) -> Iterator[CropRecord]:
        """Take from each record what a report needs, and pass on the usable ones."""
        for each in found:
            if each.record is None:
                self.pending[_why_pending(each)] += 1
                continue
            self._take(each.crop, each.record)
            yield each

    def _take(self, crop: Crop, record: Sidecar) -> None:
        cell = _cell(crop, record)
        if cell is None:
            self.unclassified[str(record.error)] += 1
            return
        with contextlib.suppress(ValueError):  # not as many features as in the sidecars before
            self.traits.add(cell.model, crop.sample, record)
        self.cells.append(cell)
        self.models[cell.model] += 1
        self.rules[DecisionContext.of(record)] += 1
        self.decisions[Decided.of(record)] += 1
        self.providers[record.software.provider] += 1
        self.versions[record.software.ctcedge] += 1
        self.newest = max(self.newest, record.created)


def _why_pending(found: CropRecord) -> str:
    if found.problem is None:
        return "no sidecar"
    return "sidecar not whole" if found.damaged else IN_THE_WAY


def gather(found: Iterable[CropRecord]) -> tuple[Gathered, Assessment]:
    """Read all records once: what they say, and what the reviews among them say."""
    gathered = Gathered()
    assessment = assess(gathered.taking(found))
    gathered.cells.sort(key=lambda cell: cell.rank)
    return gathered, assessment


def _cell(crop: Crop, record: Sidecar) -> Cell | None:
    """A cell of the report; None where the crop is not classified."""
    image = record.image
    if record.call is None or record.probability is None:
        return None
    if image.sha256 is None or image.width is None or image.height is None:
        return None
    return Cell(
        crop=crop,
        sha256=image.sha256,
        call=record.call,
        probability=record.probability,
        prior=record.prior,
        score=record.score,
        reasons=record.reasons,
        cluster=record.cluster is True,
        model=ModelRef.of(record),
        um_per_px=image.um_per_px,
        um_per_px_assumed=image.um_per_px_assumed,
        width=image.width,
        height=image.height,
        unlike=None if record.ood is None else record.ood.p_value,
        reviews=record.reviews_of_image,
    )


def _log_odds(probability: float) -> float:
    if not 0 < probability < 1:
        return math.inf if probability >= 1 else -math.inf
    return math.log(probability) - math.log1p(-probability)
