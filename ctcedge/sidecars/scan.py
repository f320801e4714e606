"""Crops beside what is stored of them, for the commands that read sidecars and run no network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ctcedge.discovery.naming import BRIGHT_FIELD, Crop, Naming, Skipped
from ctcedge.discovery.scan import walk
from ctcedge.errors import NoCropsError, SetupError
from ctcedge.fs.files import read_plain
from ctcedge.images.types import MAX_BYTES
from ctcedge.sidecars.store import NotWritten, Record, SidecarFolder


class ModelSeen(NamedTuple):
    """A model as sidecars name it."""

    name: str
    version: str
    sha256: str

    @classmethod
    def of(cls, record: Record) -> ModelSeen:
        """The model of a sidecar, which may hold anything."""
        return cls(*(str(record["model"].get(key)) for key in cls._fields))


@dataclass(frozen=True, slots=True)
class Stored:
    """A bright-field crop and its sidecar.

    Attributes:
        crop: the crop.
        path: where its sidecar belongs.
        record: the sidecar's content in the present schema; None where it is absent, torn, or not
            to be used.
        problem: why a sidecar that is there is not to be used, or None.
    """

    crop: Crop
    path: Path
    record: Record | None
    problem: str | None = None


Closed: TypeAlias = dict[str, str]
"""Sub-folders that cannot be read, whose crops are not known: their paths, and why."""


def stored(
    folder: Path, sidecars: Path | None, naming: Naming, closed: Closed | None = None
) -> Iterator[Stored]:
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
    place = SidecarFolder(folder, sidecars)
    for crop in bright_field(folder, naming, closed):
        path = place.path(crop)
        try:
            yield Stored(crop, path, place.read(crop))
        except NotWritten as error:
            yield Stored(crop, path, None, str(error))


def need_stored(
    folder: Path, sidecars: Path | None, naming: Naming, closed: Closed | None = None
) -> Iterator[Stored]:
    """As `stored`, of a folder of which something must be stored; memory stays bounded.

    Raises:
        NoCropsError: the folder holds no bright-field crop.
        SetupError: no crop has a sidecar, or it is not a folder that can be read.
    """
    crops, problem = 0, None
    found = stored(folder, sidecars, naming, closed)
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
    yield from stored(folder, sidecars, naming, closed)


@dataclass(frozen=True, slots=True)
class ImageNow:
    """What lies at a crop's place now.

    Attributes:
        data: its bytes; None where it cannot be read.
        sha256: their hash, as a sidecar has it; None where it cannot be read.
        problem: why it cannot be read, or None.
    """

    data: bytes | None
    sha256: str | None
    problem: str | None


def image_now(folder: Path, crop: Crop) -> ImageNow:
    """Read the image of a crop, to see whether it still is the one that was called."""
    try:
        data = read_plain(folder / crop.path, MAX_BYTES)
    except OSError as error:
        return ImageNow(None, None, error.strerror)
    if data is None:
        return ImageNow(None, None, "it is no plain file")
    if len(data) > MAX_BYTES:
        return ImageNow(None, None, f"it is larger than {MAX_BYTES:,} bytes")
    return ImageNow(data, hashlib.sha256(data).hexdigest(), None)


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
