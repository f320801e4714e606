"""The cells of the learning curve: what is tested, what has a label, what is pretrained on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctcedge.images.preprocess import InputSpec

from ..data import splits
from ..data.dataset import Cells, read_cells
from ..data.manifest import choose, read_manifests
from ..fit.folder import write_json
from ..fit.presets import Preset, input_for, preset_named
from ..fit.pretrained import InitialWeights
from ..fit.run import FitSettings
from ..pretrain.crops import Crops
from ..pretrain.pretrain import pretrain
from ..pretrain.settings import PretrainSettings
from ..util.progress import progress

FOLDS = 5
SPLIT_SEED = 1


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that the figures of a folder depend on, besides the cells.

    Attributes:
        preset: name of the preset of fit and pretraining.
        epochs: of a fit; None for those of the preset.
        pretraining: settings of the pretraining.
        seed: of the draws, the fits and the pretraining.
    """

    preset: str
    epochs: int | None
    pretraining: dict[str, Any]
    seed: int

    def fit_settings(self, seed: int) -> FitSettings:
        """Return the settings of a fit."""
        return preset_named(self.preset).fit_settings(epochs=self.epochs, seed=seed)

    def pretrain_settings(self) -> PretrainSettings:
        """Return the settings of the pretraining."""
        return PretrainSettings.of(self.pretraining)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Labelled cells, as they are divided here.

    Attributes:
        cells: all.
        input: network input.
        fold: (n,) number of the fold in which each is tested, from 1.
        recipe: of the fits.
        out: folder of the results.
    """

    cells: Cells
    input: InputSpec
    fold: NDArray[np.intp]
    recipe: Recipe
    out: Path

    def labels(self, fold: int, budget: str, draw: int) -> NDArray[np.intp]:
        """Draw the rows of the cells with a label.

        Of each class some acquisitions, and some cells of each: of acquisitions with enough cells,
        and where these are too few, of the largest others, with the cells that they have.
        """
        allowed = self.fold != fold
        if budget == "all":
            return np.flatnonzero(allowed)
        acquisitions, each = parse_budget(budget)
        chance = np.random.default_rng((self.recipe.seed, fold, acquisitions, each, draw))
        rows = []
        for kind in (True, False):
            mine = allowed & (self.cells.positive == kind)
            names, count = np.unique(self.cells.group[mine], return_counts=True)
            order = chance.permutation(len(names))
            order = order[np.argsort(-np.minimum(count[order], each), kind="stable")]
            for name in names[order[:acquisitions]]:
                rows.append(chance.permutation(np.flatnonzero(mine & (self.cells.group == name))))
                rows[-1] = rows[-1][:each]
        return np.sort(np.concatenate(rows))

    def crops(self, fold: int) -> Crops:
        """Return the cells of the other folds without their labels."""
        cells = self.cells.select(self.fold != fold)
        return Crops(
            bright=cells.bright,
            stains=cells.nucleus[:, None],
            has_stain=cells.has_nucleus[:, None],
            group=cells.group,
            sample=cells.sample,
            cell=cells.cell,
            digest=cells.digest,
        )

    def pretrained(self, fold: int) -> InitialWeights:
        """Pretrain on the cells of the other folds, unless that is done."""
        folder = self.out / "pretrained" / f"fold-{fold}"
        settings = self.recipe.pretrain_settings()
        stains = ["DAPI"] if settings.needs_stains else []
        pretrain(self.crops(fold), stains, settings, self.input, folder)
        return InitialWeights.of(folder)


def parse_budget(text: str) -> tuple[int, int]:
    """Return the number of acquisitions of each class, and of labelled cells of each.

    Raises:
        ValueError: it is not of the form 5x20.
    """
    numbers = text.split("x")
    if len(numbers) != 2 or not all(number.isdigit() and int(number) > 0 for number in numbers):
        raise ValueError(f"a budget is like 5x20 (acquisitions x cells) or all, not '{text}'")
    return int(numbers[0]), int(numbers[1])


def open_benchmark(
    manifests: Sequence[Path], recipe: Recipe, preset: Preset, out: Path
) -> Benchmark:
    """Read the cells, and check that the folder's results are of the same recipe.

    Raises:
        ValueError: they are of another one, or the manifests cannot be used.
    """
    path = out / "recipe.json"
    record = json.loads(json.dumps(asdict(recipe)))
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != record:
        raise ValueError(f"{out} has results of another recipe; choose another --out")
    rows = choose(read_manifests(manifests))
    input = input_for(rows, preset)
    with progress("Read", len(rows)) as advance:
        cells = read_cells(rows, input, advance)
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    return Benchmark(cells, input, splits.assign_folds(cells, FOLDS, SPLIT_SEED) + 1, recipe, out)
