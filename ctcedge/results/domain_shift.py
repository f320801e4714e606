"""Domain shift of a folder's samples against the training data of their model, from sidecars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ctcedge.classification.ood import DomainShift, OodDetector, RunFeatures
from ctcedge.errors import ModelError
from ctcedge.model.folder import Model
from ctcedge.sidecars.scan import ModelRef
from ctcedge.sidecars.schema import Sidecar


@dataclass(frozen=True, slots=True)
class FolderDomainShift:
    """Domain shift of each sample and of the folder as a whole.

    Attributes:
        samples: by name; where several models classified a sample, the largest shift among them.
        overall: of all samples pooled, which detects a shift that is too small to show in any of
            them; None where it is unknown, or several models made the calls.
    """

    samples: dict[str, DomainShift]
    overall: DomainShift | None

    def shifted_samples(self) -> list[str]:
        """Return the names of samples that differ from the training data, sorted."""
        return sorted(name for name, shift in self.samples.items() if shift.state == "shifted")

    @property
    def only_overall_shifted(self) -> bool:
        """Whether the pooled samples differ from the training data, but no sample by itself."""
        overall = self.overall
        return overall is not None and overall.state == "shifted" and not self.shifted_samples()


@dataclass(slots=True)
class FolderFeatures:
    """Features of a folder's crops, pooled by model, and by model and sample."""

    _by_model: dict[ModelRef, RunFeatures] = field(default_factory=dict)
    _by_sample: dict[tuple[ModelRef, str], RunFeatures] = field(default_factory=dict)

    def add(self, model: ModelRef, sample: str, record: Sidecar) -> None:
        """Add the features in a sidecar, if it has any.

        Raises:
            ValueError: their number differs from that of earlier crops.
        """
        if record.ood is None or not record.ood.features:
            return
        self._by_model.setdefault(model, RunFeatures()).add(record.ood.features)
        self._by_sample.setdefault((model, sample), RunFeatures()).add(record.ood.features)

    def domain_shift(self, models: Mapping[str, Model]) -> FolderDomainShift:
        """Compare the samples with the training data of their models.

        Args:
            models: the available models, by hash.
        """
        detectors = {
            model: detector
            for model in self._by_model
            if model.sha256 in models and (detector := _detector(models[model.sha256]))
        }
        samples: dict[str, DomainShift] = {}
        for (model, sample), features in self._by_sample.items():
            shift = _domain_shift(detectors.get(model), features)
            if shift is None:
                continue
            if sample not in samples or (shift.distance or 0) > (samples[sample].distance or 0):
                samples[sample] = shift
        overall = None
        if len(self._by_model) == 1:
            ((model, features),) = self._by_model.items()
            overall = _domain_shift(detectors.get(model), features)
        return FolderDomainShift(samples, overall)


def _detector(model: Model) -> OodDetector | None:
    try:
        return OodDetector.load(model)
    except ModelError:
        return None


def _domain_shift(detector: OodDetector | None, features: RunFeatures) -> DomainShift | None:
    try:
        return None if detector is None else detector.domain_shift(features)
    except ValueError:  # another model's features, despite the model's name in the sidecars
        return None
