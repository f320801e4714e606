"""File naming: sample, cell and channel of a crop from its path.

There is no public description of a DEPArray export, so the default naming is an assumption; a
template or a regular expression replaces it.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from ctcedge.discovery.channels import BRIGHT_FIELD, channel_regex, channel_table, fold_alias
from ctcedge.discovery.ignore import IgnoreRules
from ctcedge.discovery.pattern import NamePattern, PatternTimeoutError
from ctcedge.discovery.template import FIELDS, template_regex
from ctcedge.errors import SettingsError

SIDECAR_SUFFIX = ".ctc.json"
IMAGE_SUFFIXES = (".png", ".tif", ".tiff")

_REGEX_GROUP = "(?P<"
"""A pattern with a named group is a regular expression; others are templates."""
_WORD = re.compile(r"bright[ _-]?field|[^ _.\-/]+", re.IGNORECASE)
_DEFAULT_PREFIX = r"(?:(?:cell|img|image|crop|event|object)(?:[ _.-]+|(?=\d)))?"

_PAGES = re.compile(rf"{_DEFAULT_PREFIX}(?P<cell>.+?)(?:\.ome)?\.tiff?", re.IGNORECASE | re.DOTALL)


class Crop(NamedTuple):
    """One image file of one cell.

    Attributes:
        path: relative to the folder searched, with forward slashes.
        sample: from the pattern, the parent folder, or the name of the searched folder.
        cell: from the file name, verbatim.
        channel: key of the channel table, `BF` for bright field.
        root: folder that `path` is relative to, where it is not the folder searched: that of the
            sidecars, for a crop that ctcedge cut.
    """

    path: str
    sample: str
    cell: str
    channel: str
    root: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A directory entry that is not a crop.

    Attributes:
        path: relative to the folder searched.
        kind: `unmatched` for files that may be crops of another naming; `ignored` for entries that
            are never opened; `unreadable` for folders whose content is unknown; `cut` for files
            whose cells were cut into crops.
        reason: for a person to read.
    """

    path: str
    kind: Literal["unmatched", "ignored", "unreadable", "cut"]
    reason: str


Found: TypeAlias = Crop | Skipped


class Naming:
    """Parses sample, cell and channel of a path.

    Args:
        pattern: template with `{cell}` and optionally `{channel}` and `{sample}`, or regular
            expression with named groups of these names; matched in full against the file name, or
            against the relative path when it holds a `/`. None for the default.
        channels: aliases of each channel, compared without case, accents, spaces, `_`, `-`, `.`.
        ignore: names of files and folders that are passed over, see `IgnoreRules`.
        crops_root: folder below which crops are that ctcedge cut, see `discovery.cut_crops`.

    Attributes:
        ignore: what is passed over by name.
        crops_root: as given.

    Raises:
        SettingsError: the pattern or the table cannot be used.
    """

    def __init__(
        self,
        pattern: str | None = None,
        channels: Mapping[str, tuple[str, ...]] | None = None,
        ignore: Sequence[str] = (),
        crops_root: Path | None = None,
    ) -> None:
        self.crops_root = crops_root
        self._is_default = pattern is None
        self.ignore = IgnoreRules(ignore)
        table = channel_table(channels or {})
        words = channel_regex(channels or {})
        # A folder has few aliases and many files.
        self._channel_of = functools.lru_cache(256)(lambda alias: table.get(fold_alias(alias)))
        self._on_path = pattern is not None and "/" in pattern
        self._regex: re.Pattern[str] | NamePattern = (
            _default_regex(words) if pattern is None else _compile(pattern, words)
        )

    def read(self, path: str, folder_name: str) -> Found:
        """Parse a relative path; `folder_name` is the sample of files directly in the folder.

        Raises:
            SettingsError: the pattern takes too long.
        """
        parent, _, name = path.rpartition("/")
        try:
            match = self._regex.fullmatch(path if self._on_path else name)
        except PatternTimeoutError:
            return Skipped(path, "unmatched", "the pattern takes too long for this name")
        if match is None:
            return Skipped(path, "unmatched", "the name does not fit the pattern")
        groups = match.groupdict()
        if not groups["cell"]:
            return Skipped(path, "unmatched", "the pattern's 'cell' is empty for this name")
        channel = BRIGHT_FIELD
        if alias := groups.get("channel"):
            named = self._channel_of(alias)
            if named is None:
                return Skipped(path, "unmatched", f"channel '{alias}' is not in the channel table")
            channel = named
        sample = groups.get("sample") or parent or folder_name
        return Crop(path, sys.intern(sample), groups["cell"], channel)

    def file_of_pages(self, path: str, folder_name: str) -> Crop | None:
        """Return the cell of a file that may hold its channels as pages; None for other names.

        By the default naming the name needs no word for the channel, as in `S1/7.ome.tif`.
        """
        match = _PAGES.fullmatch(path.rpartition("/")[2])
        if match is None:
            return None
        found = self.read(path, folder_name)
        if isinstance(found, Crop):
            return found if found.channel == BRIGHT_FIELD else None
        if not self._is_default:
            return None
        sample = path.rpartition("/")[0] or folder_name
        return Crop(path, sys.intern(sample), match["cell"], BRIGHT_FIELD)

    def channel_of(self, alias: str) -> str | None:
        """Return the channel of an alias; None where it is in no channel's list."""
        return self._channel_of(alias)

    def channel_spans(self, path: str) -> list[tuple[int, int]]:
        """Return the places in the path of a crop that may be the channel's word.

        Where the pattern has no group for it, these are the words outside its groups that are
        aliases of bright field, or else the last such word after the cell.
        """
        name = path.rpartition("/")[2]
        start = 0 if self._on_path else len(path) - len(name)
        try:
            match = self._regex.fullmatch(path[start:])
        except PatternTimeoutError:
            return []
        if match is None:
            return []
        if match.groupdict().get("channel"):
            return [(start + match.start("channel"), start + match.end("channel"))]
        groups = [match.span(group) for group in match.groupdict()]
        stem = path.rpartition(".")[0]
        words = [
            (start + first, start + last)
            for first, last in (word.span() for word in _WORD.finditer(stem[start:]))
            if all(last <= begin or end <= first for begin, end in groups)
        ]
        named = [span for span in words if self._channel_of(path[slice(*span)]) == BRIGHT_FIELD]
        after = [span for span in words if span[0] >= start + match.end("cell")]
        return named or after[-1:]


def folder_name(folder: Path) -> str:
    """The folder's own name, also for `.` and the file system's root."""
    return folder.resolve().name or "root"


def _default_regex(channel: str) -> re.Pattern[str]:
    # The channel is the last word of the name.
    return re.compile(
        rf"{_DEFAULT_PREFIX}(?P<cell>.+?)[ _.-]+(?P<channel>{channel})(?:\.ome)?\.(?:png|tiff?)",
        re.IGNORECASE | re.DOTALL,
    )


def _compile(pattern: str, channel: str) -> NamePattern:
    if _REGEX_GROUP not in pattern:
        return NamePattern(f"(?is){template_regex(pattern, channel)}", pattern)
    regex = NamePattern(pattern)
    if "cell" not in regex.groups:
        raise SettingsError(r"--pattern needs a group named cell, such as (?P<cell>\d+)_BF\.png")
    unknown = regex.groups - set(FIELDS)
    if unknown:
        raise SettingsError(
            f"--pattern has an unknown group '{min(unknown)}'; known are cell, channel and sample"
        )
    return regex
