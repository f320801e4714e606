"""What a folder holds and how it would be read, without classifying anything."""

from __future__ import annotations

import fnmatch
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctcedge.discovery.naming import Crop, Skipped
from ctcedge.discovery.scan import list_folder
from ctcedge.errors import BadImage
from ctcedge.images.header import read_header
from ctcedge.images.read import read_file
from ctcedge.settings import FOLDER_CONFIG, ImageSettings

_OURS = ("ctcedge-*report*.html", "ctcedge-corrections-*.json", ".ctcedge*")


@dataclass(slots=True)
class Inspection:
    """What was found.

    Attributes:
        folder: the searched folder.
        um_per_px: as set, or None when unknown.
        cells: by sample, their number.
        channels: by sample, the number of images of each channel.
        sizes: bright-field images by 'width x height'.
        bit_depths: bright-field images by bits a sample.
        formats: bright-field images by file format.
        bad: (path, reason) of bright-field images that cannot be classified.
        without_bright_field: (sample, cell) that only have other channels.
        repeated: (sample, cell) with more than one bright-field image.
        skipped: entries that are not crops, with the reason.
    """

    folder: Path
    um_per_px: float | None
    cells: Counter[str] = field(default_factory=Counter)
    channels: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    sizes: Counter[str] = field(default_factory=Counter)
    bit_depths: Counter[int] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    bad: list[tuple[str, str]] = field(default_factory=list)
    without_bright_field: list[tuple[str, str]] = field(default_factory=list)
    repeated: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The same for scripts."""

        def cells(pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
            return [{"sample": sample, "cell": cell} for sample, cell in pairs]

        def entries(kind: str) -> list[dict[str, str]]:
            return [{"path": s.path, "reason": s.reason} for s in self.skipped if s.kind == kind]

        return {
            "schema": "ctcedge/inspection/1",
            "folder": str(self.folder),
            "um_per_px": self.um_per_px,
            "crops": sum(self.formats.values()) + len(self.bad),
            "cells": dict(self.cells),
            "samples": {sample: dict(count) for sample, count in self.channels.items()},
            "sizes": dict(self.sizes),
            "bit_depths": {str(bits): count for bits, count in self.bit_depths.items()},
            "formats": dict(self.formats),
            "bad": [{"path": path, "reason": reason} for path, reason in self.bad],
            "without_bright_field": cells(self.without_bright_field),
            "repeated": cells(self.repeated),
            "unmatched": entries("unmatched"),
            "ignored": entries("ignored"),
            "unreadable_folders": entries("unreadable"),
        }


def inspect_folder(folder: Path, images: ImageSettings) -> Inspection:
    """Read names and headers.

    Raises:
        SetupError: the folder cannot be read.
    """
    listing = list_folder(folder, images.naming())
    skipped = [each for each in listing.skipped if not is_ours(each.path)]
    found = Inspection(folder, images.um_per_px, skipped=skipped)
    every = (*listing.crops, *listing.other_channels)
    found.cells.update(sample for sample, _ in {(crop.sample, crop.cell) for crop in every})
    for crop in every:
        found.channels[crop.sample][crop.channel] += 1
    found.repeated = listing.duplicates()
    found.without_bright_field = listing.without_bright_field()
    for crop in listing.crops:
        _look_into(folder, crop, found)
    return found


def is_ours(path: str) -> bool:
    """Whether a file is for ctcedge, or of it, and so no crop whose name was not understood."""
    name = path.rpartition("/")[2]
    return path == FOLDER_CONFIG or any(fnmatch.fnmatchcase(name, each) for each in _OURS)


def _look_into(folder: Path, crop: Crop, found: Inspection) -> None:
    try:
        header = read_header(read_file(folder / crop.path))
    except FileNotFoundError:
        pass
    except BadImage as error:
        found.bad.append((crop.path, f"{error.status}: {error}"))
    except OSError as error:
        found.bad.append((crop.path, f"unreadable: cannot be read: {error.strerror}"))
    else:
        found.sizes[f"{header.width} x {header.height}"] += 1
        found.bit_depths[header.bits] += 1
        found.formats[header.format] += 1
