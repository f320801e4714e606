"""How much features tell of the acquisition, which is light and focus as far as it is not the cell.

Within one class, the acquisition of a cell says nothing of its class. Features from which it is
predicted well hold what differs between acquisitions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ACQUISITIONS = 10
"""Acquisitions of each class that are told apart: those with most cells. Chance is a tenth."""
_PARTS = 5


def acquisition_accuracy(
    features: NDArray[np.float32],
    group: NDArray[np.str_],
    positive: NDArray[np.bool_],
    seed: int = 1,
) -> dict[str, float]:
    """Return how often a cell's acquisition is predicted, the mean over acquisitions, by class.

    A fifth of the cells is predicted at a time, by logistic regression on the others.
    """
    accuracy = {}
    for name, kind in (("positive", positive), ("negative", ~positive)):
        names, count = np.unique(group[kind], return_counts=True)
        chosen = names[np.argsort(-count, kind="stable")[:ACQUISITIONS]]
        rows = np.random.default_rng(seed).permutation(np.flatnonzero(np.isin(group, chosen)))
        right = np.zeros(len(rows), bool)
        for part in range(_PARTS):
            held = np.arange(len(rows)) % _PARTS == part
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
            model.fit(features[rows[~held]], group[rows[~held]])
            right[held] = model.predict(features[rows[held]]) == group[rows[held]]
        accuracy[name] = float(np.mean([right[group[rows] == name].mean() for name in chosen]))
    return accuracy
