"""The cells of a report, read from the sidecars, in the order of the gallery."""

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
from ctcedge.results.image_warnings import is_contradiction
from ctcedge.results.samples import SampleCounter
from ctcedge.sidecars.scan import CONFLICTING_SIDECAR, CropRecord, ModelRef
from ctcedge.sidecars.schema import ReviewEntry, Sidecar


@dataclass(frozen=True, slots=True)
class Cell:
    """One classified bright-field crop.

    Attributes:
        crop: path, sample and cell.
        sha256: hash of the image that was classified.
        call: the model's call.
        probability: probability of CTC, at `prior`.
        prior: fraction of CTCs that `probability` assumes.
        score: the network's logit; None if it was not kept.
        reasons: codes that explain a review.
        cluster: whether the crop shows touching cells.
        model: the model that made the call.
        um_per_px: edge length of a pixel, um; None if unknown.
        um_per_px_assumed: whether the model's own um/px was assumed.
        um_per_px_file: um/px that the image file states; None where it states none.
        contradicts_file: whether another um/px was given.
        is_offset: whether its values are those of signed numbers that were written as unsigned.
        width: width of the crop, pixels.
        height: height of the crop, pixels.
        ood_p_value: fraction of in-distribution cells that are at least as far from the training
            data; None if unknown.
        reviews: reviews of this image, oldest first.
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
    um_per_px_file: float | None
    contradicts_file: bool
    is_offset: bool
    width: int
    height: int
    ood_p_value: float | None
    reviews: tuple[ReviewEntry, ...]

    @classmethod
    def from_sidecar(cls, crop: Crop, record: Sidecar) -> Cell | None:
        """Return the cell of a sidecar; None if the crop is not classified."""
        image = record.image
        if record.call is None or record.probability is None:
            return None
        if image.sha256 is None or image.width is None or image.height is None:
            return None
        return cls(
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
            um_per_px_file=image.um_per_px_file,
            contradicts_file=is_contradiction(image),
            is_offset=record.quality is not None and record.quality.offset is not None,
            width=image.width,
            height=image.height,
            ood_p_value=None if record.ood is None else record.ood.p_value,
            reviews=record.reviews_of_image,
        )

    @property
    def rank(self) -> tuple[object, ...]:
        """Sort key of the gallery: clusters first, then by falling likelihood ratio of a CTC.

        Probabilities at different priors are not comparable; likelihood ratios are.
        """
        log_ratio = _log_odds(self.probability) - _log_odds(self.prior)
        return (not self.cluster, -log_ratio, -(self.score or 0.0), self.crop.path)


class CallThresholds(NamedTuple):
    """Probabilities from which cells get a call.

    Attributes:
        operating_point: name of the operating point; None for the model's own thresholds.
        review: smallest probability of the call review; `ctc` if there is no review band.
        ctc: smallest probability of the call CTC.
    """

    operating_point: str | None
    review: float
    ctc: float

    @classmethod
    def from_sidecar(cls, record: Sidecar) -> CallThresholds:
        """Return the thresholds of a sidecar's call."""
        low, high = record.review_band
        ctc = max(record.threshold, high)
        return cls(record.operating_point, low if low < high else ctc, ctc)


@dataclass(slots=True)
class FolderContents:
    """Contents of a folder's sidecars.

    Attributes:
        cells: classified crops, in the order of the gallery.
        pending: number of crops without a usable sidecar, by reason.
        unclassified: number of crops that could not be classified, by error.
        models: number of sidecars by model.
        providers: number of sidecars by execution provider.
        versions: number of sidecars by version of ctcedge.
        contexts: number of sidecars by model, operating point and image settings.
        decisions: number of sidecars by thresholds.
        features: features of the crops, from which the domain shift of samples is computed.
        samples: counts by sample.
        newest: time of the newest call, RFC 3339; empty if there is none.
    """

    cells: list[Cell] = field(default_factory=list)
    pending: Counter[str] = field(default_factory=Counter)
    unclassified: Counter[str] = field(default_factory=Counter)
    models: Counter[ModelRef] = field(default_factory=Counter)
    providers: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    contexts: Counter[DecisionContext] = field(default_factory=Counter)
    decisions: Counter[CallThresholds] = field(default_factory=Counter)
    features: FolderFeatures = field(default_factory=FolderFeatures)
    samples: SampleCounter = field(default_factory=SampleCounter)
    newest: str = ""

    @property
    def crops(self) -> int:
        """Number of bright-field crops."""
        return len(self.cells) + self.unclassified.total() + self.pending.total()

    def collect(self, records: Iterable[CropRecord]) -> Iterator[CropRecord]:
        """Add each record, and yield those with a usable sidecar."""
        for record in records:
            if record.record is None:
                self.pending[_pending_reason(record)] += 1
                self.samples.add_pending(record.crop.sample)
                continue
            self._add(record.crop, record.record)
            yield record

    def _add(self, crop: Crop, record: Sidecar) -> None:
        self.samples.add_record(crop.sample, record)
        cell = Cell.from_sidecar(crop, record)
        if cell is None:
            self.unclassified[str(record.error)] += 1
            return
        with contextlib.suppress(ValueError):  # another number of features than in earlier sidecars
            self.features.add(cell.model, crop.sample, record)
        self.cells.append(cell)
        self.models[cell.model] += 1
        self.contexts[DecisionContext.of(record)] += 1
        self.decisions[CallThresholds.from_sidecar(record)] += 1
        self.providers[record.software.provider] += 1
        self.versions[record.software.ctcedge] += 1
        self.newest = max(self.newest, record.created)


def read_contents(records: Iterable[CropRecord]) -> tuple[FolderContents, Assessment]:
    """Read all records once; return their contents, and the statistics of their reviews."""
    contents = FolderContents()
    assessment = assess(contents.collect(records))
    contents.cells.sort(key=lambda cell: cell.rank)
    return contents, assessment


def _pending_reason(record: CropRecord) -> str:
    if record.problem is None:
        return "no sidecar"
    return "damaged sidecar" if record.damaged else CONFLICTING_SIDECAR


def _log_odds(probability: float) -> float:
    if not 0 < probability < 1:
        return math.inf if probability >= 1 else -math.inf
    return math.log(probability) - math.log1p(-probability)
