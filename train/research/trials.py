"""The comparisons of `train/RESULTS.md`: the change of each trial, and the study's claims."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msgspec import structs

from ctcedge.images.preprocess import InputSpec
from ctcedge.model.folder import models_folder

from ..fit.augment import FAMILIES
from ..fit.presets import PRESETS, Preset, without_um_per_px
from ..fit.pretrained import InitialWeights
from ..fit.run import FitSettings

REFERENCE = "reference"
SEEDS = ("seed-2", "seed-3")
"""Trials that differ from the reference by chance alone."""
NETWORKS = "Networks"
"""Table of the study's networks at full width, which are compared with each other."""
FIRST_NETWORK = "resnet18"
"""The one that the others are compared with."""

FOLDS = 5
SPLIT_SEED = 1

_SHIPPED = models_folder() / "sim-resnet18"

# The study's three families at the strength that a model for many instruments needs.
_PRESET = replace(
    PRESETS["cpu"], settings=FitSettings(), input=structs.replace(PRESETS["cpu"].input, gain=32.0)
)


@dataclass(frozen=True, slots=True)
class Trial:
    """One recipe, fitted on some of the five folds.

    Attributes:
        name: of its folder.
        table: title of its table.
        title: of its row.
        settings: how the network is fitted.
        size: side of the input, pixels, over the same part of the crop.
        preset: for the rest of the input.
        init: folder of the model that it starts from; random weights where None.
    """

    name: str
    table: str
    title: str
    settings: FitSettings
    size: int = 64
    preset: Preset = _PRESET
    init: Path | None = None

    def initial(self) -> InitialWeights | None:
        """Return its initial weights, where they are given."""
        return InitialWeights.of(self.init) if self.init else None

    def input(self) -> InputSpec:
        """Return the network input for crops of unknown um/px."""
        return without_um_per_px(self.preset, self.size)


def _short(**change: Any) -> FitSettings:
    """Return changed settings with a schedule short enough to compare many trials without a GPU."""
    return _PRESET.fit_settings(**{"epochs": 16, **change})


def _network(name: str) -> FitSettings:
    return _short(network=name, width=1.0)


_SHORT = _short()

TRIALS = (
    Trial(REFERENCE, "The reference", "ResNet-18 at half width, all augmentation, no DAPI", _SHORT),
    Trial("no-geometry", "Augmentation", "without geometry", _short(without=["geometry"])),
    Trial(
        "no-illumination", "Augmentation", "without illumination", _short(without=["illumination"])
    ),
    Trial(
        "no-tilt",
        "Augmentation",
        "illumination without the tilt of the light",
        replace(_SHORT, augmentation=replace(_SHORT.augmentation, tilt=0.0)),
    ),
    Trial(
        "cpu-preset",
        "Augmentation",
        "the preset `cpu`: gentle illumination, and three times the contrast at the input",
        PRESETS["cpu"].fit_settings(epochs=16),
        preset=PRESETS["cpu"],
    ),
    Trial("no-noise", "Augmentation", "without noise and blur", _short(without=["noise"])),
    Trial(
        "no-augmentation",
        "Augmentation",
        "without any",
        _short(without=FAMILIES),
    ),
    Trial(
        "dapi-samples",
        "DAPI in training",
        "as further training samples (the study's way)",
        _short(dapi="samples"),
    ),
    Trial(
        "dapi-auxiliary",
        "DAPI in training",
        "predicted by an auxiliary head",
        _short(dapi="auxiliary"),
    ),
    Trial(
        "dapi-teacher",
        "DAPI in training",
        "bright field and DAPI teacher, bright-field student",
        _short(dapi="teacher"),
    ),
    Trial(
        "dapi-dropout",
        "DAPI in training",
        "second channel, dropped at random",
        _short(dapi="dropout"),
    ),
    Trial("one-view", "Views", "one view instead of the mean of eight", _short(views=1)),
    Trial("96px", "Input", "96 px instead of 64 over the same part of the crop", _SHORT, 96),
    Trial("48px", "Input", "48 px", _SHORT, 48),
    Trial(
        "from-shipped",
        "First weights",
        "those of the shipped model, which has seen simulated cells",
        _SHORT,
        init=_SHIPPED,
    ),
    Trial("longer", "Schedule", "three times the epochs", _short(epochs=48)),
    Trial("seed-2", "Seeds", "seed 2", _short(seed=2)),
    Trial("seed-3", "Seeds", "seed 3", _short(seed=3)),
    Trial("resnet18", NETWORKS, "ResNet-18", _network("resnet18")),
    Trial("resnet34", NETWORKS, "ResNet-34", _network("resnet34")),
    Trial("resnet50", NETWORKS, "ResNet-50 (the study's best)", _network("resnet50")),
    Trial("densenet121", NETWORKS, "DenseNet121", _network("densenet121")),
    Trial("efficientnet-b4", NETWORKS, "EfficientNet-B4", _network("efficientnet-b4")),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two trials, the first of which should be better.

    Attributes:
        title: the difference of the first from the other.
        better: name of the trial that should be better.
        other: name of the trial beside it.
    """

    title: str
    better: str
    other: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the study, and the pairs of trials that would show it."""

    text: str
    pairs: tuple[Pair, ...]


CLAIMS = (
    Claim(
        "Three families of augmentation help",
        (
            Pair("geometry", REFERENCE, "no-geometry"),
            Pair("illumination", REFERENCE, "no-illumination"),
            Pair("noise and blur", REFERENCE, "no-noise"),
            Pair("all three together", REFERENCE, "no-augmentation"),
        ),
    ),
    Claim(
        "DAPI images in training help a test on bright field alone",
        (
            Pair("the study's way", "dapi-samples", REFERENCE),
            Pair("an auxiliary head", "dapi-auxiliary", REFERENCE),
            Pair("a teacher with DAPI", "dapi-teacher", REFERENCE),
            Pair("a second channel, dropped at random", "dapi-dropout", REFERENCE),
        ),
    ),
)

NETWORK_CLAIM = Claim(
    "ResNet-50 is the best network",
    tuple(
        Pair(f"against {title}", "resnet50", name)
        for name, title in (
            ("resnet18", "ResNet-18"),
            ("resnet34", "ResNet-34"),
            ("densenet121", "DenseNet121"),
            ("efficientnet-b4", "EfficientNet-B4"),
        )
    ),
)
