"""What few labels make of given features: ways to use the cells without labels, side by side.

`python -m train.research.feature_probe --help`. The labels are drawn as for the learning curve, but
all of them are learnt from: nothing is kept for calibration, so that its figures are not those of
the learning curve's `frozen` row. Takes seconds once the features are there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from ..baselines.baselines import TRAINING, training_table
from ..evaluate.tables import markdown_table
from ..fit.head import network_features
from ..fit.presets import preset_named
from ..fit.pretrained import InitialWeights
from ..fit.run import Run
from ..metrics.roc import Floats, roc_auc
from ..pretrain.settings import pretrain_preset
from ..util.command_line import path_argument, path_option, run_program, whole_option
from ..util.errors import exit_on
from .labelled_draws import FOLDS, Benchmark, Recipe, open_benchmark

Features = NDArray[np.float32]
Method = Callable[[Features, NDArray[np.intp], NDArray[np.bool_], Features], Floats]
"""Takes the features of the pool, the rows with a label, their labels, the features to score."""

BUDGETS = ("5x20", "10x20", "20x30")
_PENALTY = 0.1
_COMPONENTS = 32
_CERTAIN = 0.25


def labels_only(
    pool: Features, rows: NDArray[np.intp], positive: NDArray[np.bool_], test: Features
) -> Floats:
    """Score by logistic regression, standardised by the labelled cells."""
    return _logistic(pool[rows], positive, test, pool[rows])


def standardised(
    pool: Features, rows: NDArray[np.intp], positive: NDArray[np.bool_], test: Features
) -> Floats:
    """Score by logistic regression, standardised by all cells of the pool."""
    return _logistic(pool[rows], positive, test, pool)


def components(
    pool: Features, rows: NDArray[np.intp], positive: NDArray[np.bool_], test: Features
) -> Floats:
    """Score by logistic regression on the first principal components of the pool."""
    centre, scale = pool.mean(0), pool.std(0) + 1e-6
    model = PCA(min(_COMPONENTS, *pool.shape), random_state=0).fit((pool - centre) / scale)
    reduced, tested = (model.transform((part - centre) / scale) for part in (pool, test))
    regression = LogisticRegression(C=_PENALTY, class_weight="balanced", max_iter=2000)
    scores: Floats = regression.fit(reduced[rows], positive).decision_function(tested)
    return scores


def self_trained(
    pool: Features, rows: NDArray[np.intp], positive: NDArray[np.bool_], test: Features
) -> Floats:
    """Score after a second fit, which takes the most certain cells of the pool as labelled."""
    first = _logistic(pool[rows], positive, pool, pool)
    low, high = np.quantile(first, [_CERTAIN, 1 - _CERTAIN])
    certain = np.setdiff1d(np.flatnonzero((first <= low) | (first >= high)), rows)
    chosen = np.concatenate((rows, certain))
    labels = np.concatenate((positive, first[certain] >= high))
    return _logistic(pool[chosen], labels, test, pool)


METHODS: dict[str, Method] = {
    "labels only": labels_only,
    "standardised by the pool": standardised,
    f"{_COMPONENTS} components of the pool": components,
    "self-training": self_trained,
}


def _logistic(
    training: Features, positive: NDArray[np.bool_], test: Features, scale: Features
) -> Floats:
    centre, deviation = scale.mean(0), scale.std(0) + 1e-6
    regression = LogisticRegression(C=_PENALTY, class_weight="balanced", max_iter=2000)
    regression.fit((training - centre) / deviation, positive)
    scores: Floats = regression.decision_function((test - centre) / deviation)
    return scores


def features_of(benchmark: Benchmark, folders: Sequence[Path], fold: int) -> dict[str, Features]:
    """Return features of all cells by name: texture, of each pretraining run, and both together.

    Raises:
        ValueError: a run has seen cells that are tested.
    """
    cells = benchmark.cells
    path = benchmark.out / "texture.npy"
    if not path.is_file():
        np.save(path, training_table(cells, TRAINING, benchmark.input).features)
    features = {"texture": np.load(path)}
    settings = benchmark.recipe.fit_settings(1)
    run = Run(Path(), settings, benchmark.input, cells, np.full(len(cells), ""))
    for folder in folders:
        initial = InitialWeights.of(folder)
        if np.isin(cells.digest[benchmark.fold == fold], initial.unlabelled.digest).any():
            raise ValueError(f"{folder} was pretrained on cells of fold {fold}")
        features[folder.name] = network_features(
            initial.network(run), cells.bright, benchmark.input.gain
        )
        together = (features["texture"], features[folder.name])
        features[f"texture + {folder.name}"] = np.hstack(together)
    return features


def probe_table(benchmark: Benchmark, features: dict[str, Features], fold: int, draws: int) -> str:
    """Return the mean AUC of each kind of features and method, as Markdown.

    A gain is over labels only on the texture features, on the same draws, with its standard error
    over draws.
    """
    pool, test = np.flatnonzero(benchmark.fold != fold), benchmark.fold == fold
    positive, lines = benchmark.cells.positive, []
    for budget in BUDGETS:
        labelled = [benchmark.labels(fold, budget, draw) for draw in range(draws)]
        base: Floats | None = None
        for name, values in features.items():
            for title, method in METHODS.items():
                scores = [
                    method(values[pool], np.searchsorted(pool, rows), positive[rows], values[test])
                    for rows in labelled
                ]
                aucs = np.array([roc_auc(positive[test], drawn) for drawn in scores])
                base = aucs if base is None else base
                gain, error = aucs - base, (aucs - base).std(ddof=1) / np.sqrt(draws)
                shown = f"{gain.mean():+.3f} ± {error:.3f}"
                lines.append([budget, name, title, f"{aucs.mean():.3f}", shown])
    return markdown_table(["Labelled", "Features", "Method", "AUC", "Gain"], lines)


def main(
    manifests: Annotated[list[Path], path_argument("Manifests of labelled cells.", "MANIFEST")],
    out: Annotated[Path, path_option("Folder of the features.")],
    pretrained: Annotated[
        list[Path],
        typer.Option(metavar="RUN", help="Pretraining run that has not seen the fold; repeatable."),
    ],
    fold: Annotated[int, whole_option("Fold to test on.", 1, FOLDS)] = 1,
    draws: Annotated[int, whole_option("Draws of the labels.", 2, 1_000)] = 8,
    preset: Annotated[str, typer.Option(metavar="NAME", help="Preset of fit.")] = "cpu",
    seed: Annotated[int, whole_option("Of the draws.", 0, 2**32 - 1)] = 1,
) -> None:
    """Compare ways to use cells without labels, on features as they are.

    Example: python -m train.research.feature_probe breast.csv --pretrained
    runs/curve/pretrained/fold-1 --out runs/probe
    """
    with exit_on(ValueError, OSError):
        recipe = Recipe(preset, None, pretrain_preset(preset).settings.plain(), seed)
        benchmark = open_benchmark(manifests, recipe, preset_named(preset), out)
        features = features_of(benchmark, pretrained, fold)
        typer.echo(probe_table(benchmark, features, fold, draws))


if __name__ == "__main__":
    run_program(main)
