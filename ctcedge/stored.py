"""Crops beside what is stored of them, for the commands that read sidecars and run no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ctcedge.crops import BRIGHT_FIELD, Crop, Naming, search
from ctcedge.errors import NoCropsError, SetupError
from ctcedge.sidecar import NotWritten, Record, SidecarFolder


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


def stored(folder: Path, sidecars: Path | None, naming: Naming) -> Iterator[Stored]:
    """Yield the folder's bright-field crops in the order of their names, each with its sidecar.

    Whether a sidecar is of the image as it is now is not looked at.

    Args:
        folder: the searched folder.
        sidecars: root of the sidecars; None for beside the images.
        naming: how file names are read.

    Raises:
        SetupError: it is not a folder that can be read.
    """
    place = SidecarFolder(folder, sidecars)
    for crop in bright_field(folder, naming):
        path = place.path(crop)
        try:
            yield Stored(crop, path, place.read(crop))
        except NotWritten as error:
            yield Stored(crop, path, None, str(error))


def need_stored(folder: Path, sidecars: Path | None, naming: Naming) -> Iterator[Stored]:
    """As `stored`, of a folder of which something must be stored; memory stays bounded.

    Raises:
        NoCropsError: the folder holds no bright-field crop.
        SetupError: no crop has a sidecar, or it is not a folder that can be read.
    """
    crops, problem = 0, None
    found = stored(folder, sidecars, naming)
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
    yield from stored(folder, sidecars, naming)


def bright_field(folder: Path, naming: Naming) -> Iterator[Crop]:
    """Walk the folder for the crops that decide calls.

    Raises:
        SetupError: it is not a folder that can be read.
    """
    for found in search(folder, naming):
        if isinstance(found, Crop) and found.channel == BRIGHT_FIELD:
            yield found
