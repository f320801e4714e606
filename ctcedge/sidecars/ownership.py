"""To which crop a sidecar belongs.

File systems such as exFAT, and shares, may not tell apart names that differ only by case, by the
form of accents (NFC, NFD) or by dots at their end. Two crops then share one path for their
sidecars. Only the crop that the sidecar names may use it; otherwise each run would replace the call
of one by that of the other, and mix their histories.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from ctcedge.discovery.naming import Crop
from ctcedge.sidecars.schema import Sidecar


def folded(path: str) -> str:
    """Return one text for all paths that some file system takes for the same."""
    if not path.isascii():
        path = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
    return "/".join(name.rstrip(". ") for name in path.lower().split("/"))


def looks_like(path: str, other: str) -> bool:
    """Whether two paths look the same on a screen, as they differ by the form of accents only."""
    return unicodedata.normalize("NFC", path) == unicodedata.normalize("NFC", other)


def names_fit(crop: Crop, sidecar: Sidecar) -> bool:
    """Whether a sidecar has the image name and the cell of a crop."""
    name = crop.path.rpartition("/")[2]
    return sidecar.image.name == name and sidecar.cell == crop.cell


def other_owner(crop: Crop, sidecar: Sidecar, folder: Path) -> str | None:
    """Return the path of the image that a sidecar belongs to, where it is not this crop's.

    The sidecar of an image that is no longer there came with the crop when that was renamed.

    Args:
        crop: the crop at whose path the sidecar is.
        sidecar: its content.
        folder: the searched folder.
    """
    parent, slash, name = crop.path.rpartition("/")
    other = sidecar.image.name
    if other == name or "/" in other or "\0" in other:
        return None
    try:
        # Looking a name up would find the crop itself where the file system ignores case.
        there = other in os.listdir(folder / parent)
    except OSError:
        return None
    return f"{parent}{slash}{other}" if there else None
