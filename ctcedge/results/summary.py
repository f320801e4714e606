"""Counts of a run of `classify` or `watch`, and the JSON that they print."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from ctcedge.classification.ood import DomainShift, OodDetector, RunFeatures
from ctcedge.pipeline.outcome import Outcome, TallyKey
from ctcedge.pipeline.run import Run
from ctcedge.results.controls import DecisionContext
from ctcedge.results.false_positives import FalsePositives, expected_false_positives
from ctcedge.results.tally import Tally
from ctcedge.version import __version__

SUMMARY_SCHEMA = "ctcedge/summary/1"


@dataclass(slots=True)
class Summary:
    """Counts of a run, each crop once, however often `watch` did it.

    Attributes:
        done: outcomes by what was done (`written`, `current`, ...).
        rescored: of the written, those whose call was made from a stored score.
        tally: classified crops, whether new or current.
        unclassified: why, by path, of every crop that stands unclassified.
        kept_aside: names under which damaged sidecars were kept, by path of the crop.
        ood_detector: of the model, for each sample's domain shift; None where the model has no
            feature statistics.
    """

    done: Counter[str] = field(default_factory=Counter)
    rescored: int = 0
    tally: Tally = field(default_factory=Tally)
    unclassified: dict[str, str] = field(default_factory=dict)
    kept_aside: dict[str, str] = field(default_factory=dict)
    ood_detector: OodDetector | None = None
    _traits: dict[str, RunFeatures] = field(default_factory=dict)
    _all_traits: RunFeatures = field(default_factory=RunFeatures)

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.unclassified.pop(outcome.crop.path, None)
        if outcome.error is not None:
            self.unclassified[outcome.crop.path] = outcome.error
        if outcome.kept_aside is not None:
            self.kept_aside[outcome.crop.path] = outcome.kept_aside
        if outcome.done == "deferred":
            return
        self._count(outcome.tally_key, 1)
        before = outcome.replaces
        if before is not None:
            self._count(before, -1)
        if outcome.ood_features and (before is None or before.call is None):
            self._traits.setdefault(outcome.crop.sample, RunFeatures()).add(outcome.ood_features)
            self._all_traits.add(outcome.ood_features)

    def _count(self, counted: TallyKey, times: int) -> None:
        self.done[counted.done] += times
        self.rescored += times * counted.rescored
        if counted.call is not None:
            self.tally.add(counted.call, counted.reasons, cluster=counted.cluster, count=times)

    def domain_shift(self) -> dict[str, DomainShift]:
        """Whether each sample is like the training data; empty where the model does not tell."""
        if self.ood_detector is None:
            return {}
        return {sample: self.ood_detector.domain_shift(run) for sample, run in self._traits.items()}

    def likeness_together(self) -> DomainShift | None:
        """The same of all samples together, which tells more where each is small."""
        if self.ood_detector is None or not self._all_traits.crops:
            return None
        return self.ood_detector.domain_shift(self._all_traits)

    def false_positives(self, run: Run) -> FalsePositives | None:
        """False CTC calls to expect at this size; None where nobody measured them here."""
        model, rule = run.classifier.model, run.classifier.rule
        inference = run.fingerprint.inference_sha256
        context = DecisionContext(model.sha256, rule.operating_point, inference)
        return expected_false_positives(self.tally.calls.total(), context, model.spec)

    def as_json(self, run: Run, *, finished: bool) -> dict[str, Any]:
        """The machine-readable summary."""
        spec, rule = run.classifier.model.spec, run.classifier.rule
        engine = run.classifier.engine
        false_positives, together = self.false_positives(run), self.likeness_together()
        return {
            "schema": SUMMARY_SCHEMA,
            "finished": finished,
            "folder": str(run.folder),
            "out": str(run.sidecars.root),
            "crops": sum(self.done.values()),
            "written": self.done["written"],
            "rescored": self.rescored,
            "upgraded": self.done["upgraded"],
            "current": self.done["current"],
            "vanished": self.done["vanished"],
            **self.tally.as_json(),
            "likeness": {sample: asdict(each) for sample, each in self.domain_shift().items()},
            "likeness_together": together and asdict(together),
            "expected_false_positives": false_positives and false_positives.as_json(),
            "operating_point": rule.operating_point,
            "prior": rule.prior,
            "threshold": rule.threshold,
            "review_band": list(rule.review_band),
            "unclassified": [{"path": p, "error": error} for p, error in self.unclassified.items()],
            "damaged_sidecars": [
                {"path": path, "kept_as": name} for path, name in self.kept_aside.items()
            ],
            "model": {
                "name": spec.name,
                "version": spec.version,
                "sha256": run.classifier.model.sha256,
                "variant": engine.variant,
                "demonstration": spec.demonstration,
            },
            "provider": engine.provider,
            "provider_reason": engine.why,
            "um_per_px_assumed": (
                run.settings.images.um_per_px is None and spec.input.um_per_px is not None
            ),
            "software": {
                "ctcedge": __version__,
                "onnxruntime": run.classifier.onnxruntime_version,
            },
        }
