"""Summary of a run of `classify` or `watch`: counts, and the record that `--json` prints."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from ctcedge.classification.ood import OodDetector, RunFeatures
from ctcedge.discovery.naming import Skipped
from ctcedge.pipeline.outcome import Outcome, TallyKey
from ctcedge.pipeline.run import Run
from ctcedge.records import plain
from ctcedge.results.controls import DecisionContext
from ctcedge.results.domain_shift import FolderDomainShift
from ctcedge.results.false_positives import FalsePositives, expected_false_positives
from ctcedge.results.image_warnings import ImageWarnings
from ctcedge.results.sample_table import SampleTable
from ctcedge.results.samples import PatientResult, SampleCounter, SampleResult, SampleResults
from ctcedge.results.tally import Tally
from ctcedge.version import __version__


class UnclassifiedCrop(msgspec.Struct, frozen=True):
    """A crop without a call, and the reason."""

    path: str
    error: str


class NotUnderstoodImage(msgspec.Struct, frozen=True):
    """A file that looks like an image and is neither a crop nor another channel of one."""

    path: str
    reason: str


class DamagedSidecar(msgspec.Struct, frozen=True):
    """A damaged sidecar, by path of its crop, and the name under which it was kept."""

    path: str
    kept_as: str


class SummaryModel(msgspec.Struct, frozen=True):
    """The model of a run."""

    name: str
    version: str
    sha256: str
    variant: str
    demonstration: bool


class SummarySoftware(msgspec.Struct, frozen=True):
    """Versions of the software of a run."""

    ctcedge: str
    onnxruntime: str


class SummaryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The summary of a run as `--json` prints it, `ctcedge/summary/1`.

    Attributes:
        finished: whether all crops were processed; false after an interruption.
        complete: whether `finished`, and every image has a call.
        folder: the searched folder.
        out: root of the sidecars.
        crops: number of processed crops.
        written: sidecars written for new or changed crops.
        rescored: written sidecars whose call was made from a stored score, without inference.
        upgraded: sidecars of an older schema that were rewritten.
        current: sidecars that were up to date.
        vanished: images that were removed meanwhile.
        calls: classified crops by call.
        clusters: crops that show touching cells, by call.
        review_reasons: crops called review by reason.
        domain_shift: comparison with the training data, by sample and overall.
        samples: the results of each sample.
        patients: the results of each patient that the table of samples names.
        samples_not_found: samples of that table that are not in the folder.
        expected_false_positives: prediction for a run of this size; null where unknown.
        operating_point: operating point; null for the model's own thresholds.
        prior: fraction of CTCs that the probabilities assume.
        threshold: smallest probability of the call CTC.
        review_band: [low, high]: a probability in low <= p < high is called review.
        unclassified: crops without a call.
        not_understood: files that look like images, whose names fit no rule.
        damaged_sidecars: damaged sidecars that were kept under another name.
        model: the model.
        provider: execution provider of the network.
        provider_reason: how the provider was chosen.
        warnings: what is odd about the images of the crops that were newly classified.
        um_per_px_assumed: whether the um/px of some crop was neither given nor stated by its file,
            and the model's own is assumed.
        software: versions.
        parameters: what files `Parameters.txt` say, by their paths.
    """

    schema: Literal["ctcedge/summary/1"] = "ctcedge/summary/1"
    finished: bool
    complete: bool
    folder: str
    out: str
    crops: int
    written: int
    rescored: int
    upgraded: int
    current: int
    vanished: int
    calls: dict[str, int]
    clusters: dict[str, int]
    review_reasons: dict[str, int]
    domain_shift: FolderDomainShift
    samples: list[SampleResult]
    patients: list[PatientResult]
    samples_not_found: list[str]
    expected_false_positives: FalsePositives | None
    operating_point: str | None
    prior: float
    threshold: float
    review_band: tuple[float, float]
    unclassified: list[UnclassifiedCrop]
    not_understood: list[NotUnderstoodImage]
    damaged_sidecars: list[DamagedSidecar]
    model: SummaryModel
    provider: str
    provider_reason: str
    warnings: list[str]
    parameters: dict[str, dict[str, str]]
    um_per_px_assumed: bool
    software: SummarySoftware


@dataclass(slots=True)
class Summary:
    """Counts of a run; each crop counts once, even where `watch` classified it several times.

    Attributes:
        done: outcomes by kind (`written`, `current`, ...).
        rescored: written sidecars whose call was made from a stored score.
        tally: classified crops, new and current.
        unclassified: reason by path of each crop without a call.
        not_understood: files that look like images, whose names fit no rule.
        kept_aside: names under which damaged sidecars were kept, by path of the crop.
        image_warnings: of the crops whose sidecars were written or read.
        stated_um_per_px: what the first crop states; None where it states none.
        ood_detector: detector of the model, for domain shift; None where the model has no feature
            statistics.
        parameters: what files `Parameters.txt` say, by their paths.
        sample_table: patients and volumes of the samples.
        samples: counts by sample.
    """

    done: Counter[str] = field(default_factory=Counter)
    rescored: int = 0
    tally: Tally = field(default_factory=Tally)
    unclassified: dict[str, str] = field(default_factory=dict)
    not_understood: list[Skipped] = field(default_factory=list)
    kept_aside: dict[str, str] = field(default_factory=dict)
    image_warnings: ImageWarnings = field(default_factory=ImageWarnings)
    stated_um_per_px: float | None = None
    ood_detector: OodDetector | None = None
    parameters: dict[str, dict[str, str]] = field(default_factory=dict)
    sample_table: SampleTable = field(default_factory=SampleTable)
    samples: SampleCounter = field(default_factory=SampleCounter)
    _features: dict[str, RunFeatures] = field(default_factory=dict)
    _all_features: RunFeatures = field(default_factory=RunFeatures)

    def add(self, outcome: Outcome) -> str | None:
        """Count one outcome; return a warning about its image, the first time that there is one."""
        path, sample = outcome.crop.path, outcome.crop.sample
        if self.unclassified.pop(path, None) is not None:
            self.samples.add_unclassified(sample, -1)
        if outcome.error is not None:
            self.unclassified[path] = outcome.error
            self.samples.add_unclassified(sample)
        if outcome.kept_aside is not None:
            self.kept_aside[path] = outcome.kept_aside
        if outcome.done == "deferred":
            return None
        self._count(sample, outcome.tally_key, 1)
        replaced = outcome.replaces
        if replaced is not None:
            self._count(sample, replaced, -1)
        if outcome.ood_features and (replaced is None or replaced.call is None):
            self._features.setdefault(sample, RunFeatures()).add(outcome.ood_features)
            self._all_features.add(outcome.ood_features)
        record = outcome.record
        return self.image_warnings.add(record) if record and record.call is not None else None

    def domain_shift(self) -> FolderDomainShift:
        """Compare each sample, and all together, with the training data.

        Returns:
            The comparison; empty where the model has no feature statistics.
        """
        detector = self.ood_detector
        if detector is None:
            return FolderDomainShift({}, None)
        samples = {
            sample: detector.domain_shift(features) for sample, features in self._features.items()
        }
        overall = detector.domain_shift(self._all_features) if self._all_features.crops else None
        return FolderDomainShift(samples, overall)

    def false_positives(self, run: Run) -> FalsePositives | None:
        """Predict the false positives of a run of this size; None where no rate was measured."""
        spec = run.classifier.model.spec
        return expected_false_positives(self.tally.calls.total(), _context(run), spec)

    def sample_results(self, run: Run) -> SampleResults:
        """Return the results of each sample and patient."""
        model, shifts = run.classifier.model, self.domain_shift().samples
        specs = {model.sha256: model.spec}
        return self.samples.results(self.sample_table, shifts, specs, _context(run))

    def record(self, run: Run, *, finished: bool) -> SummaryRecord:
        """Return the summary as a record.

        Args:
            run: the run.
            finished: whether all crops were processed.
        """
        classifier = run.classifier
        spec, rule, engine = classifier.model.spec, classifier.rule, classifier.engine
        counts = self.tally.as_json()
        results = self.sample_results(run)
        return SummaryRecord(
            finished=finished,
            complete=finished and not self.unclassified and not self.not_understood,
            folder=str(run.folder),
            out=str(run.sidecars.root),
            crops=self.done.total(),
            written=self.done["written"],
            rescored=self.rescored,
            upgraded=self.done["upgraded"],
            current=self.done["current"],
            vanished=self.done["vanished"],
            calls=counts["calls"],
            clusters=counts["clusters"],
            review_reasons=counts["review_reasons"],
            domain_shift=self.domain_shift(),
            samples=results.samples,
            patients=results.patients,
            samples_not_found=results.missing,
            expected_false_positives=self.false_positives(run),
            operating_point=rule.operating_point,
            prior=rule.prior,
            threshold=rule.threshold,
            review_band=rule.review_band,
            unclassified=[UnclassifiedCrop(*item) for item in self.unclassified.items()],
            not_understood=[
                NotUnderstoodImage(entry.path, entry.reason) for entry in self.not_understood
            ],
            damaged_sidecars=[DamagedSidecar(*item) for item in self.kept_aside.items()],
            model=SummaryModel(
                name=spec.name,
                version=spec.version,
                sha256=classifier.model.sha256,
                variant=engine.variant,
                demonstration=spec.demonstration,
            ),
            provider=engine.provider,
            provider_reason=engine.reason,
            warnings=self.image_warnings.texts(),
            parameters=self.parameters,
            um_per_px_assumed=self._is_um_per_px_assumed(run),
            software=SummarySoftware(
                ctcedge=__version__, onnxruntime=classifier.onnxruntime_version
            ),
        )

    def _is_um_per_px_assumed(self, run: Run) -> bool:
        given = run.settings.images.um_per_px is not None
        if given or run.classifier.model.spec.input.um_per_px is None:
            return False
        # Crops that were done before are not read: the first one speaks for them.
        before = self.image_warnings.crops == 0 and self.stated_um_per_px is None
        return self.image_warnings.assumed > 0 or before

    def as_json(self, run: Run, *, finished: bool) -> dict[str, Any]:
        """Return the summary for `--json`; arguments as of `record`."""
        return plain(self.record(run, finished=finished))

    def _count(self, sample: str, key: TallyKey, count: int) -> None:
        self.done[key.done] += count
        self.rescored += count * key.rescored
        if key.call is not None:
            self.tally.add(key.call, key.reasons, cluster=key.cluster, count=count)
            self.samples.add(sample, key.call, cluster=key.cluster, review=key.review, count=count)


def _context(run: Run) -> DecisionContext:
    classifier = run.classifier
    inference = run.fingerprint.inference_sha256
    return DecisionContext(classifier.model.sha256, classifier.rule.operating_point, inference)
