"""Warnings about images that were classified, but may not be what they seem."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

from ctcedge.discovery.cut_crops import image_root
from ctcedge.discovery.naming import Crop
from ctcedge.errors import BadImage
from ctcedge.fs.tree import Tree
from ctcedge.images.header import read_header
from ctcedge.images.read import read_file
from ctcedge.sidecars.schema import ImageRecord, Sidecar

Kind: TypeAlias = Literal["assumed", "contradiction", "offset"]

_MAX_DIFFERENCE = 0.02
"""Largest relative difference of two um/px that are the same."""
_MAX_PEEKED = 5


def crops(count: int) -> str:
    """Return a number of crops in words."""
    return f"{count:,} crop" if count == 1 else f"{count:,} crops"


def stated_um_per_px(folder: Path, crops: Iterable[Crop]) -> float | None:
    """Return the um/px that the first crop states that can be read; None where it states none."""
    try:
        for crop in islice(crops, _MAX_PEEKED):
            with Tree(image_root(folder, crop)) as tree:
                try:
                    return read_header(read_file(tree, crop.path)).um_per_px
                except (OSError, BadImage):
                    continue
    except OSError:  # of the folder: the run itself meets it, and says so
        pass
    return None


def contradicts(given: float | None, stated: float | None) -> bool:
    """Whether a um/px is not the one that an image states."""
    if given is None or stated is None:
        return False
    return abs(math.log(given / stated)) > _MAX_DIFFERENCE


def is_contradiction(image: ImageRecord) -> bool:
    """Whether the settings gave another um/px than the image states."""
    is_given = image.um_per_px_source is None and not image.um_per_px_assumed
    return is_given and contradicts(image.um_per_px, image.um_per_px_file)


class ImageWarnings:
    """Counts of the classified crops of a run by what is odd about them."""

    def __init__(self) -> None:
        self._counts: Counter[Kind] = Counter()
        self._example = 0.0, 0.0
        self.crops = 0

    @property
    def assumed(self) -> int:
        """Number of crops whose um/px nobody gave."""
        return self._counts["assumed"]

    def add(self, record: Sidecar) -> str | None:
        """Count a crop; return the warning if it is the first one of its kind."""
        self.crops += 1
        image = record.image
        kinds: list[Kind] = []
        if image.um_per_px_assumed:
            kinds.append("assumed")
        if is_contradiction(image):
            kinds.append("contradiction")
            if not self._counts["contradiction"]:
                self._example = image.um_per_px or 0.0, image.um_per_px_file or 0.0
        if record.quality is not None and record.quality.offset is not None:
            kinds.append("offset")
        new = [kind for kind in kinds if not self._counts[kind]]
        self._counts.update(kinds)
        return " ".join(self._text(kind) for kind in new) or None

    def texts(self) -> list[str]:
        """Return one warning for each kind."""
        return [self._text(kind) for kind, count in self._counts.items() if count]

    def _text(self, kind: Kind) -> str:
        count = self._counts[kind]
        if kind == "assumed":
            return assumed_um_per_px(count)
        if kind == "contradiction":
            return contradiction(*self._example, count)
        return signed_values(count)


def assumed_um_per_px(count: int) -> str:
    """Return the warning of crops whose um/px is unknown."""
    return (
        f"The um/px of {crops(count)} was not given, their files state none, and the model's own is"
        " assumed. Size is a feature: if it differs, calls are wrong. Set it with --um-per-px."
    )


def contradiction(given: float, stated: float, count: int) -> str:
    """Return the warning of crops whose um/px is not the given one."""
    return (
        f"um/px contradiction: {given:g} was given and is used, but the files of {crops(count)}"
        f" state another one, such as {stated:g}. Size is a feature: if the given one is wrong,"
        " calls are wrong."
    )


def signed_values(count: int) -> str:
    """Return the warning of crops whose values all lie above the middle of the range."""
    return (
        f"All values of {crops(count)} lie above 32,767, as signed values do that were written as"
        " unsigned ones. Export unsigned values: the checks of the exposure do not hold for these."
    )
