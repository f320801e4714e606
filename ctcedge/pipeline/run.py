"""Opening a folder for classification, and counting what came of it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ctcedge import __version__
from ctcedge.classification.classifier import Classifier
from ctcedge.classification.fingerprints import inference_sha256, scale, settings_sha256
from ctcedge.classification.ood import Guard, Likeness, RunTraits
from ctcedge.discovery.naming import BRIGHT_FIELD, Crop, Naming, Skipped, check_folder, search
from ctcedge.errors import NoCropsError
from ctcedge.model.spec import load_model
from ctcedge.pipeline.crash_journal import InHand
from ctcedge.pipeline.pipeline import Counted, Outcome, Pipeline
from ctcedge.results.controls import FalseCalls, Rule, expected_false_calls
from ctcedge.settings import OperatingPointName, ProviderChoice, Settings, load_settings
from ctcedge.sidecars.index import Index, index_key
from ctcedge.sidecars.store import SidecarFolder

SUMMARY_SCHEMA = "ctcedge/summary/1"

_CALLS = ("CTC", "leukocyte", "review")


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder holds.

    Attributes:
        crops: bright-field crops, which decide calls.
        others: crops of other channels.
        skipped: everything else that could matter, with the reason.
    """

    crops: list[Crop]
    others: list[Crop]
    skipped: list[Skipped]

    def repeated(self) -> list[tuple[str, str]]:
        """(sample, cell) with more than one bright-field image."""
        counts = Counter((crop.sample, crop.cell) for crop in self.crops)
        return [cell for cell, count in counts.items() if count > 1]

    def without_bright_field(self) -> list[tuple[str, str]]:
        """(sample, cell) that have other channels alone."""
        bright = {(crop.sample, crop.cell) for crop in self.crops}
        others = dict.fromkeys((crop.sample, crop.cell) for crop in self.others)
        return [cell for cell in others if cell not in bright]


@dataclass(frozen=True, slots=True)
class Run:
    """A folder opened for classification; its sidecar folder is locked.

    Attributes:
        folder: the searched folder.
        settings: flags, file and defaults, merged.
        naming: how file names are read.
        classifier: model and session.
        sidecars: where results lie.
        pipeline: from crops to sidecars.
    """

    folder: Path
    settings: Settings
    naming: Naming
    classifier: Classifier
    sidecars: SidecarFolder
    pipeline: Pipeline

    def write_report(self) -> Path:
        """Write the report of what the sidecars say; return its file.

        Raises:
            SetupError: no crop has a sidecar, or the report cannot be written.
        """
        from ctcedge.report import write_report
        from ctcedge.report.build import REPORT_NAME

        root = self.sidecars.root
        out = None if self.settings.out is None else root / REPORT_NAME
        return write_report(self.folder, root, out, self.naming, model=self.classifier.model)


@dataclass(slots=True)
class Summary:
    """Counts of a run, each crop once, however often `watch` did it.

    Attributes:
        done: outcomes by what was done (`written`, `current`, ...).
        decided_anew: of the written, those whose call follows from a stored score.
        calls: classified crops by call, whether new or current.
        clusters: those of touching cells, by call; they are among `calls` too.
        review_reasons: calls of review by reason; a call may have several.
        unclassified: why, by path, of every crop that stands unclassified.
        guard: of the model, which tells of each sample whether it is like the training data; None
            where the model does not tell.
    """

    done: Counter[str] = field(default_factory=Counter)
    decided_anew: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    clusters: Counter[str] = field(default_factory=Counter)
    review_reasons: Counter[str] = field(default_factory=Counter)
    unclassified: dict[str, str] = field(default_factory=dict)
    guard: Guard | None = None
    _traits: dict[str, RunTraits] = field(default_factory=dict)
    _all_traits: RunTraits = field(default_factory=RunTraits)

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.unclassified.pop(outcome.crop.path, None)
        if outcome.error is not None:
            self.unclassified[outcome.crop.path] = outcome.error
        if outcome.done == "deferred":
            return
        self._count(outcome.counted, 1)
        before = outcome.instead_of
        if before is not None:
            self._count(before, -1)
        if outcome.traits and (before is None or before.call is None):
            self._traits.setdefault(outcome.crop.sample, RunTraits()).add(outcome.traits)
            self._all_traits.add(outcome.traits)

    def _count(self, counted: Counted, times: int) -> None:
        self.done[counted.done] += times
        self.decided_anew += times * counted.decided_anew
        if counted.call is None:
            return
        self.calls[counted.call] += times
        if counted.cluster:
            self.clusters[counted.call] += times
        for reason in counted.reasons:
            self.review_reasons[reason] += times

    def likeness(self) -> dict[str, Likeness]:
        """Whether each sample is like the training data; empty where the model does not tell."""
        if self.guard is None:
            return {}
        return {sample: self.guard.likeness(run) for sample, run in self._traits.items()}

    def likeness_together(self) -> Likeness | None:
        """The same of all samples together, which tells more where each is small."""
        if self.guard is None or not self._all_traits.crops:
            return None
        return self.guard.likeness(self._all_traits)

    def false_calls(self, run: Run) -> FalseCalls | None:
        """False CTC calls to expect at this size; None where nobody measured them here."""
        model, policy = run.classifier.model, run.classifier.policy
        inference = inference_sha256(scale(run.settings.images, model.spec))
        rule = Rule(model.sha256, policy.operating_point, inference)
        return expected_false_calls(self.calls.total(), rule, model.spec)

    def as_json(self, run: Run, *, finished: bool) -> dict[str, Any]:
        """The machine-readable summary."""
        spec, policy = run.classifier.model.spec, run.classifier.policy
        engine = run.classifier.engine
        false_calls, together = self.false_calls(run), self.likeness_together()
        return {
            "schema": SUMMARY_SCHEMA,
            "finished": finished,
            "folder": str(run.folder),
            "out": str(run.sidecars.root),
            "crops": sum(self.done.values()),
            "written": self.done["written"],
            "decided_anew": self.decided_anew,
            "current": self.done["current"],
            "vanished": self.done["vanished"],
            "calls": {call: self.calls[call] for call in _CALLS},
            "clusters": {call: self.clusters[call] for call in _CALLS},
            "review_reasons": dict(+self.review_reasons),
            "likeness": {sample: asdict(each) for sample, each in self.likeness().items()},
            "likeness_together": together and asdict(together),
            "expected_false_calls": false_calls and false_calls.as_json(),
            "operating_point": policy.operating_point,
            "prior": policy.prior,
            "threshold": policy.threshold,
            "review_band": list(policy.review),
            "unclassified": [{"path": p, "error": error} for p, error in self.unclassified.items()],
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


def list_folder(folder: Path, naming: Naming) -> Listing:
    """Walk the folder once.

    Raises:
        SetupError: it is not a folder that can be read.
    """
    listing = Listing([], [], [])
    for found in search(folder, naming):
        if isinstance(found, Skipped):
            listing.skipped.append(found)
        elif found.channel == BRIGHT_FIELD:
            listing.crops.append(found)
        else:
            listing.others.append(found)
    return listing


def need_crops(folder: Path, listing: Listing) -> None:
    """Refuse a folder without bright-field crops.

    Raises:
        NoCropsError: with the first few names found and what to do.
    """
    if listing.crops:
        return
    if listing.others:
        seen = sorted({crop.channel for crop in listing.others})
        text = f"{folder} holds images of {', '.join(seen)} but none of bright field"
        examples = [crop.path for crop in listing.others]
    else:
        text = f"no file name in {folder} was understood as a bright-field crop"
        examples = [skipped.path for skipped in listing.skipped if skipped.kind == "unmatched"]
    shown = "\n  ".join(repr(path)[1:-1] for path in examples[:5]) or "(no files)"
    raise NoCropsError(
        f"{text}. Found:\n  {shown}\n"
        r"Tell ctcedge how the names are built, for instance: --pattern '(?P<cell>\d+)\.png', or"
        r" --pattern '(?P<cell>\d+)_(?P<channel>BF|DAPI)\.png'. 'ctcedge inspect' shows how each"
        " name is read."
    )


@contextlib.contextmanager
def open_run(folder: Path, settings: Settings, *, recalling: bool = True) -> Iterator[Run]:
    """Load the model, lock the sidecar folder and open a session.

    Args:
        folder: an existing directory.
        settings: from `settings.load_settings`.
        recalling: whether sidecars that an earlier run noted as current may go unread.

    Raises:
        SetupError: whatever stands in the way; the text says what to do.
    """
    naming = settings.images.naming()
    model = load_model(settings.model)
    sidecars = SidecarFolder(folder, None if settings.out is None else Path(settings.out))
    with sidecars.open():
        classifier = Classifier.open(
            model, settings.provider, settings.decision, settings.gpu_memory_mb
        )
        with contextlib.ExitStack() as stack:
            in_hand = stack.enter_context(InHand(sidecars.root))
            index = None
            if recalling:
                settings_hash = settings_sha256(settings.images, model.spec, classifier.policy)
                key = index_key(model.sha256, settings_hash)
                index = stack.enter_context(Index(folder, sidecars.root, key))
            pipeline = Pipeline(
                folder, settings.images, classifier, sidecars, in_hand, settings.batch_size, index
            )
            yield Run(folder, settings, naming, classifier, sidecars, pipeline)


def classify_folder(
    folder: str | Path,
    *,
    out: str | Path | None = None,
    model: str | Path | None = None,
    provider: ProviderChoice = "auto",
    um_per_px: float | None = None,
    pattern: str | None = None,
    operating_point: OperatingPointName | None = None,
    prevalence: float | None = None,
    force: bool = False,
) -> Iterator[Outcome]:
    """Classify a folder as `ctcedge classify` does, yielding each crop's outcome.

    Args:
        folder: searched recursively.
        out: folder of the sidecars; None to write them beside the images.
        model: a folder, the name of a shipped model, or None for the default model.
        provider: where to run.
        um_per_px: edge length of an image pixel, um; None when unknown.
        pattern: how file names are read, see `crops.Naming`.
        operating_point: of the model; None for the model's own decision.
        prevalence: share of CTCs that probabilities assume; None for the model's own prior.
        force: classify also crops whose sidecar is current.

    Raises:
        SetupError: whatever stands in the way; the text says what to do.
    """
    folder = Path(folder)
    check_folder(folder)
    settings = load_settings(
        folder,
        images={"um_per_px": um_per_px, "pattern": pattern},
        decision={"operating_point": operating_point, "prevalence": prevalence},
        out=None if out is None else str(out),
        model=None if model is None else str(model),
        provider=provider,
    )
    listing = list_folder(folder, settings.images.naming())
    need_crops(folder, listing)
    with open_run(folder, settings, recalling=False) as run:
        run.sidecars.check(listing.crops)
        yield from run.pipeline.run(listing.crops, force=force)
