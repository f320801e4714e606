"""Opening a folder for classification, and counting what came of it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.fingerprints import settings_sha256
from ctcedge.discovery.naming import BRIGHT_FIELD, Crop, Naming, Skipped, check_folder, search
from ctcedge.errors import NoCropsError
from ctcedge.model.folder import load_model
from ctcedge.pipeline.crash_journal import InHand
from ctcedge.pipeline.pipeline import Outcome, Pipeline
from ctcedge.settings import OperatingPointName, ProviderChoice, Settings, load_settings
from ctcedge.sidecars.index import DoneIndex, index_key
from ctcedge.sidecars.store import SidecarFolder


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
                index = stack.enter_context(DoneIndex(folder, sidecars.root, key))
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
