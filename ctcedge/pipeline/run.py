"""Opening a folder for classification, and counting what came of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.fingerprints import settings_sha256
from ctcedge.discovery.naming import Naming
from ctcedge.discovery.scan import check_folder, list_folder, require_crops
from ctcedge.model.folder import load_model
from ctcedge.pipeline.crash_journal import InHand
from ctcedge.pipeline.pipeline import Outcome, Pipeline
from ctcedge.settings import OperatingPointName, ProviderChoice, Settings, load_settings
from ctcedge.sidecars.index import DoneIndex, index_key
from ctcedge.sidecars.store import SidecarStore


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
    sidecars: SidecarStore
    pipeline: Pipeline


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
    sidecars = SidecarStore(folder, None if settings.out is None else Path(settings.out))
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
    require_crops(folder, listing)
    with open_run(folder, settings, recalling=False) as run:
        run.sidecars.check(listing.crops)
        yield from run.pipeline.run(listing.crops, force=force)
