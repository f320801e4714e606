"""Verify sidecars against images, and recompute a sample of calls.

Every image is hashed, and every sidecar is checked by what it holds: image name and cell against
its path, its call against its score, history and reviews against their hash chain. A sample of the
calls, or all, is recomputed by the code that `classify` uses, with the operating point and the
prevalence of the sidecar. A call is reproduced if:

- Call and probability follow exactly from the stored score and review flags.
- The recomputed probability, at the model's prior, is within the tolerance of the model's golden
  outputs. If another graph of the model runs here than did then, the largest difference of either
  graph from the trained network (`parity`) is added to the tolerance.
- The quality check flags the same, and so does the OOD score, unless its distance differs by less
  than 5 %.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from msgspec import UNSET

from ctcedge.classification.analysis import CellAnalysis
from ctcedge.classification.classifier import Classifier, PreparedCrop
from ctcedge.classification.decision import probability
from ctcedge.classification.fingerprints import inference_sha256, recorded_pixel_size
from ctcedge.discovery.cut_crops import image_root
from ctcedge.discovery.naming import SIDECAR_SUFFIX, Crop, Naming
from ctcedge.errors import BadImage, ModelError, ProviderError
from ctcedge.fs.files import is_absence
from ctcedge.fs.tree import Tree, walk
from ctcedge.images.decode import decode
from ctcedge.images.read import read_file
from ctcedge.images.sandbox import CRASHED, decode_in_subprocess
from ctcedge.model.folder import Model, available_models, load_model
from ctcedge.results.consistency import CallCheck, path_problem
from ctcedge.results.verification import Problem, Verified
from ctcedge.settings import ProviderChoice
from ctcedge.sidecars.chain import alterations
from ctcedge.sidecars.scan import ModelRef, read_current_image, require_sidecars
from ctcedge.sidecars.schema import Sidecar
from ctcedge.sidecars.store import NotWritten, SidecarStore

SAMPLE = 200
"""Default number of calls to recompute."""

_BATCH = 64
_MAX_OOD_CHANGE = 0.05  # relative change of the OOD distance that computers may differ by

_Key = tuple[str, ProviderChoice]
"""Hash of a model and the provider that it ran on."""


def verify(
    folder: Path,
    sidecars: Path | None,
    naming: Naming,
    *,
    model: str | Path | None = None,
    sample: int | None = SAMPLE,
) -> Verified:
    """Check each sidecar of a folder, and recompute calls.

    Args:
        folder: the searched folder.
        sidecars: root of the sidecars; None for beside the images.
        naming: how file names are read.
        model: name or folder of a model, in addition to the shipped ones.
        sample: number of calls to recompute, the same ones each time; None for all.

    Raises:
        SetupError: the folder has no sidecars, or the given model cannot be used.
    """
    result = Verified(folder)
    models = available_models(None if model is None else load_model(model))
    sample_heap: list[tuple[str, str]] = []  # hash_rank and path; the greatest ranks stay
    crops: dict[str, Crop] = {}
    call_check = CallCheck(models)
    scan = require_sidecars(folder, sidecars, naming)
    for entry in scan:
        path = entry.crop.path
        result.crops += 1
        crops[path] = entry.crop
        if entry.record is None:
            if entry.problem is not None:
                result.unusable.append((path, entry.problem))
            continue
        result.sidecars += 1
        used_model = ModelRef.of(entry.record)
        result.models[used_model] += 1
        follows = _check_record(entry.crop, entry.record, call_check, result)
        if (why := _image_change(folder, entry.crop, entry.record)) is not None:
            result.changed.append((path, why))
            continue
        result.same_image += 1
        if used_model.sha256 not in models or not follows:
            continue
        if sample is None or len(sample_heap) < sample:
            heapq.heappush(sample_heap, (_hash_rank(path), path))
        elif sample:
            heapq.heappushpop(sample_heap, (_hash_rank(path), path))
    result.unreadable_dirs = scan.unreadable_dirs
    result.orphans = _orphans(scan.store.root, crops, scan.unreadable_dirs, result.unusable)
    result.missing_models = [used for used in result.models if used.sha256 not in models]
    result.chosen = len(sample_heap)
    Recomputation(folder, scan.store, models, result).run(
        [crops[path] for path in sorted(path for _, path in sample_heap)]
    )
    return result


def _check_record(crop: Crop, record: Sidecar, calls: CallCheck, result: Verified) -> bool:
    """Check what needs neither image nor network, and return whether the call follows."""
    path = crop.path
    if (why := path_problem(crop, record)) is not None:
        result.misplaced.append((path, why))
    if record.chain is UNSET:
        result.without_chain.append(path)
    elif found := alterations(record):
        result.altered.append((path, "; ".join(found)))
    if (why := calls.problem(record)) is not None:
        result.different.append((path, why))
        return False
    result.followed += record.call is not None
    return True


def _hash_rank(path: str) -> str:
    """Return a rank that depends on the path alone, so that each run draws the same sample."""
    return hashlib.sha256(path.encode("utf-8", "backslashreplace")).hexdigest()


def _image_change(folder: Path, crop: Crop, record: Sidecar) -> str | None:
    stored, current = record.image.sha256, read_current_image(folder, crop)
    if current.sha256 == stored:  # both are None if the image could not be read then or now
        return None
    if current.problem is not None:
        return f"the image cannot be read: {current.problem}"
    if stored is None:
        return "the image could not be read before, but can be now"
    return "the image has changed"


def _orphans(
    root: Path, crops: dict[str, Crop], unreadable_dirs: dict[str, str], unusable: list[Problem]
) -> list[str]:
    def add_unreadable(path: str, error: OSError) -> None:
        if not is_absence(error):
            unusable.append((path or ".", f"folder cannot be read: {error.strerror}"))

    orphans = []
    for listed in walk(root, add_unreadable):
        prefix = f"{listed.path}/" if listed.path else ""
        # Hidden folders are never searched. In unreadable ones, the images may still exist.
        listed.folders[:] = (
            name
            for name in listed.folders
            if not name.startswith(".") and prefix + name not in unreadable_dirs
        )
        for name in listed.others:
            path = prefix + name
            if name.endswith(SIDECAR_SUFFIX) and path.removesuffix(SIDECAR_SUFFIX) not in crops:
                orphans.append(path)
    return sorted(orphans)


@dataclass(frozen=True, slots=True)
class _Case:
    """A sidecar whose call is to be recomputed, and its preprocessed image."""

    crop: Crop
    record: Sidecar
    prepared: PreparedCrop


class Recomputation:
    """Recomputes calls, and adds to the result how they compare."""

    def __init__(
        self, folder: Path, sidecars: SidecarStore, models: dict[str, Model], result: Verified
    ) -> None:
        self._folder = folder
        self._sidecars = sidecars
        self._models = models
        self._result = result
        self._classifiers: dict[_Key, Classifier | None] = {}
        self._call_check = CallCheck(models)

    def run(self, crops: list[Crop]) -> None:
        """Recompute the calls of these crops."""
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
        """Read the sidecar once more, as a watch may have replaced it, and load its image."""
        key: _Key = ("", "auto")
        try:
            record = self._sidecars.read(crop)
        except NotWritten as error:
            self._result.unusable.append((crop.path, str(error)))
            return key, None
        if record is None or record.model.sha256 not in self._models:
            self._differs(crop, "the sidecar changed during verification")
            return key, None
        provider = record.software.provider
        key = record.model.sha256, "cpu" if provider == "tensorrt" else provider
        classifier = self._classifier(*key)
        if classifier is None:
            return key, None
        if (why := _other_rules(record)) is not None:
            self._result.other_rules.append((crop.path, why))
            return key, None
        try:
            seen = self._prepare_image(crop, record, classifier)
        except (OSError, BadImage) as error:
            self._compare_refusal(crop, record, error)
            return key, None
        if record.status != "classified":
            self._differs(crop, f"it was {record.status}, but can be classified now")
            return key, None
        return key, _Case(crop, record, seen)

    def _prepare_image(self, crop: Crop, record: Sidecar, classifier: Classifier) -> PreparedCrop:
        with Tree(image_root(self._folder, crop)) as tree:
            data = read_file(tree, crop.path)
        decoded = decode_in_subprocess(data) if record.error == CRASHED else decode(data)
        (seen,) = classifier.prepare([decoded.image], recorded_pixel_size(record))
        return seen

    def _classifier(self, sha256: str, provider: ProviderChoice) -> Classifier | None:
        """Open the model on the provider of the sidecar, or else on the CPU."""
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
        assert classifier is not None  # a case was prepared with it
        results = classifier.analyze([case.prepared for case in cases])
        for case, found in zip(cases, results, strict=True):
            if isinstance(found, BadImage):
                self._compare_refusal(case.crop, case.record, found)
                continue
            why = self._call_check.problem(case.record)
            why = why or _difference(case.record, found, classifier.model)
            if why is None:
                self._result.reproduced += 1
            else:
                self._differs(case.crop, why)

    def _compare_refusal(self, crop: Crop, record: Sidecar, error: OSError | BadImage) -> None:
        status = "unreadable" if isinstance(error, OSError) else error.status
        if record.status == status:
            self._result.reproduced += 1
        else:
            self._differs(crop, f"it was {record.status}, but is {status} now: {error}")

    def _differs(self, crop: Crop, why: str) -> None:
        self._result.different.append((crop.path, why))


def _open(model: Model, provider: ProviderChoice) -> Classifier:
    try:
        return Classifier.open(model, provider)
    except ProviderError:
        return Classifier.open(model, "cpu")


def _other_rules(record: Sidecar) -> str | None:
    if record.inference_sha256 == inference_sha256(record.given_um_per_px):
        return None
    return f"made by the rules of ctcedge {record.software.ctcedge}"


def _difference(record: Sidecar, recomputed: CellAnalysis, model: Model) -> str | None:
    """Return what differs between a sidecar of a classified crop and its recomputation, or None."""
    stored = CellAnalysis.from_sidecar(record)
    if stored is None:
        return "the sidecar does not hold what its call was made from"
    before = probability(stored.score, model.spec.calibration)
    after = probability(recomputed.score, model.spec.calibration)
    if not abs(before - after) <= _tolerance(model, stored, recomputed):
        return f"the probability was {before:.6f}, but is {after:.6f} now, at the model's prior"
    if sorted(stored.quality.reasons) != sorted(recomputed.quality.reasons):
        return f"the quality flags were {_flags(stored)}, but are {_flags(recomputed)} now"
    if stored.cluster != recomputed.cluster:
        before_after = ("a cluster", "one cell") if stored.cluster else ("one cell", "a cluster")
        return "it was {}, but is {} now".format(*before_after)
    if stored.review_flags != recomputed.review_flags and _ood_changed(stored, recomputed):
        return "its out-of-distribution score has changed"
    return None


def _tolerance(model: Model, stored: CellAnalysis, recomputed: CellAnalysis) -> float:
    tolerance = model.spec.golden.tolerance
    variants = stored.provenance.variant, recomputed.provenance.variant
    if variants[0] != variants[1]:
        measured = map(model.spec.parity.get, variants)
        tolerance += sum(parity.largest_difference for parity in measured if parity is not None)
    return tolerance


def _ood_changed(stored: CellAnalysis, recomputed: CellAnalysis) -> bool:
    if stored.ood is None or recomputed.ood is None:
        return True
    change = abs(stored.ood.distance - recomputed.ood.distance)
    return change > _MAX_OOD_CHANGE * stored.ood.distance


def _flags(analysis: CellAnalysis) -> str:
    return ", ".join(sorted(analysis.quality.reasons)) or "none"
