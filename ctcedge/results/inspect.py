"""Inspect a folder: what it contains and how names are parsed, without classifying anything."""

from __future__ import annotations

import fnmatch
import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctcedge.discovery.naming import IMAGE_SUFFIXES, Crop, Skipped, folder_name
from ctcedge.discovery.proposal import Proposal, propose
from ctcedge.discovery.scan import CropListing, list_folder
from ctcedge.errors import BadImage
from ctcedge.fs.tree import Tree
from ctcedge.images.header import read_header
from ctcedge.images.read import read_file
from ctcedge.settings import FOLDER_CONFIG, ImageSettings
from ctcedge.sources.preview import Preview, preview_files, preview_table

_EXAMPLES = 3
_OWN_FILES = ("ctcedge-*report*.html", "ctcedge-corrections-*.json", ".ctcedge*")


@dataclass(slots=True)
class Inspection:
    """Content of a folder.

    Attributes:
        folder: the searched folder.
        um_per_px: from the settings; None where unknown.
        cells: number of cells of each sample.
        channels: number of images of each channel, by sample.
        sizes: number of bright-field images of each 'width x height'.
        bit_depths: number of bright-field images of each number of bits per sample.
        formats: number of bright-field images of each file format.
        stated_um_per_px: number of bright-field images by the um/px that they state; None: none.
        bad: (path, reason) of bright-field images that cannot be classified.
        without_bright_field: each (sample, cell) with images of other channels only.
        repeated: each (sample, cell) with more than one bright-field image.
        skipped: entries that are not crops, with the reason.
        pages: channels of each file of many pages, or that an index table names.
        proposal: a template that reads more of the images, where there is one.
        examples: some images as the proposal reads them.
        origins: where each setting of `[images]` comes from, by its key.
    """

    folder: Path
    um_per_px: float | None
    cells: Counter[str] = field(default_factory=Counter)
    channels: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    sizes: Counter[str] = field(default_factory=Counter)
    bit_depths: Counter[int] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    stated_um_per_px: Counter[float | None] = field(default_factory=Counter)
    bad: list[tuple[str, str]] = field(default_factory=list)
    without_bright_field: list[tuple[str, str]] = field(default_factory=list)
    repeated: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    pages: dict[str, list[str]] = field(default_factory=dict)
    proposal: Proposal | None = None
    examples: list[Crop] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON, for scripts."""

        def cells(pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
            return [{"sample": sample, "cell": cell} for sample, cell in pairs]

        def entries(kind: str) -> list[dict[str, str]]:
            return [{"path": s.path, "reason": s.reason} for s in self.skipped if s.kind == kind]

        return {
            "schema": "ctcedge/inspection/1",
            "folder": str(self.folder),
            "um_per_px": self.um_per_px,
            "settings_from": dict(self.origins),
            "crops": sum(self.formats.values()) + len(self.bad),
            "cells": dict(self.cells),
            "samples": {sample: dict(count) for sample, count in self.channels.items()},
            "sizes": dict(self.sizes),
            "bit_depths": {str(bits): count for bits, count in self.bit_depths.items()},
            "formats": dict(self.formats),
            "um_per_px_in_files": {
                "none" if um_per_px is None else f"{um_per_px:g}": count
                for um_per_px, count in self.stated_um_per_px.items()
            },
            "bad": [{"path": path, "reason": reason} for path, reason in self.bad],
            "without_bright_field": cells(self.without_bright_field),
            "repeated": cells(self.repeated),
            "unmatched": entries("unmatched"),
            "ignored": entries("ignored"),
            "unreadable_folders": entries("unreadable"),
            "pages": self.pages,
            "proposed_pattern": None if self.proposal is None else self.proposal.template,
        }


def inspect_folder(folder: Path, images: ImageSettings, index: Path | None = None) -> Inspection:
    """Parse the names of a folder's files and read the headers of its bright-field images.

    Args:
        folder: the searched folder.
        images: how images are read.
        index: table that names all cells; None for the names of files.

    Raises:
        SetupError: the folder cannot be read.
    """
    naming = images.naming()
    if index is not None:
        inspection = Inspection(folder, images.um_per_px)
        _add_preview(preview_table(folder, naming, index), inspection)
        return inspection
    listing = list_folder(folder, naming)
    preview = preview_files(folder, naming, [*listing.crops, *listing.skipped])
    of_pages = preview.files.keys() | preview.problems.keys()
    listing = CropListing(
        [crop for crop in listing.crops if crop.path not in of_pages],
        listing.other_channels,
        [entry for entry in listing.skipped if entry.path not in of_pages],
    )
    skipped = [entry for entry in listing.skipped if not is_own_file(entry.path)]
    inspection = Inspection(folder, images.um_per_px, skipped=skipped)
    images_of_cells = (*listing.crops, *listing.other_channels)
    cells = {(image.sample, image.cell) for image in images_of_cells}
    inspection.cells.update(sample for sample, _ in cells)
    for image in images_of_cells:
        inspection.channels[image.sample][image.channel] += 1
    _add_preview(preview, inspection)
    inspection.repeated = listing.duplicates()
    inspection.without_bright_field = listing.without_bright_field()
    _propose(images_of_cells, images, inspection)
    for root, crops in itertools.groupby(listing.crops, lambda crop: crop.root):
        with Tree(root or folder) as tree:
            for crop in crops:
                _add_header(tree, crop, inspection)
    return inspection


def _add_preview(preview: Preview, inspection: Inspection) -> None:
    """Add the cells that would be cut."""
    for (sample, _), channels in preview.cells.items():
        inspection.cells[sample] += 1
        inspection.channels[sample].update(channels)
    inspection.pages = preview.files
    inspection.bad += preview.problems.items()


def _propose(parsed: Sequence[Crop], settings: ImageSettings, inspection: Inspection) -> None:
    """Add a template that reads more of the images than the present naming does."""
    unmatched = [entry.path for entry in inspection.skipped if entry.kind == "unmatched"]
    images = [path for path in unmatched if path.lower().endswith(IMAGE_SUFFIXES)]
    if not images:
        return
    paths = sorted([*images, *(crop.path for crop in parsed)])
    proposal = propose(paths, settings.channels)
    if proposal is None or proposal.understood / proposal.images <= len(parsed) / len(paths):
        return
    inspection.proposal = proposal
    naming = proposal.naming(settings.channels)
    read = (naming.read(path, folder_name(inspection.folder)) for path in paths)
    crops = (crop for crop in read if isinstance(crop, Crop))
    inspection.examples = list(itertools.islice(crops, _EXAMPLES))


def is_own_file(path: str) -> bool:
    """Whether a file belongs to ctcedge, and is not a crop whose name cannot be parsed."""
    name = path.rpartition("/")[2]
    return path == FOLDER_CONFIG or any(fnmatch.fnmatchcase(name, p) for p in _OWN_FILES)


def _add_header(tree: Tree, crop: Crop, inspection: Inspection) -> None:
    try:
        header = read_header(read_file(tree, crop.path))
    except FileNotFoundError:
        pass
    except BadImage as error:
        inspection.bad.append((crop.path, f"{error.status}: {error}"))
    except OSError as error:
        inspection.bad.append((crop.path, f"unreadable: cannot be read: {error.strerror}"))
    else:
        inspection.sizes[f"{header.width} x {header.height}"] += 1
        inspection.bit_depths[header.bits] += 1
        inspection.formats[header.format] += 1
        inspection.stated_um_per_px[header.um_per_px] += 1
