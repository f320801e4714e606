"""Result of `ctcedge verify`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ctcedge.sidecars.scan import ModelRef

Problem: TypeAlias = tuple[str, str]
"""A path, or a name, and what is wrong."""


@dataclass(slots=True)
class Verified:
    """Counts and problems of the sidecars of a folder.

    Attributes:
        folder: the searched folder.
        crops: number of bright-field crops.
        sidecars: number of crops with a readable sidecar.
        same_image: number of sidecars whose image has the stored hash.
        changed: images with another hash, or that cannot be read now.
        orphans: paths of sidecars without a crop.
        unusable: sidecars that are damaged, or belong to another crop.
        misplaced: sidecars whose image name or cell is not that of their path.
        altered: sidecars that were changed, or lost reviews or earlier calls, since they were
            written, as their hash chain shows.
        without_chain: paths of crops whose sidecar has no hash chain, so that this is not known.
        followed: number of sidecars whose call follows from their score, or from their probability
            where they hold no score or their model is not available.
        chosen: number of calls to recompute.
        reproduced: number of recomputed calls that are the same.
        different: calls that do not follow from their score, or differ when recomputed.
        other_rules: calls made by a version of ctcedge with other rules, which is not recomputed.
        models: number of sidecars by model.
        missing_models: models of sidecars that are not available here.
        damaged: models whose files differ from those that their specs pin.
        unreadable_dirs: sub-folders that cannot be read, and why.
    """

    folder: Path
    crops: int = 0
    sidecars: int = 0
    same_image: int = 0
    changed: list[Problem] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    unusable: list[Problem] = field(default_factory=list)
    misplaced: list[Problem] = field(default_factory=list)
    altered: list[Problem] = field(default_factory=list)
    without_chain: list[str] = field(default_factory=list)
    followed: int = 0
    chosen: int = 0
    reproduced: int = 0
    different: list[Problem] = field(default_factory=list)
    other_rules: list[Problem] = field(default_factory=list)
    models: Counter[ModelRef] = field(default_factory=Counter)
    missing_models: list[ModelRef] = field(default_factory=list)
    damaged: list[Problem] = field(default_factory=list)
    unreadable_dirs: dict[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether there is no problem, and nothing that could not be checked."""
        return not (
            self.changed
            or self.orphans
            or self.unusable
            or self.misplaced
            or self.altered
            or self.different
            or self.other_rules
            or self.missing_models
            or self.damaged
            or self.unreadable_dirs
        )

    def as_json(self) -> dict[str, Any]:
        """Return the result for `--json`."""
        return {
            "schema": "ctcedge/verification/1",
            "folder": str(self.folder),
            "verified": self.good,
            "crops": self.crops,
            "sidecars": self.sidecars,
            "same_image": self.same_image,
            "changed": _by_path(self.changed),
            "without_image": self.orphans,
            "unusable": _by_path(self.unusable),
            "misplaced": _by_path(self.misplaced),
            "altered": _by_path(self.altered),
            "without_chain": self.without_chain,
            "calls_follow": self.followed,
            "unreadable_folders": _by_path(list(self.unreadable_dirs.items())),
            "chosen": self.chosen,
            "reproduced": self.reproduced,
            "different": _by_path(self.different),
            "other_rules": _by_path(self.other_rules),
            "models": [
                {
                    **model._asdict(),
                    "sidecars": count,
                    "at_hand": model not in self.missing_models,
                }
                for model, count in self.models.most_common()
            ],
            "damaged_models": [{"model": name, "why": why} for name, why in self.damaged],
        }


def _by_path(problems: list[Problem]) -> list[dict[str, str]]:
    return [{"path": path, "why": why} for path, why in problems]
