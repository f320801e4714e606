"""Bright-field crops of a folder, read as by the runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctcedge.discovery.scan import check_folder, list_folder, require_crops
from ctcedge.errors import BadImage, SetupError
from ctcedge.fs.tree import Tree
from ctcedge.images.decode import GreyImage, decode
from ctcedge.images.preprocess import InputSpec, network_input
from ctcedge.images.read import read_file
from ctcedge.report.texts import plural
from ctcedge.settings import load_settings

from .manifest import abbreviate


@dataclass(frozen=True, slots=True)
class CropFolder:
    """The crops of a folder.

    Attributes:
        folder: searched recursively.
        um_per_px: edge length of an image pixel, um; None where unknown.
        pixels: of each crop, (height, width) uint8 or uint16.
    """

    folder: Path
    um_per_px: float | None
    pixels: list[GreyImage]

    @classmethod
    def read(cls, folder: Path, um_per_px: float | None = None) -> CropFolder:
        """Read a folder with its own settings.

        Args:
            folder: searched recursively.
            um_per_px: instead of the settings'.

        Raises:
            SetupError: the folder, its settings or one of its images cannot be used.
        """
        check_folder(folder)
        settings = load_settings(folder, images={"um_per_px": um_per_px}).images
        listing = list_folder(folder, settings.naming())
        require_crops(folder, listing)
        pixels, unreadable = [], []
        with Tree(folder) as tree:
            for crop in listing.crops:
                try:
                    pixels.append(decode(read_file(tree, crop.path)).pixels)
                except (OSError, BadImage) as error:
                    unreadable.append(f"{crop.path} ({error})")
        if unreadable:
            raise SetupError(
                f"{plural(len(unreadable), 'crop')} of {folder} cannot be read; remove:"
                f" {abbreviate(unreadable)}"
            )
        return cls(folder, settings.um_per_px, pixels)

    def inputs(self, spec: InputSpec) -> NDArray[np.uint8]:
        """Return the network inputs of the crops, (n, size, size)."""
        return np.stack([network_input(crop, self.um_per_px, spec) for crop in self.pixels])

    def scale(self, spec: InputSpec) -> str:
        """Return the um/px that a network assumes for the crops, as text."""
        if spec.um_per_px is None:
            return "the model has no um/px"
        if self.um_per_px is None:
            return f"um/px unknown, the model's own {spec.um_per_px:g} assumed"
        return f"um/px {self.um_per_px:g}"
