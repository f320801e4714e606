"""The comparisons of `train/RESULTS.md`: what each trial changes against the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ctcedge.preprocess import InputSpec
from train.augment import Augmentation
from train.presets import PRESETS
from train.run import FitSettings

REFERENCE = "reference"
FOLDS = 5
SPLIT_SEED = 1

_SHORT = replace(PRESETS["cpu"].settings, epochs=16, dapi="none")
"""A schedule short enough to compare many recipes without a GPU."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One recipe, fitted on some of the five folds.

    Attributes:
        name: of its folder.
        table: title of the table that it stands in.
        title: of its row.
        settings: how the network is fitted.
        size: side of the input, pixels, over the same part of the crop.
    """

    name: str
    table: str
    title: str
    settings: FitSettings
    size: int = 64

    def input(self) -> InputSpec:
        """Return what the network sees of crops whose um/px is unknown."""
        preset = PRESETS["cpu"].input
        return replace(preset, size=self.size, um_per_px=None, crop_px=96 / self.size)


def _without(family: str) -> FitSettings:
    return replace(_SHORT, augmentation=replace(_SHORT.augmentation, **{family: False}))


def _network(name: str) -> FitSettings:
    return replace(_SHORT, network=name, width=1.0)


_NO_AUGMENTATION = Augmentation(geometry=False, illumination=False, noise=False)

TRIALS = (
    Trial(REFERENCE, "The reference", "ResNet-18 at half width, all augmentation, no DAPI", _SHORT),
    Trial("no-geometry", "Augmentation", "without geometry", _without("geometry")),
    Trial("no-illumination", "Augmentation", "without illumination", _without("illumination")),
    Trial("no-noise", "Augmentation", "without noise and blur", _without("noise")),
    Trial(
        "no-augmentation",
        "Augmentation",
        "without any",
        replace(_SHORT, augmentation=_NO_AUGMENTATION),
    ),
    Trial(
        "dapi-samples",
        "DAPI in training",
        "as further training samples (the study's way)",
        replace(_SHORT, dapi="samples"),
    ),
    Trial(
        "dapi-auxiliary",
        "DAPI in training",
        "predicted by an auxiliary head",
        replace(_SHORT, dapi="auxiliary"),
    ),
    Trial(
        "dapi-teacher",
        "DAPI in training",
        "bright field and DAPI teacher, bright-field student",
        replace(_SHORT, dapi="teacher"),
    ),
    Trial(
        "dapi-dropout",
        "DAPI in training",
        "second channel, dropped at random",
        replace(_SHORT, dapi="dropout"),
    ),
    Trial("one-view", "Views", "one view instead of the mean of eight", replace(_SHORT, views=1)),
    Trial("96px", "Input", "96 px instead of 64 over the same part of the crop", _SHORT, 96),
    Trial("48px", "Input", "48 px", _SHORT, 48),
    Trial("longer", "Schedule", "three times the epochs", replace(_SHORT, epochs=48)),
    Trial("seed-2", "Seeds", "seed 2", replace(_SHORT, seed=2)),
    Trial("seed-3", "Seeds", "seed 3", replace(_SHORT, seed=3)),
    Trial("resnet18", "Networks", "ResNet-18", _network("resnet18")),
    Trial("resnet34", "Networks", "ResNet-34", _network("resnet34")),
    Trial("resnet50", "Networks", "ResNet-50 (the study's best)", _network("resnet50")),
    Trial("densenet121", "Networks", "DenseNet121", _network("densenet121")),
    Trial("efficientnet-b4", "Networks", "EfficientNet-B4", _network("efficientnet-b4")),
)
