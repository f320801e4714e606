"""The bright-field crops of a folder, read as the runtime reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctcedge.discovery.scan import check_folder, list_folder, require_crops
from ctcedge.errors import BadImage, SetupError
from ctcedge.images.decode import GreyImage, decode
from ctcedge.images.preprocess import InputSpec, network_input
from ctcedge.images.read import read_file
from ctcedge.settings import load_settings

from .manifest import abbreviate


@dataclass(frozen=True, slots=True)
class CropFolder:
    """What a folder holds.

    Attributes:
        folder: that was searched.
        um_per_px: edge length of an image pixel, um; None where unknown.
        pixels: of each crop, (height, width) uint8 or uint16.
    """

    folder: Path
    um_per_px: float | None
    pixels: list[GreyImage]

    @classmethod
    def read(cls, folder: Path, um_per_px: float | None = None) -> CropFolder:
        """Read a folder by its own settings.

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
        pixels, bad = [], []
        for crop in listing.crops:
            try:
                pixels.append(decode(read_file(folder / crop.path)).pixels)
            except (OSError, BadImage) as error:
                bad.append(f"{crop.path} ({error})")
        if bad:
            raise SetupError(
                f"{len(bad):,} crops of {folder} cannot be read; remove them: {abbreviate(bad)}"
            )
        return cls(folder, settings.um_per_px, pixels)

    def inputs(self, spec: InputSpec) -> NDArray[np.uint8]:
        """Return what a network sees of them, (n, size, size)."""
        return np.stack([network_input(each, self.um_per_px, spec) for each in self.pixels])

    def scale(self, spec: InputSpec) -> str:
        """Say by what um/px a network sees them."""
        if spec.um_per_px is None:
            return "the model knows no um/px"
        if self.um_per_px is None:
            return f"um/px unknown, the model's own {spec.um_per_px:g} assumed"
        return f"um/px {self.um_per_px:g}"
