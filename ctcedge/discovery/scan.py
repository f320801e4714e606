"""Walk an export folder and list its crops."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.cut_crops import CUT_FOLDER, CUT_PREFIX, cut_crop, cut_crops, is_table_only
from ctcedge.discovery.ignore import BIN_REASON, IGNORE_REASON
from ctcedge.discovery.naming import (
    IMAGE_SUFFIXES,
    SIDECAR_SUFFIX,
    Crop,
    Found,
    Naming,
    Skipped,
    folder_name,
)
from ctcedge.discovery.not_understood import is_image_like, not_understood
from ctcedge.discovery.proposal import propose
from ctcedge.errors import NoCropsError, SetupError
from ctcedge.fs.files import is_absence
from ctcedge.fs.problems import path_problem
from ctcedge.fs.tree import opened_folder


@dataclass(frozen=True, slots=True)
class CropListing:
    """Content of an export folder.

    Attributes:
        crops: bright-field crops, which are classified.
        other_channels: crops of the fluorescence channels.
        skipped: all other entries that could matter, with the reason.
    """

    crops: list[Crop]
    other_channels: list[Crop]
    skipped: list[Skipped]

    def duplicates(self) -> list[tuple[str, str]]:
        """Return each (sample, cell) with more than one bright-field image."""
        counts = Counter((crop.sample, crop.cell) for crop in self.crops)
        return [cell for cell, count in counts.items() if count > 1]

    def passed_over(self) -> list[Skipped]:
        """Return the entries that were passed over by name: bins, snapshots, and what is set."""
        return [entry for entry in self.skipped if entry.reason in (BIN_REASON, IGNORE_REASON)]

    def not_understood(self, naming: Naming) -> list[Skipped]:
        """Return the files that look like images and are neither crops nor their channels.

        Args:
            naming: with which the folder was searched.
        """
        return not_understood(self.skipped, (crop.path for crop in self.crops), naming)

    def without_bright_field(self) -> list[tuple[str, str]]:
        """Return each (sample, cell) with images of other channels only."""
        bright = {(crop.sample, crop.cell) for crop in self.crops}
        others = dict.fromkeys((crop.sample, crop.cell) for crop in self.other_channels)
        return [cell for cell in others if cell not in bright]


def walk(folder: Path, naming: Naming) -> Iterator[Found]:
    """Walk a folder that a user named; see `iter_entries`.

    Raises:
        SetupError: it is not a folder that can be read.
    """
    check_folder(folder)
    try:
        yield from iter_entries(folder, naming)
    except OSError as error:
        raise SetupError(path_problem(folder, error)) from None


def iter_entries(folder: Path, naming: Naming) -> Iterator[Found]:
    """Walk a folder and yield every entry that could matter, in sorted order.

    Symbolic links, FIFOs, sockets, devices and directories with an image's name are yielded as
    ignored and never opened; so are hidden entries, and what `naming.ignore` names. Sidecars are
    passed over. A sub-folder that vanishes or may not be read is yielded as unreadable.

    Args:
        folder: searched recursively.
        naming: how names are read.

    Raises:
        OSError: the folder itself cannot be read.
    """
    name = folder_name(folder)
    cut = () if naming.crops_root is None else cut_crops(naming.crops_root)
    yield from cut
    if naming.crops_root is not None and is_table_only(naming.crops_root):
        with opened_folder(folder, ""):
            return
    cells = {(crop.sample, crop.cell) for crop in cut}
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            files, others = _listed(folder, prefix.rstrip("/"))
        except OSError as error:
            if not prefix:
                raise
            text = f"folder cannot be read: {error.strerror}"
            yield Skipped(prefix.rstrip("/"), "unreadable", text)
            continue
        subfolders = []
        for entry in sorted([*files, *others]):
            path = prefix + entry
            other = others.get(entry)
            reason = naming.ignore.reason(path, folder=other is _FOLDER)
            if reason is not None:
                yield Skipped(path, "ignored", reason)
            elif other is None:
                if cells and _is_cut(path, name, naming, cells):
                    yield Skipped(path, "cut", f"its cells were cut into {CUT_FOLDER}")
                else:
                    yield naming.read(path, name)
            elif other is _FOLDER and entry == CUT_FOLDER:
                yield Skipped(path, "ignored", "crops that ctcedge cut")
            elif other is _FOLDER:
                subfolders.append(path + "/")
            else:
                yield Skipped(path, other.kind, other.reason)
        pending.extend(reversed(subfolders))


def _is_cut(path: str, name: str, naming: Naming, cells: set[tuple[str, str]]) -> bool:
    """Whether a file holds pages of a cell that were cut into crops."""
    crop = naming.file_of_pages(path, name)
    return crop is not None and (crop.sample, crop.cell) in cells


class _Other(NamedTuple):
    """An entry of a folder that is no regular file.

    Attributes:
        kind: as of `Skipped`.
        reason: why it is never opened.
    """

    kind: Literal["ignored", "unreadable"]
    reason: str


_FOLDER = _Other("ignored", "folder")  # it is searched


def _listed(folder: Path, path: str) -> tuple[list[str], dict[str, _Other]]:
    """List a folder without its sidecars.

    Args:
        folder: the searched folder.
        path: of the folder to list, relative to the searched one.

    Returns:
        The names of regular files; and those of all other entries.

    Raises:
        OSError: it cannot be read.
    """
    files: list[str] = []
    others: dict[str, _Other] = {}
    with opened_folder(folder, path) as descriptor, os.scandir(descriptor) as entries:
        for entry in entries:
            name = entry.name
            if name.endswith(SIDECAR_SUFFIX):
                continue
            try:
                if entry.is_file(follow_symlinks=False) and not name.startswith("."):
                    files.append(name)
                else:
                    others[name] = _other(entry)
            except OSError as error:  # of a file system that lists names without types
                if _image_name(name):
                    files.append(name)  # it is recorded as unreadable
                else:
                    others[name] = _Other("unreadable", f"cannot be read: {error.strerror}")
    return files, others


def check_folder(folder: Path) -> None:
    """Check that a folder that a user named is a folder.

    Raises:
        SetupError: it is not.
    """
    try:
        mode = os.stat(folder).st_mode
    except (FileNotFoundError, NotADirectoryError):
        text = f"{folder} does not exist; give the folder that holds the crops"
        raise SetupError(text) from None
    except OSError as error:
        raise SetupError(path_problem(folder, error)) from None
    if not stat.S_ISDIR(mode):
        raise SetupError(f"{folder} is a file; give the folder that holds the crops")


def find_one(folder: Path, name: str, path: str, naming: Naming) -> Found | None:
    """Return the entry of one path, as `iter_entries` does; None where it is gone or never read.

    Args:
        folder: the searched folder.
        name: from `folder_name`.
        path: relative to it.
        naming: how names are read.
    """
    if path.startswith(CUT_PREFIX):
        root = naming.crops_root
        return None if root is None or not os.path.isfile(root / path) else cut_crop(path, root)
    if naming.crops_root is not None and is_table_only(naming.crops_root):
        return None
    *parents, file = path.split("/")
    if CUT_FOLDER in parents or any(part.startswith(".") or _image_name(part) for part in parents):
        return None
    if file.startswith(".") or file.endswith(SIDECAR_SUFFIX) or naming.ignore.hides(path):
        return None
    place = os.fspath(folder)
    try:
        for part in parents:
            place = os.path.join(place, part)
            if not stat.S_ISDIR(os.lstat(place).st_mode):
                return None
        if not stat.S_ISREG(os.lstat(os.path.join(place, file)).st_mode):
            return None
    except OSError as error:
        if is_absence(error):
            return None
    return naming.read(path, name)


def list_folder(folder: Path, naming: Naming) -> CropListing:
    """List the content of a folder.

    Raises:
        SetupError: it is not a folder that can be read.
    """
    listing = CropListing([], [], [])
    for entry in walk(folder, naming):
        if isinstance(entry, Skipped):
            listing.skipped.append(entry)
        elif entry.channel == BRIGHT_FIELD:
            listing.crops.append(entry)
        else:
            listing.other_channels.append(entry)
    return listing


def require_crops(folder: Path, listing: CropListing) -> None:
    """Check that a folder has bright-field crops.

    Raises:
        NoCropsError: it has none; the text lists the first few names and says what to do.
    """
    if listing.crops:
        return
    unmatched = [entry.path for entry in listing.skipped if entry.kind == "unmatched"]
    images = [path for path in unmatched if is_image_like(path)]
    others = [crop.path for crop in listing.other_channels]
    text = f"no file name in {folder} could be parsed as that of a bright-field crop"
    if others:
        channels = sorted({crop.channel for crop in listing.other_channels})
        text = f"{folder} holds images of {', '.join(channels)} but none of bright field"
    examples = images or others or unmatched
    shown = "\n  ".join(repr(path)[1:-1] for path in examples[:5]) or "(no files)"
    raise NoCropsError(f"{text}. Found:\n  {shown}\n{_remedy(images, others)}")


def _remedy(images: list[str], others: list[str]) -> str:
    """Return what to do about a folder without bright-field crops.

    Args:
        images: files that look like images, whose names were not understood.
        others: images of other channels.
    """
    readable = [path for path in images if _image_name(path)]
    if images and not readable:
        endings = sorted({path.rpartition(".")[2].upper() for path in images})
        return (
            f"ctcedge reads PNG and TIFF, not {', '.join(endings)}: export the crops as PNG or"
            " TIFF, without loss"
        )
    if readable:
        return (
            f"Describe the names by a pattern, for instance: --pattern '{_suggested(readable)}'."
            " 'ctcedge inspect' shows how each name is parsed."
        )
    if others:
        return (
            "If one of them is the bright-field image, name it in a settings file, for instance:"
            " channels.BF = [\"name\"]. 'ctcedge inspect' shows how each name is parsed."
        )
    return "Give the folder that holds the crops, as PNG or TIFF files."


def _suggested(paths: list[str]) -> str:
    """Return a template that reads the names of images."""
    proposal = propose(paths)
    return "{cell}" if proposal is None else proposal.template


def _other(entry: os.DirEntry[str]) -> _Other:
    """Return what an entry is that is hidden or not a regular file.

    Raises:
        OSError: that cannot be found out.
    """
    if entry.name.startswith("."):
        return _Other("ignored", "hidden")
    if entry.is_symlink():
        return _Other("ignored", "symbolic link")
    if entry.is_dir(follow_symlinks=False):
        if _image_name(entry.name):
            return _Other("ignored", "directory with an image's name")
        return _FOLDER
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except FileNotFoundError:
        return _Other("ignored", "vanished")
    if stat.S_ISFIFO(mode):
        return _Other("ignored", "FIFO")
    return _Other("ignored", "socket" if stat.S_ISSOCK(mode) else "device")


def _image_name(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)
