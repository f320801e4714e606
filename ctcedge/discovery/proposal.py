"""Propose a template from the names of images.

A name is cut into words. A word that is the same in all names is text; one that names a channel is
`{channel}`; of the others, the one with the most different values is `{cell}`.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ctcedge.discovery.channels import channel_regex, channel_table, fold_alias
from ctcedge.discovery.naming import IMAGE_SUFFIXES, Crop, Naming
from ctcedge.discovery.template import template_of

_MAX_NAMES = 5000
_MAX_CHANNELS = 8  # different words of a channel that are not in the table
_MIN_COMPLETE = 0.8  # fraction of the cells that have an image of each of these


@dataclass(frozen=True, slots=True)
class Proposal:
    """A template that reads most of the names.

    Attributes:
        template: see `ctcedge.discovery.template`.
        images: number of images that were read with it.
        understood: number of them whose sample, cell and channel it gives.
        unknown_channels: words in the place of the channel that are not in the channel table.
    """

    template: str
    images: int
    understood: int
    unknown_channels: tuple[str, ...] = ()

    def naming(self, channels: Mapping[str, tuple[str, ...]] | None) -> Naming:
        """Return the naming that the template gives, in which each unknown word is a channel."""
        return _naming(self.template, channels, self.unknown_channels)


@dataclass(frozen=True, slots=True)
class _Names:
    """Names that are built in the same way.

    Attributes:
        folders: of each name, its parent folders.
        words: of each name, its words.
        between: text before, between and after the words.
        ending: of the files, with its dot.
    """

    folders: list[list[str]]
    words: list[list[str]]
    between: list[str]
    ending: str

    def values(self, position: int) -> list[str]:
        """Return the word at a position of each name."""
        return [words[position] for words in self.words]

    def others(self, position: int) -> Iterator[tuple[str, ...]]:
        """Return each name without the word at a position."""
        for folders, words in zip(self.folders, self.words, strict=True):
            yield (*folders, "", *words[:position], *words[position + 1 :])


def propose(
    paths: Sequence[str], channels: Mapping[str, tuple[str, ...]] | None = None
) -> Proposal | None:
    """Propose a template for the names of images; None where none reads any of them.

    Args:
        paths: relative to the searched folder, of images.
        channels: aliases by channel, as of `Naming`.
    """
    images = [path for path in paths if path.lower().endswith(IMAGE_SUFFIXES)]
    step = -(-len(images) // _MAX_NAMES) or 1
    images = images[::step]
    if not images:
        return None
    names = _largest_group(images, channel_regex(channels or {}))
    table = channel_table(channels or {})
    proposals = [
        _read(template, images, channels, unknown)
        for template, unknown in _candidates(names, lambda word: fold_alias(word) in table)
    ]
    best = max(proposals, key=lambda proposal: proposal.understood, default=None)
    return best if best is not None and best.understood else None


def _largest_group(images: list[str], word: str) -> _Names:
    """Return the largest group of names with the same text between their words."""
    pattern = re.compile(word, re.IGNORECASE)
    groups: dict[tuple[str, ...], list[tuple[list[str], list[str]]]] = defaultdict(list)
    for path in images:
        parent, _, name = path.rpartition("/")
        stem, ending = os.path.splitext(name)
        if stem.lower().endswith(".ome"):
            stem, ending = stem[:-4], stem[-4:] + ending
        found = list(pattern.finditer(stem))
        edges = [0, *(edge for match in found for edge in match.span()), len(stem)]
        between = [stem[start:end] for start, end in list(itertools.pairwise(edges))[::2]]
        folders = parent.split("/") if parent else []
        groups[(*between, ending.lower())].append((folders, [match[0] for match in found]))
    (*between, ending), members = max(groups.items(), key=lambda item: len(item[1]))
    return _Names([f for f, _ in members], [words for _, words in members], between, ending)


def _candidates(
    names: _Names, is_channel: Callable[[str], bool]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Return templates with the words in the place of their channel that are not known."""
    count = len(names.words[0])
    channel, unknown = _channel_position(names, is_channel)
    fields = {} if channel is None else {channel: "{channel}"}
    depth = min(len(folders) for folders in names.folders)
    parents = [folders[-1] for folders in names.folders if depth]
    folder = ""
    if channel is None and _may_be_channels(parents, is_channel):
        folder = "{sample}/{channel}/" if depth > 1 else "{channel}/"
        unknown = _unknown(parents, is_channel)
    free = [n for n in range(count) if n not in fields]
    varying = [n for n in free if len(set(names.values(n))) > 1]
    if parents and not folder and (repeated := [n for n in free if names.values(n) == parents]):
        fields |= dict.fromkeys(repeated, "{sample}")
        folder = "{sample}/"
        varying = [n for n in varying if n not in repeated]
    if not varying and depth and "{channel}" not in folder:
        levels = "{sample}/{cell}/" if depth > 1 else "{cell}/"
        yield levels + _template(names, fields), unknown
        return
    cell = max(varying or [n for n in free if n not in fields], default=None, key=_spread(names))
    if cell is None:
        return
    for other in ("*", "{sample}"):
        rest = dict.fromkeys((n for n in varying if n != cell), other)
        if other == "*" or (len(rest) == 1 and not depth):
            yield folder + _template(names, {**rest, cell: "{cell}", **fields}), unknown
    if len(varying) > 1:
        yield folder + _template(names, fields, (varying[0], varying[-1])), unknown


def _spread(names: _Names) -> Callable[[int], tuple[int, int, int]]:
    """Return a key that orders positions by how well their word identifies a cell."""

    def key(position: int) -> tuple[int, int, int]:
        values = names.values(position)
        digits = sum(character.isdigit() for character in values[0])
        return len(set(values)), digits, position

    return key


def _channel_position(
    names: _Names, is_channel: Callable[[str], bool]
) -> tuple[int | None, tuple[str, ...]]:
    """Return the position of the channel's word, and the words there that are not known."""
    positions = range(len(names.words[0]) - 1, -1, -1)
    for position in positions:
        if _may_be_channels(values := names.values(position), is_channel):
            return position, _unknown(values, is_channel)
    for position in positions:
        words = set(values := names.values(position))
        if not 1 < len(words) <= _MAX_CHANNELS or all(word.isdecimal() for word in words):
            continue
        images = Counter(names.others(position))
        if len(images) > 1 and len(names.words) >= _MIN_COMPLETE * len(images) * len(words):
            return position, _unknown(values, is_channel)
    return None, ()


def _may_be_channels(values: list[str], is_channel: Callable[[str], bool]) -> bool:
    """Whether these are a few words, of which at least one names a channel."""
    words = set(values)
    return len(words) <= _MAX_CHANNELS and any(map(is_channel, words))


def _unknown(values: list[str], is_channel: Callable[[str], bool]) -> tuple[str, ...]:
    return tuple(sorted({word for word in values if not is_channel(word)}))


def _template(names: _Names, fields: Mapping[int, str], span: tuple[int, int] | None = None) -> str:
    """Write a template.

    Args:
        names: that it is for.
        fields: field of each position; the others are text.
        span: first and last position of `{cell}`.
    """
    text = template_of(names.between[0])
    for position, after in enumerate(names.between[1:]):
        inside = span is not None and span[0] <= position <= span[1]
        if not inside:
            text += _word(names.values(position), fields.get(position))
        elif span is not None and position == span[0]:
            text += "{cell}"
        if not (span is not None and span[0] <= position < span[1]):
            text += template_of(after)
    return text + names.ending


def _word(values: list[str], field: str | None) -> str:
    """Write a word as text, or as a field; of numbers, the letters about them are text."""
    if field is None:
        return template_of(values[0])
    if field in ("{channel}", "{sample}"):
        return field
    prefix = _common_letters(values)
    suffix = _common_letters([value[::-1] for value in values])[::-1]
    numbers = [value[len(prefix) : len(value) - len(suffix)] for value in values]
    if not all(number.isdecimal() for number in numbers):
        return field
    return template_of(prefix) + field + template_of(suffix)


def _common_letters(values: list[str]) -> str:
    """Return the start that all texts share, up to its first digit."""
    first, last = min(values), max(values)
    pairs = zip(first, last, strict=False)
    same = itertools.takewhile(lambda pair: pair[0] == pair[1] and not pair[0].isdigit(), pairs)
    return "".join(character for character, _ in same)


def _naming(
    template: str, channels: Mapping[str, tuple[str, ...]] | None, unknown: tuple[str, ...]
) -> Naming:
    return Naming(template, {**(channels or {}), **{word: (word,) for word in unknown}})


def _read(
    template: str,
    images: list[str],
    channels: Mapping[str, tuple[str, ...]] | None,
    unknown: tuple[str, ...],
) -> Proposal:
    naming = _naming(template, channels, unknown)
    cells = {
        (crop.sample, crop.cell, crop.channel)
        for crop in (naming.read(path, "") for path in images)
        if isinstance(crop, Crop)
    }
    return Proposal(template, len(images), len(cells), unknown)
