"""Error analysis by gradient boosting: more acquisitions, and the nucleus image."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ctcedge.images.preprocess import InputSpec

from ..baselines.baselines import TRAINING, TrainingTable, baseline_scores, training_table
from ..data import splits as split
from ..data.dataset import Cells
from ..evaluate.tables import format_estimate, markdown_table
from ..metrics.roc import Floats, Labels
from ..util.progress import progress
from .trial_figures import Measure, Part, TrialScores, difference, format_gain, mean_figure
from .trials import FOLDS, SPLIT_SEED

_TRAINING_FRACTIONS = (1 / 8, 1 / 4, 1 / 2)
_DRAWS = 3


@dataclass(frozen=True, slots=True)
class Boosted:
    """Out-of-fold scores of gradient boosting on texture, on the same folds.

    Attributes:
        bright: (n,) log odds by bright field, cells of `TrialScores`.
        nucleus: (n,) by the nucleus image.
        both: (n,) by both.
        at: by fraction of the acquisitions trained on, a list of draws, (n,) each.
    """

    bright: Floats
    nucleus: Floats
    both: Floats
    at: dict[float, list[Floats]]


def boost(cells: Cells, trials: TrialScores, spec: InputSpec) -> Boosted:
    """Fit the boosting for every fold, on all and on fractions of the acquisitions."""
    inputs = {"bright": cells, "nucleus": replace(cells, bright=cells.nucleus)}
    with progress("Describe", 2 * len(cells)) as advance:
        views = {
            name: training_table(of_input, TRAINING, spec, advance)
            for name, of_input in inputs.items()
        }
    together = np.hstack([view.features for view in views.values()])
    views["both"] = replace(views["bright"], features=together)
    fold_of = split.assign_folds(cells, FOLDS, SPLIT_SEED) + 1
    draws = list(itertools.product(_TRAINING_FRACTIONS, range(_DRAWS)))
    folds = np.unique(trials.fold)
    out_of_fold = {name: np.empty(len(trials.rows)) for name in views}
    at = {draw: np.empty(len(trials.rows)) for draw in draws}
    with progress("Boost", len(folds) * (len(views) + len(draws))) as advance:
        for fold in folds:
            test, training = trials.fold == fold, fold_of != fold
            rows = trials.rows[test]
            for name, view in views.items():
                out_of_fold[name][test] = _boosted(view, training, rows)
                advance()
            for fraction, draw in draws:
                part = training & _some_groups(cells, training, fraction, draw)
                at[fraction, draw][test] = _boosted(views["bright"], part, rows)
                advance()
    return Boosted(
        **out_of_fold, at={s: [at[s, draw] for draw in range(_DRAWS)] for s in _TRAINING_FRACTIONS}
    )


def _boosted(view: TrainingTable, training: Labels, rows: NDArray[np.intp]) -> Floats:
    return baseline_scores(view.select(training), view.select(rows), SPLIT_SEED)["texture"]


def _some_groups(cells: Cells, rows: Labels, fraction: float, draw: int) -> Labels:
    """Draw a fraction of the groups of each class."""
    chance = np.random.default_rng((SPLIT_SEED, draw, round(1 / fraction)))
    drawn = []
    for kind in (True, False):
        names = np.unique(cells.group[rows & (cells.positive == kind)])
        drawn.append(chance.permutation(names)[: max(1, round(fraction * len(names)))])
    return np.isin(cells.group, np.concatenate(drawn))


def of_training(boosted: Boosted, measure: Measure) -> Part:
    """Write the gain of the boosting from more acquisitions and from the nucleus image."""
    bright, nucleus, both = (
        measure.auc(scores) for scores in (boosted.bright, boosted.nucleus, boosted.both)
    )
    parts = {
        f"{fraction}": mean_figure([measure.auc(scores) for scores in draws])
        for fraction, draws in boosted.at.items()
    }
    estimates = measure(
        {
            **parts,
            "bright": bright,
            "nucleus": nucleus,
            "both": both,
            "doubling": difference(bright, parts[f"{_TRAINING_FRACTIONS[-1]}"]),
            "adding": difference(both, bright),
        }
    )
    rows = [
        *(
            [f"{fraction:.1%}", format_estimate("auc", estimates[f"{fraction}"])]
            for fraction in boosted.at
        ),
        ["all", format_estimate("auc", estimates["bright"])],
    ]
    text = f"""\
### More acquisitions, more channels

Gradient boosting on texture, which is fast enough to fit on fractions of the acquisitions ({_DRAWS}
draws each), on the same folds:

{markdown_table(["Acquisitions trained on", "AUC, bright field"], rows)}

The last doubling of the acquisitions brought {format_gain(estimates["doubling"])}. The same
boosting on the nucleus image reaches {format_estimate("auc", estimates["nucleus"])}, on both images
{format_estimate("auc", estimates["both"])}. The labels therefore allow at least that AUC: what is
missing below it, these features do not find in bright field."""
    return Part(
        text,
        {
            "twice the acquisitions, as the last doubling did (boosting)": estimates["doubling"],
            "the nucleus image at test (boosting)": estimates["adding"],
        },
    )
