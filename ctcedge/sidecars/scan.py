"""Iterate over crops together with their sidecars (no inference)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.cut_crops import image_root
from ctcedge.discovery.naming import Crop, Naming, Skipped
from ctcedge.discovery.not_understood import is_image_like
from ctcedge.discovery.scan import list_folder, walk
from ctcedge.errors import NoCropsError, SetupError
from ctcedge.fs.files import UnsuitableFileError
from ctcedge.fs.tree import read_beneath
from ctcedge.images.types import MAX_BYTES
from ctcedge.sidecars.replacement import NotRead
from ctcedge.sidecars.schema import Sidecar
from ctcedge.sidecars.store import NotWritten, SidecarStore

CONFLICTING_SIDECAR = (
    "conflicting sidecar: of another crop or sample, of a newer ctcedge, too large, or not readable"
)
"""Summary of the problems of sidecars that must not be replaced."""

TORN = "it is torn, or no sidecar"
"""Problem of a file that is no sidecar."""


class ModelRef(NamedTuple):
    """A model as sidecars name it."""

    name: str
    version: str
    sha256: str

    @classmethod
    def of(cls, record: Sidecar) -> ModelRef:
        """The model of a sidecar."""
        return cls(record.model.name, record.model.version, record.model.sha256)


@dataclass(frozen=True, slots=True)
class CropRecord:
    """A bright-field crop and its sidecar.

    Attributes:
        crop: the crop.
        path: path of its sidecar.
        record: the sidecar's content in the present schema; None where it is absent, damaged, or
            must not be used.
        problem: why the file that is there cannot be used, or None.
        damaged: whether that file is no sidecar, or a damaged one.
    """

    crop: Crop
    path: Path
    record: Sidecar | None
    problem: str | None = None
    damaged: bool = False


class ScanResult:
    """The bright-field crops of a folder in the order of their names, each with its sidecar.

    They are read while this is iterated. Whether a sidecar is of the image as it is now is not
    checked.

    Args:
        folder: the searched folder.
        sidecars: root of the sidecars; None for beside the images.
        naming: how file names are read.

    Attributes:
        store: the sidecars.
        crops: the crops of the folder.
        unreadable_sidecars: why the sidecar of a crop cannot be read now, by the crop's path, as
            far as this was iterated.
    """

    def __init__(self, folder: Path, sidecars: Path | None, naming: Naming) -> None:
        self.store = SidecarStore(folder, sidecars)
        self.crops = CropScan(folder, naming)
        self.unreadable_sidecars: dict[str, str] = {}

    @property
    def unreadable_dirs(self) -> dict[str, str]:
        """Sub-folders that cannot be read, and why, as far as this was iterated."""
        return self.crops.unreadable_dirs

    def __iter__(self) -> Iterator[CropRecord]:
        for crop in self.crops:
            yield self._read(crop)

    def _read(self, crop: Crop) -> CropRecord:
        path = self.store.path(crop)
        try:
            record = self.store.read(crop)
        except NotWritten as error:
            if isinstance(error, NotRead):
                self.unreadable_sidecars[crop.path] = str(error)
            return CropRecord(crop, path, None, str(error))
        if record is None and os.path.lexists(path):
            return CropRecord(crop, path, None, TORN, damaged=True)
        return CropRecord(crop, path, record)


class CropScan:
    """The bright-field crops of a folder in the order of their names; these decide calls.

    The folder is searched while this is iterated.

    Args:
        folder: the searched folder.
        naming: how file names are read.

    Attributes:
        unreadable_dirs: sub-folders that cannot be read, and why, as far as this was iterated.
    """

    def __init__(self, folder: Path, naming: Naming) -> None:
        self._folder = folder
        self._naming = naming
        self.unreadable_dirs: dict[str, str] = {}
        self._has_unmatched_images = False

    def __iter__(self) -> Iterator[Crop]:
        for entry in walk(self._folder, self._naming):
            if isinstance(entry, Skipped):
                if entry.kind == "unreadable":
                    self.unreadable_dirs[entry.path] = entry.reason
                elif entry.kind == "unmatched" and is_image_like(entry.path):
                    self._has_unmatched_images = True
            elif entry.channel == BRIGHT_FIELD:
                yield entry

    def not_understood(self) -> list[Skipped]:
        """Return the files that look like images and are neither crops nor their channels.

        The folder is searched again where the last iteration has seen any such file.
        """
        if not self._has_unmatched_images:
            return []
        return list_folder(self._folder, self._naming).not_understood(self._naming)


def scan_sidecars(folder: Path, sidecars: Path | None, naming: Naming) -> ScanResult:
    """Scan a folder's crops and sidecars.

    Iterating over the result raises SetupError where the folder cannot be read.

    Args:
        folder: the searched folder.
        sidecars: root of the sidecars; None for beside the images.
        naming: how file names are read.
    """
    return ScanResult(folder, sidecars, naming)


def require_sidecars(folder: Path, sidecars: Path | None, naming: Naming) -> ScanResult:
    """Scan a folder in which at least one crop has a sidecar.

    Raises:
        NoCropsError: the folder contains no bright-field crop.
        SetupError: no crop has a sidecar, or the folder cannot be read.
    """
    crops, problem = 0, None
    for entry in scan_sidecars(folder, sidecars, naming):
        if entry.record is not None:
            return scan_sidecars(folder, sidecars, naming)
        crops += 1
        problem = problem or entry.problem
    if not crops:
        raise NoCropsError(
            f"{folder} holds no bright-field crop; 'ctcedge inspect' shows how names are read"
        )
    hint = problem or "run 'ctcedge classify' first, or give their folder with --sidecars"
    raise SetupError(f"no crop of {folder} has a sidecar in {sidecars or folder}: {hint}")


@dataclass(frozen=True, slots=True)
class CurrentImage:
    """The image file of a crop as it is now.

    Attributes:
        data: its bytes; None where it cannot be read.
        sha256: their hash, as a sidecar has it; None where it cannot be read.
        problem: why it cannot be read, or None.
    """

    data: bytes | None
    sha256: str | None
    problem: str | None


def read_current_image(folder: Path, crop: Crop) -> CurrentImage:
    """Read the image of a crop, to see whether it is still the one that was classified."""
    try:
        data = read_beneath(image_root(folder, crop), crop.path, MAX_BYTES)
    except UnsuitableFileError as error:
        return CurrentImage(None, None, f"it is {error.strerror}")
    except OSError as error:
        return CurrentImage(None, None, error.strerror)
    return CurrentImage(data, hashlib.sha256(data).hexdigest(), None)
