"""Crops beside what is stored of them, for the commands that read sidecars and run no network."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ctcedge.discovery.naming import BRIGHT_FIELD, Crop, Naming, Skipped
from ctcedge.discovery.scan import walk
from ctcedge.errors import NoCropsError, SetupError
from ctcedge.fs.files import UnsuitableFileError, read_limited
from ctcedge.images.types import MAX_BYTES
from ctcedge.sidecars.schema import Sidecar
from ctcedge.sidecars.store import NotWritten, SidecarStore


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
        path: where its sidecar belongs.
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


Closed: TypeAlias = dict[str, str]
"""Sub-folders that cannot be read, whose crops are not known: their paths, and why."""


def scan_sidecars(
    folder: Path, sidecars: Path | None, naming: Naming, closed: Closed | None = None
) -> Iterator[CropRecord]:
    """Yield the folder's bright-field crops in the order of their names, each with its sidecar.

    Whether a sidecar is of the image as it is now is not looked at.

    Args:
        folder: the searched folder.
        sidecars: root of the sidecars; None for beside the images.
        naming: how file names are read.
        closed: gets the sub-folders that cannot be read.

    Raises:
        SetupError: it is not a folder that can be read.
    """
    place = SidecarStore(folder, sidecars)
    for crop in bright_field(folder, naming, closed):
        path = place.path(crop)
        try:
            record = place.read(crop)
        except NotWritten as error:
            yield CropRecord(crop, path, None, str(error))
            continue
        if record is None and os.path.lexists(path):
            yield CropRecord(crop, path, None, "it is torn, or no sidecar", damaged=True)
        else:
            yield CropRecord(crop, path, record)


def require_sidecars(
    folder: Path, sidecars: Path | None, naming: Naming, closed: Closed | None = None
) -> Iterator[CropRecord]:
    """As `stored`, of a folder of which something must be stored; memory stays bounded.

    Raises:
        NoCropsError: the folder holds no bright-field crop.
        SetupError: no crop has a sidecar, or it is not a folder that can be read.
    """
    crops, problem = 0, None
    found = scan_sidecars(folder, sidecars, naming, closed)
    for each in found:
        crops += 1
        problem = problem or each.problem
        if each.record is not None:
            break
    else:
        if not crops:
            raise NoCropsError(
                f"{folder} holds no bright-field crop; 'ctcedge inspect' shows how names are read"
            )
        why = problem or "run 'ctcedge classify' first, or say with --sidecars where they lie"
        raise SetupError(f"no crop of {folder} has a sidecar in {sidecars or folder}: {why}")
    yield from scan_sidecars(folder, sidecars, naming, closed)


@dataclass(frozen=True, slots=True)
class CurrentImage:
    """What lies at a crop's place now.

    Attributes:
        data: its bytes; None where it cannot be read.
        sha256: their hash, as a sidecar has it; None where it cannot be read.
        problem: why it cannot be read, or None.
    """

    data: bytes | None
    sha256: str | None
    problem: str | None


def read_current_image(folder: Path, crop: Crop) -> CurrentImage:
    """Read the image of a crop, to see whether it still is the one that was called."""
    try:
        data = read_limited(folder / crop.path, MAX_BYTES)
    except UnsuitableFileError as error:
        return CurrentImage(None, None, f"it is {error.strerror}")
    except OSError as error:
        return CurrentImage(None, None, error.strerror)
    return CurrentImage(data, hashlib.sha256(data).hexdigest(), None)


def bright_field(folder: Path, naming: Naming, closed: Closed | None = None) -> Iterator[Crop]:
    """Walk the folder for the crops that decide calls.

    Args:
        folder: the searched folder.
        naming: how file names are read.
        closed: gets the sub-folders that cannot be read.

    Raises:
        SetupError: it is not a folder that can be read.
    """
    for found in walk(folder, naming):
        if isinstance(found, Skipped):
            if closed is not None and found.kind == "unreadable":
                closed[found.path] = found.reason
        elif found.channel == BRIGHT_FIELD:
            yield found
