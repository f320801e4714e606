"""Results of each sample and of each patient: counts of cells, per mL, and what a person must see.

`SampleCounter` counts, and `SampleCounter.results` computes the records that the terminal,
`--json`, the report page and the tables show. A patient's numbers are the sums over the patient's
samples.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ctcedge.classification.ood import DomainShift
from ctcedge.fs.text import same_form
from ctcedge.model.folder import Model
from ctcedge.model.spec import ModelSpec
from ctcedge.records import plain
from ctcedge.results.controls import Control, DecisionContext, usable_controls
from ctcedge.results.domain_shift import FolderFeatures
from ctcedge.results.false_positives import FalsePositives, expected_false_positives
from ctcedge.results.sample_table import SampleTable
from ctcedge.sidecars.scan import CropRecord, ModelRef
from ctcedge.sidecars.schema import Sidecar

_DIGITS = 4  # after the decimal point, of counts per mL


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """Counts that a sample and a patient have.

    Attributes:
        volume_ml: volume of blood, mL; None where it is not known.
        cells: bright-field crops.
        ctc: cells called CTC, clusters included.
        review: cells called review.
        leukocyte: cells called leukocyte.
        unclassified: crops that could not be classified.
        pending: crops without a usable sidecar.
        clusters: cells whose crop shows touching cells, of any call.
        confirmed: cells that the latest review calls CTC, of the image that was classified.
        to_review: cells that a person must look at: called CTC or review, and not reviewed yet.
        ctc_per_ml: cells called CTC per mL.
        confirmed_per_ml: confirmed cells per mL.
        expected_false_positives: prediction for that many cells without a CTC; None where unknown.
    """

    volume_ml: float | None
    cells: int
    ctc: int
    review: int
    leukocyte: int
    unclassified: int
    pending: int
    clusters: int
    confirmed: int
    to_review: int
    ctc_per_ml: float | None
    confirmed_per_ml: float | None
    expected_false_positives: FalsePositives | None


class SampleResult(Counted, frozen=True, kw_only=True):
    """The results of one sample.

    Attributes:
        sample: its name in the paths.
        patient: its patient; None where the table of samples names none.
        kind: its kind; None where the table of samples names none.
        domain_shift: comparison with the training data; None where that is not possible.
    """

    sample: str
    patient: str | None
    kind: str | None
    domain_shift: DomainShift | None

    @property
    def is_shifted(self) -> bool:
        """Whether its images differ from the model's training data."""
        return self.domain_shift is not None and self.domain_shift.state == "shifted"

    @property
    def rank(self) -> tuple[Any, ...]:
        """Sort key: samples that need a person most come first."""
        needs = self.to_review, self.ctc, self.confirmed, self.unclassified + self.pending
        return (*(-count for count in needs), not self.is_shifted, self.sample)


class PatientResult(Counted, frozen=True, kw_only=True):
    """The results of one patient, over all samples of that patient.

    Attributes:
        patient: the name in the table of samples.
        samples: number of samples.
        shifted_samples: number of samples whose images differ from the training data.
    """

    patient: str
    samples: int
    shifted_samples: int


@dataclass(frozen=True, slots=True)
class SampleResults:
    """The results of a folder.

    Attributes:
        samples: by name.
        patients: by name; empty where the table of samples names none.
        missing: samples of the table that are not in the folder.
    """

    samples: list[SampleResult]
    patients: list[PatientResult]
    missing: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return the results for `--json`."""
        return {
            "samples": [plain(sample) for sample in self.samples],
            "patients": [plain(patient) for patient in self.patients],
            "samples_not_found": self.missing,
        }


@dataclass(slots=True)
class _Counts:
    calls: dict[str, int] = field(default_factory=dict)
    unclassified: int = 0
    pending: int = 0
    clusters: int = 0
    confirmed: int = 0
    to_review: int = 0
    contexts: set[DecisionContext] = field(default_factory=set)

    @property
    def classified(self) -> int:
        return sum(self.calls.values())


class SampleCounter:
    """Counts crops by sample. Memory grows with the number of samples, not of crops."""

    def __init__(self) -> None:
        self._samples: dict[str, _Counts] = {}

    def add(
        self,
        sample: str,
        call: str,
        *,
        cluster: bool,
        review: str | None,
        context: DecisionContext | None = None,
        count: int = 1,
    ) -> None:
        """Count a classified crop.

        Args:
            sample: its sample.
            call: its call.
            cluster: whether it shows touching cells.
            review: call of the latest review of this image, or None.
            context: what the call depends on; None where it is that of all crops.
            count: -1 to take back a crop that was counted before.
        """
        counts = self._of(sample)
        counts.calls[call] = counts.calls.get(call, 0) + count
        if cluster:
            counts.clusters += count
        if review == "CTC":
            counts.confirmed += count
        elif review is None and call != "leukocyte":
            counts.to_review += count
        if context is not None:
            counts.contexts.add(context)

    def add_record(self, sample: str, record: Sidecar) -> None:
        """Count the crop of a sidecar."""
        if record.call is None:
            self.add_unclassified(sample)
            return
        self.add(
            sample,
            record.call,
            cluster=record.cluster is True,
            review=record.reviewed_call,
            context=DecisionContext.of(record),
        )

    def add_unclassified(self, sample: str, count: int = 1) -> None:
        """Count a crop that could not be classified; arguments as of `add`."""
        self._of(sample).unclassified += count

    def add_pending(self, sample: str) -> None:
        """Count a crop without a usable sidecar."""
        self._of(sample).pending += 1

    @property
    def to_review(self) -> int:
        """Cells of all samples that a person must look at."""
        return sum(counts.to_review for counts in self._samples.values())

    def samples_with(self) -> dict[str, int]:
        """Return the number of samples with a classified cell, and with cells of some kinds."""
        classified = [counts for counts in self._samples.values() if counts.classified]
        return {
            "cells": len(classified),
            "ctc": sum(1 for counts in classified if counts.calls.get("CTC")),
            "review": sum(1 for counts in classified if counts.calls.get("review")),
            "cells_to_review": sum(1 for counts in classified if counts.to_review),
            "confirmed": sum(1 for counts in classified if counts.confirmed),
        }

    def results(
        self,
        table: SampleTable,
        domain_shift: Mapping[str, DomainShift],
        models: Mapping[str, ModelSpec],
        context: DecisionContext | None = None,
    ) -> SampleResults:
        """Return the results of the samples and patients.

        Args:
            table: the table of samples.
            domain_shift: of the samples, by name.
            models: specifications of the available models, by hash.
            context: what the calls depend on, where that is not counted by crop.
        """
        predict = _Predictor(models, usable_controls())
        samples, groups = [], _Groups()
        for name, counts in sorted(self._samples.items()):
            contexts = counts.contexts or ({context} if context else set())
            info = table.info(name)
            result = SampleResult(
                sample=name,
                patient=info.patient,
                kind=info.kind,
                domain_shift=domain_shift.get(name),
                **_counted(counts, info.volume_ml, predict(counts.classified, contexts)),
            )
            if counts.classified or counts.unclassified or counts.pending:
                samples.append(result)
                groups.add(result, counts, contexts)
        return SampleResults(
            samples, groups.patients(predict), table.missing(each.sample for each in samples)
        )

    def _of(self, sample: str) -> _Counts:
        counts = self._samples.get(sample)
        if counts is None:
            counts = self._samples[sample] = _Counts()
        return counts


def specs(models: Mapping[str, Model]) -> dict[str, ModelSpec]:
    """Return the specifications of models."""
    return {sha256: model.spec for sha256, model in models.items()}


def collect_results(
    crops: Iterable[CropRecord], table: SampleTable, models: Mapping[str, Model]
) -> SampleResults:
    """Count crops with their sidecars, and return the results of the samples and patients.

    Args:
        crops: the crops.
        table: the table of samples.
        models: the available models, by hash.
    """
    counter, features = SampleCounter(), FolderFeatures()
    for crop in crops:
        record = crop.record
        if record is None:
            counter.add_pending(crop.crop.sample)
            continue
        counter.add_record(crop.crop.sample, record)
        if record.call is not None:
            with contextlib.suppress(ValueError):  # another number of features than before
                features.add(ModelRef.of(record), crop.crop.sample, record)
    return counter.results(table, features.domain_shift(models).samples, specs(models))


class _Predictor:
    """Predicts false positives; the controls are read once."""

    def __init__(self, models: Mapping[str, ModelSpec], controls: list[Control]) -> None:
        self._models = models
        self._controls = controls

    def __call__(self, cells: int, contexts: set[DecisionContext]) -> FalsePositives | None:
        """Return the prediction for that many cells; None where they have several contexts."""
        if len(contexts) != 1:
            return None
        (context,) = contexts
        spec = self._models.get(context.model_sha256)
        return expected_false_positives(cells, context, spec, self._controls)


class _Groups:
    """Samples by patient."""

    def __init__(self) -> None:
        self._samples: dict[str, list[SampleResult]] = {}
        self._counts: dict[str, _Counts] = {}

    def add(self, sample: SampleResult, counts: _Counts, contexts: set[DecisionContext]) -> None:
        if sample.patient is None:
            return
        patient = same_form(sample.patient)
        self._samples.setdefault(patient, []).append(sample)
        total = self._counts.setdefault(patient, _Counts())
        for call, count in counts.calls.items():
            total.calls[call] = total.calls.get(call, 0) + count
        total.unclassified += counts.unclassified
        total.pending += counts.pending
        total.clusters += counts.clusters
        total.confirmed += counts.confirmed
        total.to_review += counts.to_review
        total.contexts |= contexts

    def patients(self, predict: _Predictor) -> list[PatientResult]:
        results = []
        for patient, samples in sorted(self._samples.items()):
            total = self._counts[patient]
            volumes = [sample.volume_ml for sample in samples]
            known = [volume for volume in volumes if volume is not None]
            volume = sum(known) if len(known) == len(volumes) else None
            result = PatientResult(
                patient=samples[0].patient or "",
                samples=len(samples),
                shifted_samples=sum(sample.is_shifted for sample in samples),
                **_counted(total, volume, predict(total.classified, total.contexts)),
            )
            results.append(result)
        return results


def _counted(
    counts: _Counts, volume: float | None, expected: FalsePositives | None
) -> dict[str, Any]:
    """Return the values of `Counted`."""
    ctc = counts.calls.get("CTC", 0)
    return {
        "volume_ml": volume,
        "cells": counts.classified + counts.unclassified + counts.pending,
        "ctc": ctc,
        "review": counts.calls.get("review", 0),
        "leukocyte": counts.calls.get("leukocyte", 0),
        "unclassified": counts.unclassified,
        "pending": counts.pending,
        "clusters": counts.clusters,
        "confirmed": counts.confirmed,
        "to_review": counts.to_review,
        "ctc_per_ml": _per_ml(ctc, volume),
        "confirmed_per_ml": _per_ml(counts.confirmed, volume),
        "expected_false_positives": expected,
    }


def _per_ml(count: int, volume: float | None) -> float | None:
    return None if volume is None else round(count / volume, _DIGITS)
