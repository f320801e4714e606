"""Crops that ctcedge cut from frames and from files of many pages.

They are PNG files in a folder of their own below the folder of the sidecars:
`ctcedge-crops/<sample>/<cell>_<channel>.png`. A path that begins with that folder is relative to
the folder of the sidecars, all others to the searched folder. Characters that cannot be in a file
name are written as `%` and two digits, so that sample, cell and channel can be read back verbatim.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ctcedge.discovery.naming import Crop
from ctcedge.errors import SettingsError
from ctcedge.fs.tree import walk

CUT_FOLDER = "ctcedge-crops"
CUT_PREFIX = CUT_FOLDER + "/"
TABLE_MARK = ".ctcedge-index"
"""File in that folder which says that an index table names all cells."""

_MAX_NAME = 240  # bytes of a file name, with room for the sidecar's suffix
_UNSAFE = re.compile(r'[%\x00-\x1f\x7f/\\:*?"<>|]|^\.|[. ]$')
_ESCAPE = re.compile(r"%([0-9A-F]{2})")


def cut_path(sample: str, cell: str, channel: str) -> str:
    """Return the path of a crop, relative to the folder of the sidecars.

    Raises:
        SettingsError: a name is empty or too long for a file.
    """
    parts = sample.split("/")
    if any(part in ("", ".", "..") for part in parts):
        parts = [sample]
    name = f"{_safe(cell)}_{_safe(channel).replace('_', '%5F')}.png"
    parts = [*map(_safe, parts), name]
    if not sample or not cell or not channel:
        raise SettingsError("a cell needs a sample, a name and a channel")
    if any(len(os.fsencode(part)) > _MAX_NAME for part in parts):
        raise SettingsError("the name of the sample or cell is too long for a file")
    return CUT_PREFIX + "/".join(parts)


def cut_crop(path: str, root: Path) -> Crop | None:
    """Return the crop of a path below the folder of the sidecars; None where it is none."""
    parent, _, name = path.removeprefix(CUT_PREFIX).rpartition("/")
    cell, _, channel = name.removesuffix(".png").rpartition("_")
    if not (parent and cell and channel) or not name.endswith(".png") or name.startswith("."):
        return None
    return Crop(path, _plain(parent), _plain(cell), _plain(channel), os.fspath(root))


def cut_crops(root: Path) -> list[Crop]:
    """List the crops that were cut, sorted by their paths; empty where there is no such folder."""
    return sorted(_found(root))


def image_root(folder: str | Path, crop: Crop) -> str | Path:
    """Return the folder that the path of a crop is relative to."""
    return crop.root or folder


def is_table_only(root: Path) -> bool:
    """Whether an index table names all cells, so that the searched folder is not walked."""
    return os.path.lexists(root / CUT_FOLDER / TABLE_MARK)


def _found(root: Path) -> Iterator[Crop]:
    base = root / CUT_FOLDER
    if os.path.islink(base) or not os.path.isdir(base):
        return
    for listed in walk(base):
        prefix = f"{CUT_PREFIX}{listed.path}/" if listed.path else CUT_PREFIX
        for name in listed.others:
            if (crop := cut_crop(prefix + name, root)) is not None:
                yield crop


def _safe(text: str) -> str:
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", text)


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
