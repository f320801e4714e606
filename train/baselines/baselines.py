"""Baselines for a network: size alone, and gradient boosting on simple texture features."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from ctcedge.images.preprocess import InputSpec

from ..data.columns import Columns
from ..data.dataset import Cells, TrainingProvenance, name_digests, rows_by_sample
from .size import measured_diameters, size_score
from .texture import COUNT, texture_features

TRAINING = "training"
EARLIER = "earlier"
UNLABELLED = "unlabelled"
TABLE_NAME = "training.npz"
_SPLIT_KEY = "side"
"""Name of the `split` column in the npz file, which exported models have had from the start."""
_TEXT_KEYS = ("digest", _SPLIT_KEY, "sample_digest")

MAX_DESCRIBED = 16_000
"""Maximum number of training cells with baseline features in a model folder, for its size."""


class TrainingTableError(ValueError):
    """A training table cannot be read."""


@dataclass(frozen=True, slots=True)
class TrainingTable(Columns):
    """Baseline features of cells, one per row, without names of patients.

    A model folder contains the table of the cells that the model was made from, as `training.npz`.

    Attributes:
        digest: (n,) text, as `train.data.dataset.Cells.digest`.
        split: (n,) text, `training`, `validation`, `test`; `earlier`: cells that the initial
            weights were trained on; or `unlabelled`: cells that they were pretrained on without
            labels. Of the last two only the digests are known.
        positive: (n,) bool.
        sample_digest: (n,) text, as `train.data.dataset.Seen.sample_digest`.
        features: (n, k) float32, see `train.baselines.texture`; NaN for cells without features.
        diameter: (n,) float32, measured, input pixels; NaN for cells without features.
    """

    digest: NDArray[np.str_]
    split: NDArray[np.str_]
    positive: NDArray[np.bool_]
    sample_digest: NDArray[np.str_]
    features: NDArray[np.float32]
    diameter: NDArray[np.float32]

    @property
    def described(self) -> TrainingTable:
        """The cells with features."""
        return self.select(~np.isnan(self.features[:, 0]))

    def limited(self, count: int, seed: int) -> TrainingTable:
        """Return the table with features of a limited number of training cells.

        These are drawn by `train.data.dataset.rows_by_sample`.
        """
        training = np.flatnonzero(self.split == TRAINING)
        group, positive = self.sample_digest[training], self.positive[training]
        kept = self.split != TRAINING
        kept[training[rows_by_sample(group, positive, count, seed)]] = True
        return replace(
            self,
            features=np.where(kept[:, None], self.features, np.float32(np.nan)),
            diameter=np.where(kept, self.diameter, np.float32(np.nan)),
        )

    def provenance(self, rows: NDArray[np.bool_]) -> TrainingProvenance:
        """Return the provenance of some of its rows."""
        return TrainingProvenance(self.digest[rows], self.sample_digest[rows])

    def with_earlier(
        self, provenance: TrainingProvenance, unlabelled: TrainingProvenance | None = None
    ) -> TrainingTable:
        """Return the table with the cells that the initial weights were trained on.

        Args:
            provenance: of these cells; cells that are in the table are skipped.
            unlabelled: of cells used without labels; they are added whether or not they are in the
                table, where a cell may be one to test on.
        """
        digests, first = np.unique(provenance.digest, return_index=True)
        new = provenance.select(first[~np.isin(digests, self.digest)])
        table = self.concat(_known_by_digest(new, EARLIER))
        return table if unlabelled is None else table.concat(_known_by_digest(unlabelled))

    def save(self, path: Path) -> None:
        """Write an npz, texts as ASCII bytes."""
        columns = self.columns()
        columns[_SPLIT_KEY] = columns.pop("split")
        for name in _TEXT_KEYS:
            columns[name] = columns[name].astype(np.bytes_)
        np.savez_compressed(path, allow_pickle=False, **columns)


def _known_by_digest(cells: TrainingProvenance, split: str = UNLABELLED) -> TrainingTable:
    return TrainingTable(
        digest=cells.digest,
        split=np.full(len(cells), split),
        positive=np.zeros(len(cells), bool),
        sample_digest=cells.sample_digest,
        features=np.full((len(cells), COUNT), np.nan, np.float32),
        diameter=np.full(len(cells), np.nan, np.float32),
    )


def read_table(data: bytes) -> TrainingTable:
    """Read a file of `TrainingTable.save`.

    Raises:
        TrainingTableError: it is not such a file.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            keys = {field.name: field.name for field in fields(TrainingTable)}
            keys["split"] = _SPLIT_KEY
            columns = {name: file[key] for name, key in keys.items()}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise TrainingTableError(f"not a training table: {error}; export the model again") from None
    if columns["features"].shape[1:] != (COUNT,):
        raise TrainingTableError("the training table has other features; export the model again")
    for name in ("digest", "split", "sample_digest"):
        columns[name] = np.char.decode(columns[name].astype(np.bytes_), "ascii")
    return TrainingTable(**columns)


def training_table(
    cells: Cells,
    split: NDArray[np.str_] | str,
    spec: InputSpec,
    on_cell: Callable[[], object] = lambda: None,
) -> TrainingTable:
    """Compute the baseline features of cells.

    Args:
        cells: of any split.
        split: (n,) of each cell, or one for all.
        spec: network input of the cells.
        on_cell: called after each cell.
    """
    return TrainingTable(
        digest=cells.digest,
        split=np.broadcast_to(np.array(split), (len(cells),)),
        positive=cells.positive,
        sample_digest=name_digests(cells.group),
        features=np.array([_features(inputs, spec, on_cell) for inputs in cells.bright]),
        diameter=measured_diameters(cells.bright, spec).astype(np.float32),
    )


def baseline_scores(
    training: TrainingTable, test: TrainingTable, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Fit both baselines on training cells and score test cells, higher for CTC.

    Args:
        training: of which the cells with features are used.
        test: cells that were not used for training, all with features.
        seed: of the boosting.

    Returns:
        By name, `size` and `texture`, each (n,).

    Raises:
        TableError: the cells with features are of one class only.
    """
    training = training.described
    if len(np.unique(training.positive)) < 2:
        raise TrainingTableError(
            "the training table has features of one class only; export the model again"
        )
    return {
        "size": size_score(training.diameter, training.positive, test.diameter),
        "texture": _boosted(training, seed).decision_function(test.features),
    }


def _boosted(training: TrainingTable, seed: int) -> HistGradientBoostingClassifier:
    boosting = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=200,
        max_leaf_nodes=15,
        min_samples_leaf=20,
        l2_regularization=1.0,
        class_weight="balanced",
        early_stopping=False,
        random_state=seed,
    )
    return boosting.fit(training.features, training.positive)


def _features(
    inputs: NDArray[np.uint8], spec: InputSpec, on_cell: Callable[[], object]
) -> NDArray[np.float32]:
    features = texture_features(inputs, spec)
    on_cell()
    return features
