"""Files that look like images, and whose names the naming does not understand."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.naming import IMAGE_SUFFIXES, Naming, Skipped

NOT_READ = "of a format that is not read; export it as PNG or TIFF"

_IMAGES = frozenset(
    "avif bmp btf cif czi dcm dib dng dv flex gif hdr heic heif ics im3 img ims j2k jfif jif jp2"
    " jpe jpeg jpg jxl jxr lif lim lsm mrc nd2 ndpi oib oif oir pbm pcx pgm png pnm ppm psd qptiff"
    " r3d raw rif scn sgi stk svs tf2 tf8 tga tif tiff vsi webp xdce zvi".split()
)
_WORD = re.compile(r"[^ _.\-/]+")
_SEPARATORS = " _.-"


def is_image_like(path: str) -> bool:
    """Whether a file's name ends like that of an image, of a format that is read here or not."""
    stem, _, ending = path.rpartition(".")
    return bool(stem) and ending.lower() in _IMAGES


def not_understood(
    skipped: Iterable[Skipped], crops: Iterable[str], naming: Naming
) -> list[Skipped]:
    """Return the files that look like images and are neither crops nor other channels of crops.

    Args:
        skipped: entries that are not crops.
        crops: paths of the bright-field crops.
        naming: how names are read.
    """
    unmatched = [
        entry if entry.path.lower().endswith(IMAGE_SUFFIXES) else replace(entry, reason=NOT_READ)
        for entry in skipped
        if entry.kind == "unmatched" and is_image_like(entry.path)
    ]
    if not unmatched:
        return []
    known = _KnownCells(crops, naming)
    return [entry for entry in unmatched if not known.has_channel(entry.path)]


class _KnownCells:
    """Decides whether a file is another channel of a known cell.

    It is where its name is that of a bright-field crop but for the channel's word.
    """

    def __init__(self, crops: Iterable[str], naming: Naming) -> None:
        self._naming = naming
        self._words: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._without_channel: set[str] = set()
        for path in crops:
            stem = path.rpartition(".")[0]
            spans = naming.channel_spans(path)
            for start, end in spans:
                word = stem[start:end].casefold()
                self._words[stem[:start], stem[end:]].add(word)
            if not spans:
                self._without_channel.add(stem)

    def has_channel(self, path: str) -> bool:
        stem = path.rpartition(".")[0]
        words = [word.span() for word in _WORD.finditer(stem)]
        pairs = [
            (start, end)
            for (start, _), (_, end) in itertools.pairwise(words)
            if self._naming.channel_of(stem[start:end]) is not None
        ]
        return any(self._is_channel(stem, start, end) for start, end in (*words, *pairs))

    def _is_channel(self, stem: str, start: int, end: int) -> bool:
        before, word, after = stem[:start], stem[start:end], stem[end:]
        channel = self._naming.channel_of(word)
        words = self._words.get((before, after), set())
        if channel == BRIGHT_FIELD and any(map(self._is_bright_field, words)):
            return False  # another file of what is classified, such as a JPEG
        if words and word.casefold() not in words:
            return True
        if channel is None or channel == BRIGHT_FIELD:
            return False
        rest = (before.rstrip(_SEPARATORS) + after, before + after.lstrip(_SEPARATORS))
        return any(name in self._without_channel for name in rest)

    def _is_bright_field(self, word: str) -> bool:
        return self._naming.channel_of(word) == BRIGHT_FIELD
