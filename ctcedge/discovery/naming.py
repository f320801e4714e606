"""Find the crops in an export folder and group them by sample and cell.

There is no public description of a DEPArray export, so the default naming is assumed; a regular
expression replaces it.
"""

from __future__ import annotations

import functools
import os
import re
import stat
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from ctcedge.errors import SettingsError, SetupError

BRIGHT_FIELD = "BF"
SIDECAR_SUFFIX = ".ctc.json"
IMAGE_SUFFIXES = (".png", ".tif", ".tiff")

DEFAULT_CHANNELS: Mapping[str, tuple[str, ...]] = {
    BRIGHT_FIELD: (
        "BF",
        "Brightfield",
        "Bright",
        "TL",
        "Trans",
        "Transmitted",
        "Transmission",
        "TD",
    ),
    "DAPI": ("DAPI", "Hoechst", "DNA", "Nucleus"),
    "PE": ("PE", "CK", "Cytokeratin"),
    "APC": ("APC", "CD45"),
    "FITC": ("FITC", "GFP", "EpCAM"),
}

_GROUPS = {"cell", "channel", "sample"}
_DEFAULT_PREFIX = r"(?:(?:cell|img|image|crop|event|object)(?:[ _.-]+|(?=\d)))?"


class Crop(NamedTuple):
    """One image file of one cell.

    Attributes:
        path: relative to the folder searched, with forward slashes.
        sample: from the pattern, or the parent folder, or the searched folder's own name.
        cell: from the file name, verbatim.
        channel: key of the channel table, `BF` for bright field.
    """

    path: str
    sample: str
    cell: str
    channel: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A directory entry that is not a crop.

    Attributes:
        path: relative to the folder searched.
        kind: `unmatched` files could be meant; `ignored` entries are never opened; what an
            `unreadable` folder holds is not known.
        reason: why, in a few words.
    """

    path: str
    kind: Literal["unmatched", "ignored", "unreadable"]
    reason: str


Found: TypeAlias = Crop | Skipped


class Naming:
    """Reads sample, cell and channel from a path.

    Args:
        pattern: regular expression with the named group `cell` and optionally `channel` and
            `sample`; matched in full against the file name, or against the relative path when it
            holds a `/`. None for the default.
        channels: aliases of each channel, compared without case, spaces, `_`, `-` and `.`.

    Raises:
        SettingsError: the pattern or the table cannot be used.
    """

    def __init__(
        self, pattern: str | None = None, channels: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        table = _channel_table(channels or {})
        # A folder knows few aliases, and holds many files.
        self._channel_of = functools.lru_cache(256)(lambda alias: table.get(_folded(alias)))
        self._on_path = pattern is not None and "/" in pattern
        self._regex = _default_regex() if pattern is None else _compile(pattern)

    def read(self, path: str, folder_name: str) -> Found:
        """Read a relative path; `folder_name` is the sample of files directly in the folder."""
        parent, _, name = path.rpartition("/")
        match = self._regex.fullmatch(path if self._on_path else name)
        if match is None:
            return Skipped(path, "unmatched", "the name does not fit the pattern")
        groups = match.groupdict()
        if not groups["cell"]:
            return Skipped(path, "unmatched", "the pattern's 'cell' is empty for this name")
        channel = BRIGHT_FIELD
        if alias := groups.get("channel"):
            known = self._channel_of(alias)
            if known is None:
                return Skipped(path, "unmatched", f"channel '{alias}' is not in the channel table")
            channel = known
        sample = groups.get("sample") or parent or folder_name
        return Crop(path, sys.intern(sample), groups["cell"], channel)


def find(folder: Path, naming: Naming) -> Iterator[Found]:
    """Walk the folder and yield every entry that could matter, in sorted order.

    Symbolic links, FIFOs, sockets, devices and directories with an image's name are yielded as
    ignored and never opened; so are hidden entries. Sidecars are passed over. A sub-folder that
    vanishes or may not be read is yielded as ignored.

    Args:
        folder: an existing directory.
        naming: how names are read.
    """
    name = folder_name(folder)
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            files, others = _listed(os.path.join(folder, prefix))
        except OSError as error:
            if not prefix:
                raise
            text = f"folder cannot be read: {error.strerror}"
            yield Skipped(prefix.rstrip("/"), "unreadable", text)
            continue
        subfolders = []
        for entry in sorted([*files, *others]):
            path = prefix + entry
            if entry not in others:
                yield naming.read(path, name)
            elif (reason := others[entry]) is None:
                subfolders.append(path + "/")
            else:
                yield Skipped(path, "ignored", reason)
        pending.extend(reversed(subfolders))


def _listed(folder: str) -> tuple[list[str], dict[str, str | None]]:
    """List a folder without its sidecars.

    Returns:
        Names of the files that may be read; and of all else, with why it is never opened, or None
        for a folder to be searched.

    Raises:
        OSError: it cannot be read.
    """
    files: list[str] = []
    others: dict[str, str | None] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.endswith(SIDECAR_SUFFIX):
                continue
            if entry.is_file(follow_symlinks=False) and not name.startswith("."):
                files.append(name)
            else:
                others[name] = _never_opened(entry)
    return files, others


def search(folder: Path, naming: Naming) -> Iterator[Found]:
    """As `find`, of a folder that a person named.

    Raises:
        SetupError: it is not a folder that can be read.
    """
    check_folder(folder)
    try:
        yield from find(folder, naming)
    except OSError as error:
        raise SetupError(f"{folder}: cannot be read ({error.strerror})") from None


def check_folder(folder: Path) -> None:
    """See that the searched folder is a folder.

    Raises:
        SetupError: it is not.
    """
    if not folder.exists():
        raise SetupError(f"{folder} does not exist; give the folder that holds the crops")
    if not folder.is_dir():
        raise SetupError(f"{folder} is a file; give the folder that holds the crops")


def find_one(folder: Path, name: str, path: str, naming: Naming) -> Found | None:
    """Look at one path as `find` would; None where it is gone or is not a file to be read.

    Args:
        folder: the searched folder.
        name: from `folder_name`.
        path: relative to it.
        naming: how names are read.
    """
    *parents, file = path.split("/")
    if any(part.startswith(".") or _image_name(part) for part in parents):
        return None
    if file.startswith(".") or file.endswith(SIDECAR_SUFFIX):
        return None
    place = os.fspath(folder)
    try:
        for part in parents:
            place = os.path.join(place, part)
            if not stat.S_ISDIR(os.lstat(place).st_mode):
                return None
        mode = os.lstat(os.path.join(place, file)).st_mode
    except OSError:
        return None
    return naming.read(path, name) if stat.S_ISREG(mode) else None


def folder_name(folder: Path) -> str:
    """The folder's own name, also for `.` and the file system's root."""
    return folder.resolve().name or "root"


def _never_opened(entry: os.DirEntry[str]) -> str | None:
    """Why an entry that is no plain file, or is hidden, is ignored; None for a folder."""
    if entry.name.startswith("."):
        return "hidden"
    if entry.is_symlink():
        return "symbolic link"
    if entry.is_dir(follow_symlinks=False):
        return "directory with an image's name" if _image_name(entry.name) else None
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except OSError:
        return "vanished"
    if stat.S_ISFIFO(mode):
        return "FIFO"
    return "socket" if stat.S_ISSOCK(mode) else "device"


def _image_name(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _folded(alias: str) -> str:
    return re.sub(r"[ _.-]", "", alias).casefold()


def _channel_table(own: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Channel by folded alias; a channel in `own` replaces its default aliases."""
    channel_of: dict[str, str] = {}
    for channel, aliases in own.items():
        for alias in aliases:
            known = channel_of.setdefault(_folded(alias), channel)
            if known != channel:
                raise SettingsError(
                    f"channel alias '{alias}' stands for both {known} and {channel}"
                )
    for channel, aliases in DEFAULT_CHANNELS.items():
        if channel not in own:
            for alias in aliases:
                channel_of.setdefault(_folded(alias), channel)
    if BRIGHT_FIELD not in channel_of.values():
        raise SettingsError(f"the channel table must give at least one alias of {BRIGHT_FIELD}")
    return channel_of


def _default_regex() -> re.Pattern[str]:
    # The channel is the last word of the name; "bright-field" and "bright field" are one word.
    channel = r"(?P<channel>bright[ _-]field|[^ _.-]+)"
    return re.compile(
        rf"{_DEFAULT_PREFIX}(?P<cell>.+?)[ _.-]+{channel}\.(?:png|tiff?)", re.IGNORECASE | re.DOTALL
    )


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # of what a later Python reads otherwise
            regex = re.compile(pattern)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise SettingsError(f"--pattern is not a regular expression: {error}") from None
    if "cell" not in regex.groupindex:
        raise SettingsError(r"--pattern needs a group named cell, such as (?P<cell>\d+)_BF\.png")
    unknown = regex.groupindex.keys() - _GROUPS
    if unknown:
        raise SettingsError(
            f"--pattern has an unknown group '{min(unknown)}'; known are cell, channel and sample"
        )
    return regex
