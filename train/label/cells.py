"""The cells of an export folder, with warnings about them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.cut_crops import image_root
from ctcedge.discovery.naming import Crop
from ctcedge.discovery.scan import list_folder, require_crops
from ctcedge.log import escape_control_chars
from ctcedge.results.inspect import is_own_file
from ctcedge.settings import load_settings

from ..data.manifest import abbreviate

_TABLE = "labels.csv"

Key = TypeVar("Key")

CellId = tuple[str, str]
"""Sample and cell, as in the export."""


class LabelError(ValueError):
    """An export cannot be labelled; the message says what to do."""


@dataclass
class Warnings:
    """Warnings about an export by kind, with the names that each concerns."""

    names: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, name: str) -> None:
        """Add a name to a kind of warning."""
        self.names[kind].append(name)

    def lines(self) -> Iterable[str]:
        """Yield each kind with its number and its first names."""
        for kind, names in self.names.items():
            yield f"{kind} ({len(names):,}): {abbreviate(names)}"


@dataclass(frozen=True)
class Export:
    """The contents of an export folder.

    Attributes:
        folder: the export.
        um_per_px: edge length of an image pixel, um; None where unknown.
        cells: by sample and cell, each channel's crop; bright field is always there.
        warnings: about cells that are left out, for example.
    """

    folder: Path
    um_per_px: float | None
    cells: dict[CellId, dict[str, Crop]]
    warnings: Warnings


def read_export(
    folder: Path,
    *,
    config: Path | None,
    pattern: str | None,
    um_per_px: float | None,
    sidecars: Path | None = None,
) -> Export:
    """Find the cells as the runtime does, with the folder's own settings.

    Args:
        folder: the export.
        config: settings file instead of the folder's own.
        pattern: instead of the settings'.
        um_per_px: instead of the settings'.
        sidecars: root of the sidecars, with the crops that `classify` cut; None for none.

    Raises:
        SetupError: the folder or the settings cannot be used.
        LabelError: a cell has several images of one channel, or a name is not UTF-8.
    """
    settings = load_settings(
        folder, config, images={"pattern": pattern, "um_per_px": um_per_px}
    ).images
    listing = list_folder(folder, settings.naming(sidecars))
    require_crops(folder, listing)
    cells: dict[CellId, dict[str, Crop]] = {}
    repeated = []
    for crop in (*listing.crops, *listing.other_channels):
        images = cells.setdefault((crop.sample, crop.cell), {})
        if crop.channel in images:
            repeated.append(f"{crop.path} beside {images[crop.channel].path}")
        images[crop.channel] = crop
    if repeated:
        raise LabelError(
            "several images of a cell have the same channel; give a --pattern that separates"
            f" samples or cells: {abbreviate(repeated)}"
        )
    paths = [
        Path(image_root(folder, crop)) / crop.path
        for images in cells.values()
        for crop in images.values()
    ]
    if unwritable := [escape_control_chars(str(path)) for path in paths if not _is_text(path)]:
        raise LabelError(
            "a manifest cannot have names that are not UTF-8; rename these images or their"
            f" folders: {abbreviate(unwritable)}"
        )
    warnings = Warnings()
    for key in [key for key, images in cells.items() if BRIGHT_FIELD not in images]:
        warnings.add("cells without bright field, left out", name(key))
        del cells[key]
    for entry in listing.skipped:
        if (
            entry.kind not in ("ignored", "cut")
            and entry.path != _TABLE
            and not is_own_file(entry.path)
        ):
            warnings.add(f"files that cannot be interpreted, {entry.reason}", entry.path)
    return Export(folder, settings.um_per_px, cells, warnings)


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def by_sample(cells: Iterable[CellId]) -> dict[str, list[CellId]]:
    """Group cells by sample."""
    samples: dict[str, list[CellId]] = defaultdict(list)
    for key in cells:
        samples[key[0]].append(key)
    return samples


def name(key: CellId) -> str:
    """Return a cell's name for messages."""
    return f"cell {key[1]} of sample {key[0]}"


def repeated_keys(keys: Iterable[Key]) -> list[Key]:
    """Return the keys that occur more than once."""
    return [key for key, count in Counter(keys).items() if count > 1]
