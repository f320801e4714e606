"""Whether the samples of a folder are like what their model was trained on, from its sidecars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ctcedge.classification.ood import Guard, Likeness, RunTraits
from ctcedge.errors import ModelError
from ctcedge.model.folder import Model
from ctcedge.sidecars.scan import ModelSeen
from ctcedge.sidecars.store import Record


@dataclass(frozen=True, slots=True)
class Compared:
    """What is like the training data, as far as that can be told.

    Attributes:
        samples: by name; of several models, what the one says that finds it farthest away.
        together: all samples as one, which tells more where each is small; None where that is not
            known, or several models made the calls.
    """

    samples: dict[str, Likeness]
    together: Likeness | None

    def unlike(self) -> list[str]:
        """Samples unlike the training data."""
        return sorted(name for name, each in self.samples.items() if each.state == "unlike")

    @property
    def unlike_together(self) -> bool:
        """Whether all together are unlike the training data, though no sample alone is."""
        together = self.together
        return together is not None and together.state == "unlike" and not self.unlike()


@dataclass(slots=True)
class FolderTraits:
    """The traits of a folder's crops, by model, and by model and sample."""

    _all: dict[ModelSeen, RunTraits] = field(default_factory=dict)
    _samples: dict[tuple[ModelSeen, str], RunTraits] = field(default_factory=dict)

    def add(self, seen: ModelSeen, sample: str, record: Record) -> None:
        """Take what a sidecar keeps, if it keeps any.

        Raises:
            ValueError: they do not go with those before.
        """
        unlike = record["unlike"]
        if unlike is None or not unlike["traits"]:
            return
        self._all.setdefault(seen, RunTraits()).add(unlike["traits"])
        self._samples.setdefault((seen, sample), RunTraits()).add(unlike["traits"])

    def compared(self, models: Mapping[str, Model]) -> Compared:
        """Compare with what the models were trained on.

        Args:
            models: those at hand, by their hash.
        """
        guards = {
            seen: guard
            for seen in self._all
            if seen.sha256 in models and (guard := _guard(models[seen.sha256]))
        }
        samples: dict[str, Likeness] = {}
        for (seen, sample), traits in self._samples.items():
            each = _likeness(guards.get(seen), traits)
            if each is None:
                continue
            if sample not in samples or (each.distance or 0) > (samples[sample].distance or 0):
                samples[sample] = each
        together = None
        if len(self._all) == 1:
            ((seen, traits),) = self._all.items()
            together = _likeness(guards.get(seen), traits)
        return Compared(samples, together)


def _guard(model: Model) -> Guard | None:
    try:
        return Guard.of(model)
    except ModelError:
        return None


def _likeness(guard: Guard | None, traits: RunTraits) -> Likeness | None:
    try:
        return None if guard is None else guard.likeness(traits)
    except ValueError:  # not this model's traits, whatever the sidecars say
        return None
