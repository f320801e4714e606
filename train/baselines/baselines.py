"""What a network must beat: size alone, and gradient boosting on simple texture features."""

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
TABLE_NAME = "training.npz"
_SPLIT_KEY = "side"
"""Name of the `split` column in the npz file, which exported models have had from the start."""
_TEXT_KEYS = ("digest", _SPLIT_KEY, "sample_digest")

MAX_DESCRIBED = 16_000
"""Training cells of which a model folder keeps what the baselines see; more make it large."""


class TrainingTableError(ValueError):
    """A training table cannot be read."""


@dataclass(frozen=True, slots=True)
class TrainingTable(Columns):
    """What the baselines see of cells, one a row, and nothing that names a patient.

    A model folder holds that of the cells that the model was made from, as `training.npz`.

    Attributes:
        digest: (n,) text, as `train.data.dataset.Cells.digest`.
        side: (n,) text, `training`, `validation`, `test` or `earlier`: cells that had a part in the
            weights that the training began with, of which no more is known than their digests.
        positive: (n,) bool.
        sample_digest: (n,) text, as `train.data.dataset.Seen.sample_digest`.
        features: (n, k) float32, see `train.baselines.texture`; NaN for cells that are listed
        alone.
        diameter: (n,) float32, measured, input pixels; NaN likewise.
    """

    digest: NDArray[np.str_]
    split: NDArray[np.str_]
    positive: NDArray[np.bool_]
    sample_digest: NDArray[np.str_]
    features: NDArray[np.float32]
    diameter: NDArray[np.float32]

    @property
    def described(self) -> TrainingTable:
        """The cells of which more is told than that they are there."""
        return self.select(~np.isnan(self.features[:, 0]))

    def limited(self, most: int, seed: int) -> TrainingTable:
        """Return the table with at most so many training cells shown, and the rest listed alone.

        They are drawn as by `train.data.dataset.rows_by_sample`.
        """
        training = np.flatnonzero(self.split == TRAINING)
        group, positive = self.sample_digest[training], self.positive[training]
        told = self.split != TRAINING
        told[training[rows_by_sample(group, positive, most, seed)]] = True
        return replace(
            self,
            features=np.where(told[:, None], self.features, np.float32(np.nan)),
            diameter=np.where(told, self.diameter, np.float32(np.nan)),
        )

    def provenance(self, rows: NDArray[np.bool_]) -> TrainingProvenance:
        """Return which cells stand in some of its rows."""
        return TrainingProvenance(self.digest[rows], self.sample_digest[rows])

    def with_earlier(self, seen: TrainingProvenance) -> TrainingTable:
        """Return the table with cells listed that had a part in the first weights.

        Args:
            seen: those cells; what is in the table anyway is passed over.
        """
        digests, first = np.unique(seen.digest, return_index=True)
        new = seen.select(first[~np.isin(digests, self.digest)])
        return self.concat(
            TrainingTable(
                digest=new.digest,
                split=np.full(len(new), EARLIER),
                positive=np.zeros(len(new), bool),
                sample_digest=new.sample_digest,
                features=np.full((len(new), COUNT), np.nan, np.float32),
                diameter=np.full(len(new), np.nan, np.float32),
            )
        )

    def save(self, path: Path) -> None:
        """Write an npz, texts as ASCII bytes."""
        columns = self.columns()
        columns[_SPLIT_KEY] = columns.pop("split")
        for name in _TEXT_KEYS:
            columns[name] = columns[name].astype(np.bytes_)
        np.savez_compressed(path, allow_pickle=False, **columns)


def read_table(data: bytes) -> TrainingTable:
    """Read what `Table.save` wrote.

    Raises:
        TableError: it is no such file.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            keys = {field.name: field.name for field in fields(TrainingTable)}
            keys["split"] = _SPLIT_KEY
            columns = {name: file[key] for name, key in keys.items()}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise TrainingTableError(f"no training table: {error}; export the model anew") from None
    if columns["features"].shape[1:] != (COUNT,):
        raise TrainingTableError("the training table holds other features; export the model anew")
    for name in ("digest", "split", "sample_digest"):
        columns[name] = np.char.decode(columns[name].astype(np.bytes_), "ascii")
    return TrainingTable(**columns)


def training_table(
    cells: Cells,
    side: NDArray[np.str_] | str,
    spec: InputSpec,
    each: Callable[[], object] = lambda: None,
) -> TrainingTable:
    """Compute what the baselines see.

    Args:
        cells: of any side.
        side: (n,) of each cell, or one for all.
        spec: the input that the cells were made for.
        each: called after each cell.
    """
    return TrainingTable(
        digest=cells.digest,
        split=np.broadcast_to(np.array(side), (len(cells),)),
        positive=cells.positive,
        sample_digest=name_digests(cells.group),
        features=np.array([_told(texture_features(one, spec), each) for one in cells.bright]),
        diameter=measured_diameters(cells.bright, spec).astype(np.float32),
    )


def baseline_scores(
    training: TrainingTable, test: TrainingTable, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Fit both baselines on training cells and score others, higher for CTC.

    Args:
        training: of which those that are shown count.
        test: cells never trained on, all shown.
        seed: of the boosting.

    Returns:
        By name, `size` and `texture`, each (n,).

    Raises:
        TableError: those that are shown are of one class only.
    """
    training = training.described
    if len(np.unique(training.positive)) < 2:
        raise TrainingTableError(
            "the training table shows cells of one class only; export the model anew"
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


def _told(made: NDArray[np.float32], each: Callable[[], object]) -> NDArray[np.float32]:
    each()
    return made
