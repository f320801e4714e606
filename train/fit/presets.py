"""Presets: default settings by name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgspec import structs

from ctcedge.images.preprocess import InputSpec
from ctcedge.records import revised

from ..data.manifest import ManifestError, Row
from .augment import FAMILIES, Augmentation
from .run import FitSettings

_COVERED_PX = 96
"""Crop pixels covered by the input along an edge, where um/px is unknown."""

_INPUT = InputSpec(
    size=64, um_per_px=0.5, border=0.1, disk=0.5, contrast=(90.0, 99.0), floor=0.2, gain=96.0
)

# The absolute contrast of a cell is informative: it varies little on a laboratory's own instrument,
# and stronger augmentation would hide it.
_ONE_INSTRUMENT = Augmentation(contrast=1.1, gamma=1.05, tilt=2.0)


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset.

    Attributes:
        purpose: in a few words.
        settings: of the fit.
        input: network input.
    """

    purpose: str
    settings: FitSettings
    input: InputSpec = _INPUT

    def fit_settings(self, *, without: Collection[str] = (), **given: Any) -> FitSettings:
        """Return the settings with some replaced.

        Args:
            without: families of augmentation to leave out.
            given: settings by name; None keeps the preset's. Another network gets width 1.

        Raises:
            ValueError: an unknown family, network or use of DAPI, or a number out of range.
        """
        for family in without:
            if family not in FAMILIES:
                raise ValueError(f"no augmentation '{family}' (known: {', '.join(FAMILIES)})")
        settings = self.settings
        if given.get("network") not in (None, settings.network):
            settings = replace(settings, width=1.0)
        augmentation = replace(settings.augmentation, **dict.fromkeys(without, False))
        return settings.with_overrides(augmentation=augmentation, **given)


PRESETS = {
    "cpu": Preset(
        "5,000 cells within 90 minutes on two cores", FitSettings(augmentation=_ONE_INSTRUMENT)
    ),
    "gpu": Preset(
        "the study's best network, for one or more GPUs; chosen without one, not run on one yet",
        # As many steps as `cpu`, with twice the cells each. Cells are kept and augmented on the
        # GPU, so that there is no number of workers to choose.
        FitSettings(
            network="resnet50", width=1.0, epochs=220, batch_size=64, augmentation=_ONE_INSTRUMENT
        ),
        structs.replace(_INPUT, size=96, um_per_px=1 / 3),
    ),
    "tiny": Preset(
        "seconds; tests the process, not the model",
        FitSettings(network="resnet10", width=0.125, views=2, epochs=4, batch_size=32, ema=0.8),
    ),
}


def preset_named(name: str) -> Preset:
    """Return a preset.

    Raises:
        ValueError: unknown name.
    """
    if name not in PRESETS:
        known = ", ".join(f"{name}: {preset.purpose}" for name, preset in PRESETS.items())
        raise ValueError(f"no preset '{name}' ({known})")
    return PRESETS[name]


def input_for(
    rows: Sequence[Row],
    preset: Preset,
    size: int | None = None,
    um_per_px: float | None = None,
    crop_px: float | None = None,
) -> InputSpec:
    """Choose the network input.

    Args:
        rows: of manifests.
        preset: for values that are not given.
        size: side of the input, pixels.
        um_per_px: edge length of an input pixel, um, where the rows have um/px.
        crop_px: edge length of an input pixel in crop pixels, where they do not.

    Raises:
        ManifestError: only some rows have um/px, or the edge length is given in the wrong unit.
        ValueError: a number out of range.
    """
    known = {row.um_per_px is not None for row in rows}
    if len(known) > 1:
        raise ManifestError("some manifests have um/px and some do not; give it for all")
    size = preset.input.size if size is None else size
    if known == {False}:
        if um_per_px is not None:
            raise ManifestError(
                "--um-per-px needs manifests with um/px; where it is unknown, give --crop-px"
            )
        return without_um_per_px(preset, size, crop_px)
    if crop_px is not None:
        raise ManifestError("--crop-px is for manifests without um/px; give --um-per-px")
    if um_per_px is None:
        um_per_px = preset.input.um_per_px
    return revised(preset.input, size=size, um_per_px=um_per_px)


def without_um_per_px(preset: Preset, size: int, crop_px: float | None = None) -> InputSpec:
    """Return the network input for crops of unknown um/px; see `input_for`."""
    sized = revised(preset.input, size=size)
    crop_px = _COVERED_PX / size if crop_px is None else crop_px
    return revised(sized, um_per_px=None, crop_px=crop_px)
