"""Do sidecars still say what they said, of the images that lie there now?

Every image is hashed. A sample of the calls, or all, is made again by the runtime's own code: the
image is decoded, made ready and gated, the network runs, and the model's decision at the operating
point and the prevalence that the sidecar names is applied. What counts as the same:

- The call and its probability must follow exactly from the score and the doubts that are stored.
- The score must be computed again: its probability, at the model's prior, within the tolerance of
  the model's golden outputs. Where another graph of the model runs here than ran then, each graph's
  largest difference from the trained network (`parity`) comes on top.
- The quality gate must find the same, and the crop must be as unlike the training data, unless its
  distance from these has moved by less than 5 % only.
"""

from __future__ import annotations

import hashlib
import heapq
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ctcedge.classification.analysis import CellAnalysis
from ctcedge.classification.classifier import Classifier, Seen
from ctcedge.classification.decision import Policy, probability
from ctcedge.classification.fingerprints import inference_sha256, recorded_pixel_size
from ctcedge.discovery.naming import SIDECAR_SUFFIX, Crop, Naming
from ctcedge.errors import BadImage, ModelError, ProviderError, SettingsError
from ctcedge.images.decode import decode
from ctcedge.images.read import read_file
from ctcedge.images.sandbox import CRASHED, decode_in_subprocess
from ctcedge.model.folder import Model, load_model, models_at_hand
from ctcedge.settings import DecisionSettings, ProviderChoice
from ctcedge.sidecars.scan import Closed, ModelRef, read_current_image, require_sidecars
from ctcedge.sidecars.schema import Sidecar
from ctcedge.sidecars.store import NotWritten, SidecarStore

SAMPLE = 200
"""Calls that are made again unless told otherwise."""

_BATCH = 64
_MOVED = 0.05

_Key = tuple[str, ProviderChoice]
"""Hash of a model and the provider on which it ran."""

Named = tuple[str, str]
"""A path and what is the matter with it."""


@dataclass(slots=True)
class Verified:
    """What was found.

    Attributes:
        folder: the searched folder.
        crops: bright-field crops.
        sidecars: of these, with a sidecar.
        same_image: sidecars whose image has the stored hash.
        changed: whose image has not, or cannot be read now.
        orphans: sidecars without a crop.
        unusable: sidecars that cannot be read, or are another's.
        chosen: sidecars that were to be made again.
        reproduced: of these, the same.
        different: of these, not the same.
        other_rules: of these, made by other rules than those of this ctcedge.
        models: sidecars by model.
        missing_models: models that made sidecars and are not here.
        damaged: models that are here with other files than they should have.
        closed: sub-folders that cannot be read.
    """

    folder: Path
    crops: int = 0
    sidecars: int = 0
    same_image: int = 0
    changed: list[Named] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    unusable: list[Named] = field(default_factory=list)
    chosen: int = 0
    reproduced: int = 0
    different: list[Named] = field(default_factory=list)
    other_rules: list[Named] = field(default_factory=list)
    models: Counter[ModelRef] = field(default_factory=Counter)
    missing_models: list[ModelRef] = field(default_factory=list)
    damaged: list[Named] = field(default_factory=list)
    closed: Closed = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether all that was looked at is as it should be, and nothing stayed out of reach."""
        return not (
            self.changed
            or self.orphans
            or self.unusable
            or self.different
            or self.other_rules
            or self.missing_models
            or self.damaged
            or self.closed
        )

    def as_json(self) -> dict[str, Any]:
        """The same for scripts."""

        def named(pairs: list[Named]) -> list[dict[str, str]]:
            return [{"path": path, "why": why} for path, why in pairs]

        return {
            "schema": "ctcedge/verification/1",
            "folder": str(self.folder),
            "verified": self.good,
            "crops": self.crops,
            "sidecars": self.sidecars,
            "same_image": self.same_image,
            "changed": named(self.changed),
            "without_image": self.orphans,
            "unusable": named(self.unusable),
            "unreadable_folders": named(list(self.closed.items())),
            "chosen": self.chosen,
            "reproduced": self.reproduced,
            "different": named(self.different),
            "other_rules": named(self.other_rules),
            "models": [
                {
                    **model._asdict(),
                    "sidecars": count,
                    "at_hand": model not in self.missing_models,
                }
                for model, count in self.models.most_common()
            ],
            "damaged_models": [{"model": name, "why": why} for name, why in self.damaged],
        }


def verify(
    folder: Path,
    sidecars: Path | None,
    naming: Naming,
    *,
    model: str | Path | None = None,
    sample: int | None = SAMPLE,
) -> Verified:
    """Look at each sidecar of a folder and make calls again.

    Args:
        folder: the searched folder.
        sidecars: root of the sidecars; None for beside the images.
        naming: how file names are read.
        model: name or folder of a model, beside those that come with ctcedge.
        sample: how many calls are made again, the same ones each time; None for all.

    Raises:
        SetupError: nothing is there, or the model that was named cannot be used.
    """
    result = Verified(folder)
    at_hand = models_at_hand(None if model is None else load_model(model))
    chosen: list[tuple[str, str]] = []  # lot, path; the greatest lots, as those of a heap
    crops: dict[str, Crop] = {}
    for each in require_sidecars(folder, sidecars, naming, result.closed):
        path = each.crop.path
        result.crops += 1
        crops[path] = each.crop
        if each.record is None:
            if each.problem is not None:
                result.unusable.append((path, each.problem))
            continue
        result.sidecars += 1
        made_by = ModelRef.of(each.record)
        result.models[made_by] += 1
        if (why := _changed(folder, each.crop, each.record)) is not None:
            result.changed.append((path, why))
            continue
        result.same_image += 1
        if made_by.sha256 not in at_hand:
            continue
        lot = hashlib.sha256(path.encode("utf-8", "backslashreplace")).hexdigest()
        if sample is None or len(chosen) < sample:
            heapq.heappush(chosen, (lot, path))
        elif sample:
            heapq.heappushpop(chosen, (lot, path))
    result.orphans = _orphans(SidecarStore(folder, sidecars).root, crops, result.closed)
    result.missing_models = [made_by for made_by in result.models if made_by.sha256 not in at_hand]
    result.chosen = len(chosen)
    Recomputation(folder, SidecarStore(folder, sidecars), at_hand, result).make(
        [crops[path] for path in sorted(path for _, path in chosen)]
    )
    return result


def _changed(folder: Path, crop: Crop, record: Sidecar) -> str | None:
    known, now = record.image.sha256, read_current_image(folder, crop)
    if now.sha256 == known:  # neither has one where it cannot be read
        return None
    if now.problem is not None:
        return f"the image cannot be read: {now.problem}"
    if known is None:
        return "the image could not be read then, and can be now"
    return "the image is another now"


def _orphans(root: Path, crops: dict[str, Crop], closed: Closed) -> list[str]:
    found = []
    for parent, below, names in os.walk(root):
        # As with images; and what lies in a folder that cannot be read is not known to be gone.
        below[:] = (
            name
            for name in below
            if not name.startswith(".")
            and os.path.relpath(os.path.join(parent, name), root) not in closed
        )
        for name in names:
            if name.endswith(SIDECAR_SUFFIX):
                path = os.path.relpath(os.path.join(parent, name), root)
                if path.removesuffix(SIDECAR_SUFFIX) not in crops:
                    found.append(path)
    return sorted(found)


@dataclass(frozen=True, slots=True)
class _Case:
    """A sidecar whose call is made again, once its image is ready for the network."""

    crop: Crop
    record: Sidecar
    seen: Seen


class Recomputation:
    """Makes calls again and notes in the result how they compare."""

    def __init__(
        self, folder: Path, sidecars: SidecarStore, models: dict[str, Model], result: Verified
    ) -> None:
        self._folder = folder
        self._sidecars = sidecars
        self._models = models
        self._result = result
        self._classifiers: dict[_Key, Classifier | None] = {}

    def make(self, crops: list[Crop]) -> None:
        """Make the calls of these crops again."""
        waiting: dict[_Key, list[_Case]] = defaultdict(list)
        for crop in crops:
            key, case = self._prepare(crop)
            if case is None:
                continue
            waiting[key].append(case)
            if len(waiting[key]) == _BATCH:
                self._compare(key, waiting.pop(key))
        for key, cases in waiting.items():
            self._compare(key, cases)

    def _prepare(self, crop: Crop) -> tuple[_Key, _Case | None]:
        """Read anew, as a watch may have called the crop anew meanwhile."""
        key: _Key = ("", "auto")
        try:
            record = self._sidecars.read(crop)
        except NotWritten as error:
            self._result.unusable.append((crop.path, str(error)))
            return key, None
        if record is None or record.model.sha256 not in self._models:
            self._differs(crop, "the sidecar changed while it was looked at")
            return key, None
        key = record.model.sha256, record.software.provider
        classifier = self._classifier(*key)
        if classifier is None:
            return key, None
        if (why := _other_rules(record)) is not None:
            self._result.other_rules.append((crop.path, why))
            return key, None
        try:
            seen = self._look(crop, record, classifier)
        except (OSError, BadImage) as error:
            self._compare_refusal(crop, record, error)
            return key, None
        if record.status != "classified":
            self._differs(crop, f"it was {record.status}, and can be called now")
            return key, None
        return key, _Case(crop, record, seen)

    def _look(self, crop: Crop, record: Sidecar, classifier: Classifier) -> Seen:
        data = read_file(self._folder / crop.path)
        decoded = decode_in_subprocess(data) if record.error == CRASHED else decode(data)
        (seen,) = classifier.look(
            [(decoded.pixels, decoded.header.bits)], recorded_pixel_size(record)
        )
        return seen

    def _classifier(self, sha256: str, provider: ProviderChoice) -> Classifier | None:
        """A session where the stored score was computed, or else wherever one runs."""
        key = sha256, provider
        if key not in self._classifiers:
            model = self._models[sha256]
            try:
                self._classifiers[key] = _open(model, provider)
            except ModelError as error:
                self._classifiers[key] = None
                self._result.damaged.append((model.spec.name, str(error)))
        return self._classifiers[key]

    def _compare(self, key: _Key, cases: list[_Case]) -> None:
        classifier = self._classifier(*key)
        assert classifier is not None  # there is no case without
        judged = classifier.judge(np.stack([case.seen.input for case in cases]))
        for case, answer in zip(cases, judged, strict=True):
            if isinstance(answer, BadImage):
                self._compare_refusal(case.crop, case.record, answer)
                continue
            found = CellAnalysis.of(answer.score, case.seen.quality, answer.unlike, answer.ran)
            why = _difference(case.record, found, classifier.model)
            if why is None:
                self._result.reproduced += 1
            else:
                self._differs(case.crop, why)

    def _compare_refusal(self, crop: Crop, record: Sidecar, error: OSError | BadImage) -> None:
        status = "unreadable" if isinstance(error, OSError) else error.status
        if record.status == status:
            self._result.reproduced += 1
        else:
            self._differs(crop, f"it was {record.status}, and is {status} now: {error}")

    def _differs(self, crop: Crop, why: str) -> None:
        self._result.different.append((crop.path, why))


def _open(model: Model, provider: ProviderChoice) -> Classifier:
    try:
        return Classifier.open(model, provider)
    except ProviderError:
        return Classifier.open(model, "cpu")


def _other_rules(record: Sidecar) -> str | None:
    if record.inference_sha256 == inference_sha256(recorded_pixel_size(record)):
        return None
    return f"made by the rules of ctcedge {record.software.ctcedge}"


def _difference(record: Sidecar, found: CellAnalysis, model: Model) -> str | None:
    """What is not the same; None where all is.

    Args:
        record: of a classified crop.
        found: what network, gate and guard say now.
        model: that both are of.
    """
    told = CellAnalysis.from_sidecar(record)
    if told is None:
        return "the sidecar does not keep what its call was made from"
    try:
        why = _inconsistent_fields(record, told, model)
    except (SettingsError, ValueError, TypeError) as error:
        return f"its decision cannot be made again: {error}"
    if why is not None:
        return why
    before, after = (probability(each.score, model.spec.calibration) for each in (told, found))
    if not abs(before - after) <= _tolerance(model, told, found):
        return f"the probability was {before:.6f}, and is {after:.6f} now, at the model's prior"
    if sorted(told.quality.reasons) != sorted(found.quality.reasons):
        return f"the quality gate said {_list(told)}, and says {_list(found)} now"
    if told.cluster != found.cluster:
        return "whether it is a cluster is told otherwise now"
    if told.review_flags != found.review_flags and _moved(told, found):
        return "how unlike the training data it is has changed"
    return None


def _inconsistent_fields(record: Sidecar, told: CellAnalysis, model: Model) -> str | None:
    prevalence = None if record.prior == model.spec.prior else record.prior
    policy = Policy.of(model.spec, DecisionSettings(record.operating_point, prevalence))
    verdict = policy.verdict(told.score, told.review_flags)
    wanted = {
        "call": verdict.call,
        "probability": verdict.probability,
        "reasons": verdict.reasons,
        "threshold": policy.threshold,
        "review_band": policy.review,
    }
    wrong = [name for name, value in wanted.items() if getattr(record, name) != value]
    if wrong:
        verb = "does" if len(wrong) == 1 else "do"
        return f"its {' and '.join(wrong)} {verb} not follow from its score"
    return None


def _tolerance(model: Model, told: CellAnalysis, found: CellAnalysis) -> float:
    tolerance = model.spec.golden.tolerance
    if told.provenance.variant != found.provenance.variant:
        known = (model.spec.parity.get(each.provenance.variant) for each in (told, found))
        tolerance += sum(parity.largest_difference for parity in known if parity is not None)
    return tolerance


def _moved(told: CellAnalysis, found: CellAnalysis) -> bool:
    if told.ood is None or found.ood is None:
        return True
    return abs(told.ood.distance - found.ood.distance) > _MOVED * told.ood.distance


def _list(found: CellAnalysis) -> str:
    return ", ".join(sorted(found.quality.reasons)) or "nothing"
