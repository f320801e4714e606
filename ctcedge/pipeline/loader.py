"""Read a crop's files and find out what is to be done about it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ctcedge.classification.analysis import CellAnalysis
from ctcedge.classification.classifier import Classifier
from ctcedge.classification.fingerprints import Fingerprint
from ctcedge.discovery.naming import Crop
from ctcedge.errors import BadImage
from ctcedge.fs.tree import FolderLostError, Tree
from ctcedge.images.decode import decode
from ctcedge.images.read import read_file
from ctcedge.images.sandbox import CRASHED, decode_in_subprocess
from ctcedge.pipeline.crash_journal import DecodingJournal
from ctcedge.pipeline.outcome import Outcome, unclassified_reason
from ctcedge.pipeline.records import ImageFacts
from ctcedge.pipeline.task import CropFile, CropTask, Done, Failed, Infer, Request, Rescore, Upgrade
from ctcedge.sidecars.ownership import names_fit
from ctcedge.sidecars.parse import Parsed
from ctcedge.sidecars.schema import SCHEMA_VERSION, OriginRecord, Sidecar
from ctcedge.sidecars.store import NotWritten, SidecarStore
from ctcedge.sources.origin import read_origin

FolderIdentity: TypeAlias = tuple[int, int] | None
"""Device and inode of the searched folder; None where it could not be opened."""

NoteDecoding: TypeAlias = Callable[[str], None]
"""Records in the crash journal which image, by its SHA-256, is decoded next."""


class OpenFolders(NamedTuple):
    """The searched folder and the root of its sidecars, open for reading.

    Attributes:
        images: the searched folder.
        sidecars: the root of the sidecars.
        identity: of the searched folder at the begin of the run.
    """

    images: Tree
    sidecars: Tree
    identity: FolderIdentity


class CropLoader:
    """Reads and decodes crops, as far as each needs it.

    Args:
        folder: the searched folder.
        classifier: model and session.
        store: the sidecars.
        journal: knows which images are quarantined.
        fingerprint: of the settings.
    """

    def __init__(
        self,
        folder: Path,
        classifier: Classifier,
        store: SidecarStore,
        journal: DecodingJournal,
        fingerprint: Fingerprint,
    ) -> None:
        self._folder = folder
        self._store = store
        self._journal = journal
        self._fingerprint = fingerprint
        self._model_sha256 = classifier.model.sha256
        self._ood_detector = classifier.ood_detector

    def identity(self) -> FolderIdentity:
        """The identity of the searched folder now."""
        with Tree(self._folder) as tree:
            return tree.identity()

    @contextlib.contextmanager
    def open(self, identity: FolderIdentity) -> Iterator[OpenFolders]:
        """Open the folders, for some calls of `load` in one thread.

        Args:
            identity: of the searched folder at the begin of the run.
        """
        with Tree(self._folder) as images, Tree(self._store.root) as sidecars:
            yield OpenFolders(images, sidecars, identity)

    def load(
        self, request: Request, force: bool, folders: OpenFolders, note_decoding: NoteDecoding
    ) -> CropTask:
        """Read a crop's files, as far as needed to know what is to be done.

        Args:
            request: the crop.
            force: classify it also where its sidecar is current.
            folders: from `open`.
            note_decoding: from the crash journal.
        """
        crop, is_new = request
        try:
            data = self._read(crop, folders.sidecars if crop.root else folders.images)
        except FolderLostError as error:
            lost = f"the searched folder cannot be opened: {error.strerror}"
            return Done(Outcome(crop, "not-written", error=lost))
        except FileNotFoundError:
            if folders.images.identity() == folders.identity:
                return Done(Outcome(crop, "vanished"))
            # The crops of a share that is unmounted did not vanish.
            lost = "the searched folder was replaced meanwhile, for instance by an unmount"
            return Done(Outcome(crop, "not-written", error=lost))
        if isinstance(data, BadImage):
            file = CropFile(crop, ImageFacts(None, None))
        else:
            digest = hashlib.sha256(data).hexdigest()
            file = CropFile(crop, ImageFacts(digest, len(data), origin=_origin(crop, data)))
        try:
            previous = None if is_new else self._store.load(crop, folders.sidecars)
        except NotWritten as error:
            return Done(Outcome(crop, "not-written", error=str(error)))
        if previous is not None and not force and self._is_current(previous, file, data):
            return self._keep(file, previous)
        if isinstance(data, BadImage):
            return _refuse(file, previous, data)
        if previous is not None and not force:
            analysis = self._reusable_analysis(previous.sidecar, digest)
            if analysis is not None:
                return Rescore(_with_recorded_size(file, previous.sidecar), analysis)
        return self._decode(file, data, digest, previous, note_decoding)

    def _read(self, crop: Crop, tree: Tree) -> bytes | BadImage:
        """The bytes of an image, or why they cannot be read.

        Raises:
            FileNotFoundError: it is gone.
            FolderLostError: the searched folder cannot be opened.
        """
        try:
            return read_file(tree, crop.path)
        except (FileNotFoundError, FolderLostError):
            raise
        except BadImage as error:
            return error
        except OSError as error:
            return BadImage("unreadable", f"cannot be read: {error.strerror}")

    def _is_current(self, previous: Parsed, file: CropFile, data: bytes | BadImage) -> bool:
        """Whether a sidecar is of this crop, image, model and settings."""
        sidecar, version = previous
        if version < 2:  # it lacks the score
            return False
        if not names_fit(file.crop, sidecar):  # it was renamed together with its image
            return False
        recorded = sidecar.image.sha256, sidecar.model.sha256, sidecar.settings_sha256
        if recorded != (file.image.sha256, self._model_sha256, self._fingerprint.settings_sha256):
            return False
        if isinstance(data, BadImage):  # there is no hash: the sidecar must have the same error
            return sidecar.error == str(data)
        return self._has_own_features(sidecar)

    def _has_own_features(self, sidecar: Sidecar) -> bool:
        """Whether a sidecar has as many OOD features as this model computes."""
        detector = self._ood_detector
        if detector is None or sidecar.ood is None:
            return True
        return len(sidecar.ood.features) == detector.feature_count

    def _keep(self, file: CropFile, previous: Parsed) -> Done | Upgrade:
        sidecar, version = previous
        if version < SCHEMA_VERSION:
            return Upgrade(file, sidecar)
        outcome = Outcome(file.crop, "current", sidecar, unclassified_reason(sidecar))
        return Done(outcome, is_current=True)

    def _reusable_analysis(self, sidecar: Sidecar, sha256: str) -> CellAnalysis | None:
        """The analysis in a sidecar, where this run would compute the same."""
        recorded = sidecar.image.sha256, sidecar.model.sha256, sidecar.inference_sha256
        expected = sha256, self._model_sha256, self._fingerprint.inference_sha256
        if recorded != expected or not self._has_own_features(sidecar):
            return None
        return CellAnalysis.from_sidecar(sidecar)

    def _decode(
        self,
        file: CropFile,
        data: bytes,
        sha256: str,
        previous: Parsed | None,
        note_decoding: NoteDecoding,
    ) -> Infer | Failed:
        crashed_before = (
            previous is not None
            and previous.sidecar.error == CRASHED
            and previous.sidecar.image.sha256 == sha256
        )
        try:
            if crashed_before or sha256 in self._journal.quarantined:
                decoded = decode_in_subprocess(data)
                self._journal.clear(sha256)
            else:
                note_decoding(sha256)
                decoded = decode(data)
        except BadImage as error:
            return Failed(file, error)
        header = decoded.header
        image = ImageFacts(sha256, len(data), *header[1:], origin=file.image.origin)
        return Infer(file._replace(image=image), decoded)


def _refuse(file: CropFile, previous: Parsed | None, error: BadImage) -> Done | Failed:
    """What follows from an image that cannot be read, or is too large to be."""
    was_read = previous is not None and previous.sidecar.image.sha256 is not None
    if error.status == "unreadable" and was_read:
        # Whatever is wrong with the disk or the share, the sidecar is still valid.
        kept = f"the image {error}; its sidecar is kept"
        return Done(Outcome(file.crop, "not-written", error=kept))
    return Failed(file, error)


def _origin(crop: Crop, data: bytes) -> OriginRecord | None:
    """Where a crop was cut from, by what it carries."""
    origin = read_origin(data) if crop.root else None
    if origin is None:
        return None
    return OriginRecord(file=origin.file, sha256=origin.sha256, page=origin.page, box=origin.box)


def _with_recorded_size(file: CropFile, sidecar: Sidecar) -> CropFile:
    recorded = sidecar.image
    image = file.image._replace(
        width=recorded.width,
        height=recorded.height,
        bits=recorded.bit_depth,
        um_per_px=recorded.um_per_px_file,
    )
    return file._replace(image=image)
