"""Warnings about images that were classified, but may not be what they seem."""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias

from ctcedge.sidecars.schema import Sidecar

Kind: TypeAlias = Literal["offset"]


def crops(count: int) -> str:
    """Return a number of crops in words."""
    return f"{count:,} crop" if count == 1 else f"{count:,} crops"


class ImageWarnings:
    """Counts of the classified crops of a run by what is odd about them."""

    def __init__(self) -> None:
        self._counts: Counter[Kind] = Counter()

    def add(self, record: Sidecar) -> str | None:
        """Count a crop; return the warning if it is the first one of its kind."""
        new = [kind for kind in _kinds(record) if not self._counts[kind]]
        self._counts.update(_kinds(record))
        return " ".join(self._text(kind) for kind in new) or None

    def texts(self) -> list[str]:
        """Return one warning for each kind."""
        return [self._text(kind) for kind in self._counts]

    def _text(self, kind: Kind) -> str:
        return signed_values(self._counts[kind])


def _kinds(record: Sidecar) -> list[Kind]:
    kinds: list[Kind] = []
    if record.quality is not None and record.quality.offset is not None:
        kinds.append("offset")
    return kinds


def signed_values(count: int) -> str:
    """Return the warning of crops whose values all lie above the middle of the range."""
    return (
        f"All values of {crops(count)} lie above 32,767, as signed values do that were written as"
        " unsigned ones. Export unsigned values: the checks of the exposure do not hold for these."
    )
