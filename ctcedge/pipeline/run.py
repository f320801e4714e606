"""Opening a folder for classification."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.fingerprints import Fingerprint
from ctcedge.discovery.naming import Found, Naming
from ctcedge.discovery.scan import check_folder, list_folder, require_crops
from ctcedge.model.folder import load_model
from ctcedge.pipeline.crash_journal import CrashJournal
from ctcedge.pipeline.outcome import Outcome
from ctcedge.pipeline.pipeline import Pipeline
from ctcedge.settings import OperatingPointName, ProviderChoice, Settings, load_settings, path_text
from ctcedge.sidecars.index import DoneIndex, index_key
from ctcedge.sidecars.store import SidecarStore
from ctcedge.sources.parameters import ParameterFiles


@dataclass(frozen=True, slots=True)
class Run:
    """A folder opened for classification; its sidecar folder is locked.

    Attributes:
        folder: the searched folder.
        settings: flags, file and defaults, merged.
        naming: how file names are read.
        classifier: model and session.
        sidecars: the store of the sidecars.
        pipeline: from crops to sidecars.
        fingerprint: of the settings.
    """

    folder: Path
    settings: Settings
    naming: Naming
    classifier: Classifier
    sidecars: SidecarStore
    pipeline: Pipeline
    fingerprint: Fingerprint

    def parameters(self, entries: Iterable[Found]) -> dict[str, dict[str, str]]:
        """Keep what the files `Parameters.txt` among entries say; return it by their paths.

        Raises:
            OutputError: it cannot be kept.
        """
        files = ParameterFiles(self.folder, self.sidecars.root)
        files.look(entries)
        return {path: found.values for path, found in files.found.items()}


@contextlib.contextmanager
def open_run(folder: Path, settings: Settings, *, use_index: bool = True) -> Iterator[Run]:
    """Load the model, lock the sidecar folder and open a session.

    Args:
        folder: an existing directory.
        settings: from `settings.load_settings`.
        use_index: skip the files of crops that an earlier run recorded as done.

    Raises:
        SetupError: the folder cannot be classified; the text says what to do.
    """
    naming = settings.naming()
    model = load_model(settings.model)
    store = SidecarStore(folder, None if settings.out is None else Path(settings.out))
    with store.open():
        classifier = Classifier.open(
            model, settings.provider, settings.decision, settings.gpu_memory_mb
        )
        with contextlib.ExitStack() as stack:
            journal = stack.enter_context(CrashJournal(store.root))
            fingerprint = Fingerprint.of(settings.images, model.spec, classifier.rule)
            index = None
            if use_index:
                key = index_key(model.sha256, fingerprint.settings_sha256)
                index = stack.enter_context(DoneIndex(folder, store.root, key))
            pipeline = Pipeline(
                folder,
                classifier,
                store,
                journal,
                fingerprint,
                settings.batch_size,
                index,
                settings.workers,
            )
            stack.callback(pipeline.close)
            yield Run(folder, settings, naming, classifier, store, pipeline, fingerprint)


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
        pattern: how file names are read, see `discovery.naming.Naming`.
        operating_point: name of an operating point; None for the model's own thresholds.
        prevalence: fraction of CTCs that probabilities assume; None for the training prior.
        force: classify also crops whose sidecar is current.

    Raises:
        SetupError: the folder cannot be classified; the text says what to do.
    """
    folder = Path(path_text("folder", folder))
    check_folder(folder)
    settings = load_settings(
        folder,
        images={"um_per_px": um_per_px, "pattern": pattern},
        decision={"operating_point": operating_point, "prevalence": prevalence},
        out=None if out is None else path_text("out", out),
        model=None if model is None else path_text("model", model),
        provider=provider,
    )
    listing = list_folder(folder, settings.naming())
    require_crops(folder, listing)
    with open_run(folder, settings, use_index=False) as run:
        run.sidecars.check(listing.crops)
        yield from run.pipeline.run(listing.crops, force=force)
