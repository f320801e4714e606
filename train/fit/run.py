"""A run: a folder with the cells that a network is fitted on, its settings and its weights.

A run with folds is a folder of runs, `fold-1` and so on.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from ctcedge.images.preprocess import InputSpec
from ctcedge.records import convert, plain

from ..data.dataset import Cells, TrainingProvenance
from ..metrics.roc import roc_auc
from ..util.extra import COMMAND
from .augment import Augmentation
from .folder import (
    CELLS_NAME,
    RUN_NAME,
    WEIGHTS_NAME,
    RunError,
    load_weights,
    locked,
    read_json,
    save,
)
from .networks import NETWORKS, Classifier, predict

_EARLIER = "earlier_"
"""Prefix of the columns of `Run.earlier`."""
_UNLABELLED = "unlabelled_"
"""Prefix of the columns of `Run.unlabelled`."""

MIN_WIDTH = 1 / 16
"""Minimum width of a network; its narrowest layer then has four channels."""

Split: TypeAlias = Literal["training", "validation", "test"]
"""Validation cells are for calibration and operating points; test cells for figures only."""

Dapi: TypeAlias = Literal["none", "samples", "auxiliary", "teacher", "dropout"]


@dataclass(frozen=True, slots=True)
class FitSettings:
    """All settings of a fit, besides the data and the initial weights.

    Attributes:
        network: one of `train.fit.networks.NETWORKS`.
        width: factor on the network's channels.
        views: number of mirrored and rotated copies of an image that the network averages.
        epochs: passes over the training cells.
        batch_size: cells per step, over all processes.
        learning_rate: maximum, after the warm-up.
        warm_up: fraction of the steps in which it rises from zero; then it decays as a cosine.
        weight_decay: of matrices and kernels, not of biases and norms.
        ema: decay per step of the moving average of the weights, which is the result.
        dapi: use of the DAPI images in training; see `train.fit.objectives`.
        dapi_weight: weight of the auxiliary loss, or of the soft labels.
        bf16: compute in bfloat16 where autocast does.
        augmentation: the families and their strength.
        seed: of the initial weights, the order and the augmentation.
        frozen: fit the head alone, by logistic regression, on the features of initial weights.
    """

    network: str = "resnet18"
    width: float = 0.5
    views: int = 8
    epochs: int = 110
    batch_size: int = 32
    learning_rate: float = 1e-3
    warm_up: float = 0.1
    weight_decay: float = 0.05
    ema: float = 0.99
    dapi: Dapi = "none"
    dapi_weight: float = 0.5
    bf16: bool = True
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 1
    frozen: bool = False

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise ValueError(f"unknown network '{self.network}' (known: {', '.join(NETWORKS)})")
        if self.dapi not in get_args(Dapi):
            raise ValueError(f"unknown use of DAPI '{self.dapi}' ({', '.join(get_args(Dapi))})")
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError("at least 1 epoch and batches of at least 2 cells are needed")
        if not self.width >= MIN_WIDTH:
            raise ValueError(f"a width of at least {MIN_WIDTH:g} is needed")
        if not self.learning_rate > 0:
            raise ValueError("a learning rate above 0 is needed")
        if self.frozen and self.dapi != "none":
            raise ValueError("--frozen trains no network, so that --dapi has no use")

    def with_overrides(self, **given: Any) -> FitSettings:
        """Return the settings with some replaced, by name; None keeps a setting."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def classifier(self) -> Classifier:
        """Return the network to fit, with random weights."""
        return Classifier(self.network, self.width, self.views)


@dataclass(frozen=True, slots=True)
class Run:
    """One network's cells, settings and, once it is fitted, weights.

    Attributes:
        folder: of the run.
        settings: of the fit.
        input: network input.
        cells: of all splits.
        split: (n,) text, the `Split` of each cell; there is a test split under folds only.
        init: SHA-256 of the initial weights; empty where they are random.
        earlier: the cells that the initial weights were trained on.
        unlabelled: the cells that they were pretrained on, without labels.
    """

    folder: Path
    settings: FitSettings
    input: InputSpec
    cells: Cells
    split: NDArray[np.str_]
    init: str = ""
    earlier: TrainingProvenance = field(default_factory=TrainingProvenance.empty)
    unlabelled: TrainingProvenance = field(default_factory=TrainingProvenance.empty)

    def subset(self, split: Split) -> Cells:
        """Return the cells of one split."""
        return self.cells.select(self.split == split)

    @property
    def finished(self) -> bool:
        """Whether the weights are final."""
        return (self.folder / WEIGHTS_NAME).is_file()

    def summary(self) -> str:
        """Return network, number of cells and validation AUC in one line."""
        validation = self.subset("validation")
        auc = roc_auc(
            validation.positive, predict(self.network(), validation.bright, self.input.gain)
        )
        counts = ", ".join(
            f"{count:,} {split}"
            for split in get_args(Split)
            if (count := np.count_nonzero(self.split == split))
        )
        return f"finished; {self.settings.network}; cells: {counts}; validation AUC {auc:.3f}"

    def network(self) -> Classifier:
        """Return the fitted network, in evaluation mode.

        Raises:
            RunError: the fit is not finished.
        """
        if not self.finished:
            raise RunError(f"{self.folder} is not finished; run its '{COMMAND} fit' again")
        with torch.random.fork_rng():
            network = self.settings.classifier()
        network.load_state_dict(load_weights(self.folder / WEIGHTS_NAME))
        return network.eval()

    def locked(self) -> AbstractContextManager[None]:
        """Lock the folder against other fits, see `train.fit.folder.locked`."""
        return locked(self.folder)

    def save(self) -> None:
        """Write cells and settings; a folder with the same run is not changed.

        Raises:
            RunError: the folder contains another run, or something else.
        """
        columns = self.cells.columns() | {"side": self.split}
        for prefix, provenance in ((_EARLIER, self.earlier), (_UNLABELLED, self.unlabelled)):
            columns |= {prefix + name: column for name, column in provenance.columns().items()}
        save(self.folder, RUN_NAME, self._record(), columns)

    def _record(self) -> dict[str, Any]:
        cells = {"cells": _digest(self.cells, self.split)}
        return recipe(self.settings, self.input, self.init) | cells


def recipe(settings: FitSettings, input: InputSpec, init: str = "") -> dict[str, Any]:
    """Return the record of a run without its cells."""
    chosen = asdict(settings)
    if not settings.frozen:
        del chosen["frozen"]  # runs before the setting existed are the same runs
    return {"settings": chosen, "input": plain(input), "init": init}


def open_runs(folder: Path) -> list[Run]:
    """Open the run of a folder, or those of all its folds.

    Raises:
        RunError: it has none, or a damaged one.
    """
    if (folder / RUN_NAME).is_file():
        return [_open(folder)]
    runs = fold_folders(folder)
    if not runs:
        raise RunError(f"{folder} contains no run; make one with '{COMMAND} fit'")
    return [_open(run) for run in runs]


def fold_folders(folder: Path) -> list[Path]:
    """Return the folders of a run's folds, in order; none where it has no folds."""
    return sorted(
        (path.parent for path in folder.glob(f"fold-*/{RUN_NAME}")),
        key=lambda path: (len(path.name), path.name),
    )


def _open(folder: Path) -> Run:
    record = read_json(folder / RUN_NAME)
    try:
        with np.load(folder / CELLS_NAME, allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in arrays.files}
        split = columns.pop("side")
        earlier, unlabelled = (_pop(columns, prefix) for prefix in (_EARLIER, _UNLABELLED))
        settings = dict(record["settings"])
        augmentation = Augmentation(**settings.pop("augmentation"))
        return Run(
            folder=folder,
            settings=FitSettings(**settings, augmentation=augmentation),
            input=convert(record["input"], InputSpec),
            cells=Cells(**columns),
            split=split,
            init=record["init"],
            earlier=earlier,
            unlabelled=unlabelled,
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder} is damaged or of another version: {error}") from None


def _pop(columns: dict[str, NDArray[Any]], prefix: str) -> TrainingProvenance:
    """Take the columns of a provenance; runs before pretraining existed have none of that."""
    names = [field.name for field in fields(TrainingProvenance)]
    if prefix == _UNLABELLED and prefix + names[0] not in columns:
        return TrainingProvenance.empty()
    return TrainingProvenance(**{name: columns.pop(prefix + name) for name in names})


def _digest(cells: Cells, split: NDArray[np.str_]) -> str:
    """SHA-256 of all columns that a fit depends on."""
    total = hashlib.sha256()
    for column in (cells.bright, cells.nucleus, cells.has_nucleus, cells.positive):
        total.update(np.ascontiguousarray(column).data)
    for text in (cells.group, cells.sample, cells.cell, split):
        total.update("\n".join(text.tolist()).encode())
    return total.hexdigest()
