"""Settings and presets of a pretraining."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeAlias, get_args

from ..fit.augment import Augmentation
from ..fit.networks import NETWORKS
from ..fit.presets import PRESETS, Preset, preset_named

Objective: TypeAlias = Literal["contrastive", "vicreg", "masked", "stains", "aligned"]
Negatives: TypeAlias = Literal["all", "sample"]

OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
STAIN_OBJECTIVES = frozenset({"stains", "aligned"})
"""Objectives that need images of stains."""


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """How two views of a crop are made.

    Light, focus and noise are those of an acquisition: they vary between the views of one cell, so
    that they tell cells apart less.

    Attributes:
        augmentation: geometry, light and noise, stronger than in a fit.
        offset: largest change of the background's level, input levels.
        defocus: largest blur, passes of a smoothing kernel with a standard deviation of one pixel.
        masked: fraction of the image hidden by squares; for the objective `masked` only.
    """

    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(
            shift=0.1,
            scale=0.15,
            contrast=1.5,
            gamma=1.2,
            tilt=12.0,
            noise_levels=6.0,
            blur=0.5,
            coarseness=6.0,
        )
    )
    offset: float = 8.0
    defocus: float = 2.0
    masked: float = 0.5


@dataclass(frozen=True, slots=True)
class PretrainSettings:
    """All settings of a pretraining, besides the crops.

    Attributes:
        network: one of `train.fit.networks.NETWORKS`.
        width: factor on the network's channels.
        objectives: one or more of `OBJECTIVES`, whose losses are added.
        epochs: passes over the crops.
        batch_size: crops per step, over all processes; each gives two views.
        learning_rate: as of `train.fit.run.FitSettings`.
        warm_up: as there.
        weight_decay: as there.
        ema: as there.
        bf16: as there.
        temperature: of the contrastive objectives.
        negatives: the crops that a crop is told apart from by the objective `contrastive`: all of
            a batch, or those of its own sample, which have the same light and focus.
        views: how views are made.
        seed: of the initial weights, the order and the views.
    """

    network: str = "resnet18"
    width: float = 0.5
    objectives: tuple[Objective, ...] = ("vicreg",)
    epochs: int = 150
    batch_size: int = 192
    learning_rate: float = 2e-3
    warm_up: float = 0.1
    weight_decay: float = 0.05
    ema: float = 0.99
    bf16: bool = True
    temperature: float = 0.2
    negatives: Negatives = "all"
    views: ViewSettings = field(default_factory=ViewSettings)
    seed: int = 1

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise ValueError(f"unknown network '{self.network}' (known: {', '.join(NETWORKS)})")
        unknown = [name for name in self.objectives if name not in OBJECTIVES]
        if unknown or not self.objectives:
            raise ValueError(
                f"unknown objective '{' '.join(unknown)}' (known: {', '.join(OBJECTIVES)})"
            )
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError("an objective is given twice")
        if self.negatives not in get_args(Negatives):
            raise ValueError(f"negatives must be all or sample, not '{self.negatives}'")
        if self.epochs < 1 or self.batch_size < 8:
            raise ValueError("at least 1 epoch and batches of at least 8 crops are needed")
        if not self.learning_rate > 0:
            raise ValueError("a learning rate above 0 is needed")

    @property
    def needs_stains(self) -> bool:
        """Whether images of stains are used."""
        return not STAIN_OBJECTIVES.isdisjoint(self.objectives)

    def with_overrides(self, **given: Any) -> PretrainSettings:
        """Return the settings with some replaced, by name; None keeps a setting."""
        given = {name: value for name, value in given.items() if value is not None}
        if given.get("network", self.network) != self.network and "width" not in given:
            given["width"] = 1.0
        return replace(self, **given)

    def plain(self) -> dict[str, Any]:
        """Return the settings as a record."""
        return asdict(self) | {"objectives": list(self.objectives)}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> PretrainSettings:
        """Return the settings of a record.

        Raises:
            TypeError, ValueError, KeyError: it is not such a record.
        """
        views = dict(record["views"])
        views["augmentation"] = Augmentation(**views["augmentation"])
        changed: dict[str, Any] = {
            "views": ViewSettings(**views),
            "objectives": tuple(record["objectives"]),
        }
        return cls(**(dict(record) | changed))


@dataclass(frozen=True, slots=True)
class PretrainPreset:
    """A preset: the network input and network of the fit's preset of the same name.

    Attributes:
        purpose: in a few words.
        fit: the preset of the fits that start from it.
        settings: of the pretraining.
    """

    purpose: str
    fit: Preset
    settings: PretrainSettings


def _preset(name: str, purpose: str, **settings: Any) -> PretrainPreset:
    fit = PRESETS[name]
    same = {"network": fit.settings.network, "width": fit.settings.width}
    return PretrainPreset(purpose, fit, PretrainSettings().with_overrides(**same, **settings))


_PRESETS = {
    "cpu": _preset("cpu", "5,000 crops within 60 minutes on two cores"),
    "gpu": _preset("gpu", "for one or more GPUs; not run on one yet", epochs=400, batch_size=512),
    "tiny": _preset("tiny", "seconds; tests the process", epochs=2, batch_size=16, ema=0.8),
}


def pretrain_preset(name: str) -> PretrainPreset:
    """Return a preset.

    Raises:
        ValueError: unknown name.
    """
    preset_named(name)
    return _PRESETS[name]
