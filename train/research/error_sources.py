"""Parts of the error analysis that need the trials' scores alone: traits, acquisitions, labels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..evaluate.bootstrap import Estimate
from ..evaluate.tables import format_estimate, markdown_table
from ..metrics.roc import Floats, Labels, log_odds, roc_auc
from .cell_traits import Traits
from .trial_figures import (
    Measure,
    Part,
    TrialScores,
    difference,
    format_gain,
    format_percent,
    format_range,
    lower_first,
)
from .trials import REFERENCE, SEEDS, SPLIT_SEED

TARGET_AUC = 0.90

_CERTAIN = float(log_odds(np.array(0.8)))
_NOISE_FRACTIONS = (0.01, 0.03, 0.05)
_PARTS = 3
_FEW_CELLS = 10
_TRAITS = {
    "sharpness": "Sharpness (fine structure)",
    "contrast": "Contrast (coarse structure)",
    "diameter": "Size of the stained region",
    "edge": "Distance from the crop's edge",
}


def by_traits(trials: TrialScores, traits: Traits, measure: Measure) -> Part:
    """Write the AUC of each third of the cells by each trait."""
    rows, matter = [], []
    score = trials.reference
    thirds = {
        name: np.digitize(value, np.quantile(value, np.arange(1, _PARTS) / _PARTS))
        for name, value in traits.columns().items()
    }
    for name, title in _TRAITS.items():
        third = thirds[name]
        of_part = {f"{part}": measure.auc(score, third == part) for part in range(_PARTS)}
        found = measure(of_part | {"gain": difference(of_part[f"{_PARTS - 1}"], of_part["0"])})
        gain = found.pop("gain")
        if not gain.low <= 0 <= gain.high:
            matter.append(lower_first(title))
        shares = " / ".join(
            f"{trials.positive[third == part].mean():.0%}" for part in range(_PARTS)
        )
        each = [format_estimate("auc", one) for one in found.values()]
        rows.append([title, *each, format_gain(gain), shares])
    seen = measure.auc(score, thirds["contrast"] > 0)
    gains = measure({"gain": difference(seen, measure.auc(score))})
    head = ["", "Lowest third", "Middle", "Highest", "Highest less lowest", "Tumour cells"]
    text = f"""\
### By what a crop looks like

{markdown_table(head, rows)}

Fine and coarse structure are of the bright field within the stained region, over that around it:
half of the cells have less than {np.median(traits.sharpness) - 1:.0%} more fine structure than
their background. The thirds differ by more than chance by: {", ".join(matter) or "none"}."""
    return Part(text, {"review of the third with the lowest contrast": gains["gain"]})


def by_acquisition(trials: TrialScores, measure: Measure) -> Part:
    """Write the part of the error that whole acquisitions have in common."""
    score = trials.reference
    between, within = variance_parts(score, trials.positive, trials.group)
    centre = np.where(
        trials.positive, score[trials.positive].mean(), score[~trials.positive].mean()
    )
    shift = _means(score - centre, trials.group)
    one, even = measure.auc(score), measure.auc(score - shift)
    found = measure({"all": one, "even": even, "gain": difference(even, one)})
    names = [
        name
        for name in np.unique(trials.group)
        if np.count_nonzero(trials.group == name) >= _FEW_CELLS
    ]
    each = np.array([_of_group(trials, score, name) for name in names])
    chance = np.random.default_rng(SPLIT_SEED)
    mixed = score.copy()
    for kind in (True, False):
        of_kind = np.flatnonzero(trials.positive == kind)
        mixed[of_kind] = score[chance.permutation(of_kind)]
    by_chance = np.array([_of_group(trials, mixed, name) for name in names])
    low, middle, high = np.percentile(each, (10, 50, 90))
    wrong = sum(
        (score[trials.group == name].mean() > 0) != trials.positive[trials.group == name][0]
        for name in names
    )
    text = f"""\
### By acquisition

Every acquisition is of one class, so that its cells' AUC is that against all cells of the other
class. Of {len(names)} acquisitions with at least {_FEW_CELLS} cells the median is {middle:.3f}, a
tenth lie below {low:.3f} and a tenth above {high:.3f} (standard deviation {each.std():.3f}; were
the cells of a class dealt to them at random, {by_chance.std():.3f}). On the wrong side as a whole,
by the mean of their cells: {wrong}.

Of the variance of the log odds within a class, {between / (between + within):.0%} is of whole
acquisitions and {within / (between + within):.0%} of their single cells. Without
differences between acquisitions of a class, the AUC would be
{format_estimate("auc", found["even"])} instead of {format_estimate("auc", found["all"])}."""
    return Part(text, {"no differences between acquisitions of a class": found["gain"]})


def variance_parts(score: Floats, positive: Labels, group: NDArray[np.str_]) -> tuple[float, float]:
    """Return the variance between and within groups, by class (one-way analysis of variance).

    Args:
        score: (n,).
        positive: (n,), the same for all cells of a group.
        group: (n,) text.
    """
    squares = np.zeros(2)
    freedom = np.zeros(2)
    spread = 0.0
    for kind in (True, False):
        mine = positive == kind
        _, member, size = np.unique(group[mine], return_inverse=True, return_counts=True)
        mean = np.bincount(member, score[mine]) / size
        squares += (
            (size * (mean - score[mine].mean()) ** 2).sum(),
            ((score[mine] - mean[member]) ** 2).sum(),
        )
        freedom += (len(size) - 1, mine.sum() - len(size))
        spread += mine.sum() - (size**2).sum() / mine.sum()
    of_groups, within = squares / np.maximum(freedom, 1)
    return max(0.0, float((of_groups - within) * freedom[0] / spread)), float(within)


def _of_group(trials: TrialScores, score: Floats, name: str) -> float:
    inside = trials.group == name
    rows = inside | (trials.positive != trials.positive[inside][0])
    return roc_auc(trials.positive[rows], score[rows])


def _means(value: Floats, group: NDArray[np.str_]) -> Floats:
    """Return each cell's mean over its group, (n,)."""
    _, member, size = np.unique(group, return_inverse=True, return_counts=True)
    mean: Floats = (np.bincount(member, value) / size)[member]
    return mean


def by_ensemble(trials: TrialScores, measure: Measure) -> Part:
    """Write the gain of the mean of several networks over one."""
    count = np.isfinite(np.stack(list(trials.logit.values()))).sum(axis=0)
    several = count > 1
    lines, gains = [], {}
    if several.any():
        one, every = (measure.auc(each, several) for each in (trials.reference, trials.ensemble))
        found = measure({"one": one, "all": every, "gain": difference(every, one)}, several)
        gains["the mean of all trials instead of one"] = found["gain"]
        mean_auc, reference_auc = (format_estimate("auc", found[key]) for key in ("all", "one"))
        lines.append(
            f"The mean of the {format_range(count[several])} trials run on a fold reaches"
            f" {mean_auc} on {np.count_nonzero(several):,} cells, where the reference alone reaches"
            f" {reference_auc}: {format_gain(found['gain'])}."
        )
        lines.append(_by_members(trials, several))
    seeds = [REFERENCE, *(name for name in SEEDS if name in trials.logit)]
    same = trials.scored_by(seeds)
    if len(seeds) > 1 and same.any():
        together = np.mean([trials.logit[name] for name in seeds], axis=0)
        single = np.mean([roc_auc(trials.positive[same], trials.logit[n][same]) for n in seeds])
        one, every = measure.auc(trials.reference, same), measure.auc(together, same)
        pooled = measure({"auc": every, "gain": difference(every, one)}, same)
        gains[f"the mean of {len(seeds)} seeds instead of one"] = pooled["gain"]
        correlation = np.corrcoef([trials.logit[name][same] for name in seeds])
        lines.append(
            f"{len(seeds)} seeds of the reference alone: {single:.3f} each on average, their mean"
            f" {format_estimate('auc', pooled['auc'])}; their log odds correlate by"
            f" {correlation[np.triu_indices(len(seeds), 1)].mean():.2f}."
        )
    if not lines:
        lines.append("Only one trial has been run so far, so that there is nothing to compare.")
    return Part("### Several networks instead of one\n\n" + "\n\n".join(lines), gains)


def _by_members(trials: TrialScores, rows: Labels) -> str:
    """Write the AUC of the mean of several trials, drawn from those run on each fold, by number."""
    chance = np.random.default_rng(SPLIT_SEED)
    folds = np.unique(trials.fold[rows])
    held = {
        fold: [
            logit[rows & (trials.fold == fold)]
            for logit in trials.logit.values()
            if np.isfinite(logit[rows & (trials.fold == fold)]).all()
        ]
        for fold in folds
    }
    positive = np.concatenate([trials.positive[rows & (trials.fold == fold)] for fold in folds])
    lines = []
    for size in (1, 2, 4, 8, 16):
        if size > min(map(len, held.values())):
            break
        found = []
        for _ in range(20):
            means = [
                np.mean([held[fold][i] for i in chance.permutation(len(held[fold]))[:size]], axis=0)
                for fold in folds
            ]
            found.append(roc_auc(positive, np.concatenate(means)))
        lines.append(f"{size}: {np.mean(found):.3f}")
    return f"AUC by the number of trials averaged, drawn at random: {', '.join(lines)}."


def of_labels(
    trials: TrialScores, nucleus: Floats, contrast: Floats, measure: Measure
) -> tuple[Part, NDArray[np.intp]]:
    """Write the evidence for wrong labels.

    Args:
        trials: by the trials.
        nucleus: (n,) log odds by boosting on the nucleus image, out of fold.
        contrast: (n,) as of `Traits`.
        measure: of the same cells.

    Returns:
        The text; the cells that every trial calls against their label with certainty, as indices
        of `trials`, the most certain first.
    """
    against = np.where(trials.positive, -1, 1) * np.stack(list(trials.logit.values()))
    least = np.nanmin(against, axis=0)
    count = np.isfinite(against).sum(axis=0)
    wrong = least > _CERTAIN
    order = np.flatnonzero(wrong)[np.argsort(-least[wrong], kind="stable")]
    with_label = (nucleus > 0) == trials.positive
    share = measure(
        {
            "wrong": lambda weight: weight @ wrong / weight.sum(axis=1),
            "agrees": lambda weight: weight @ (wrong & with_label) / np.maximum(weight @ wrong, 1),
            "all": lambda weight: weight @ with_label / weight.sum(axis=1),
        }
    )
    auc = roc_auc(trials.positive, trials.reference)
    of_all, of_wrong = share["all"].value, share["agrees"].value
    mistaken = share["wrong"].value * float(np.clip((of_all - of_wrong) / (2 * of_all - 1), 0, 1))
    needed = 1 - (auc - 0.5) / (TARGET_AUC - 0.5)
    surest = np.argsort(-np.nanmean(against, axis=0), kind="stable")
    rows = []
    for noise in _NOISE_FRACTIONS:
        label = trials.positive.copy()
        flipped = surest[: round(noise * len(label))]
        label[flipped] = ~label[flipped]
        rows.append(
            [
                f"{noise:.0%}",
                f"{_without_noise(auc, noise):.3f}",
                f"{roc_auc(label, trials.reference):.3f}",
            ]
        )
    groups, size = np.unique(trials.group[wrong], return_counts=True)
    faint = contrast < np.quantile(contrast, 1 / _PARTS)
    missed = wrong & trials.positive
    reach = (
        f"Random label errors in {needed / 2:.1%} of each class would by themselves explain the"
        f" difference from {TARGET_AUC:.2f}."
        if needed > 0
        else f"The reference is not below {TARGET_AUC:.2f} on these cells."
    )
    head = ["Wrong labels", "AUC without them, if they are random", "if they are the worst cells"]
    text = f"""\
### Wrong labels

The labels are of acquisitions: each is a culture of one cell line, and no cell was labelled
individually. All of the {format_range(count)} trials call {format_percent(share["wrong"])} of the
cells wrongly with a probability of at least 0.8 ({wrong.sum():,} cells of {len(groups)}
acquisitions, at most {size.max(initial=0)} of one). Of the {missed.sum():,} tumour cells among them
{np.count_nonzero(missed & faint):,} are in the third of least contrast, where
{trials.positive[faint].mean():.0%} of the cells are tumour and elsewhere
{trials.positive[~faint].mean():.0%}: invisible cells are called benign.

Gradient boosting on the texture of the *nucleus* image of these cells, which most networks do not
use, agrees with the label of {format_percent(share["agrees"])} of them, and of
{format_percent(share["all"])} of all cells. If errors on the two images were independent, it would
agree with correct labels as often as with all, and with wrong ones as rarely as it errs: then
{mistaken:.1%} of all cells would be labelled wrongly. As the errors are correlated, it is less.

{reach}

{markdown_table(head, rows)}

The last column takes the labels to doubt from the scores themselves: it is a bound, not an AUC that
a model could reach."""
    gain = _without_noise(auc, mistaken) - auc
    gains = {"correction of the wrong labels (at most)": Estimate(gain, math.nan, math.nan)}
    return Part(text, gains), order


def _without_noise(auc: float, fraction: float) -> float:
    """AUC with correct labels, where a fraction of each class was labelled wrongly at random."""
    return 0.5 + (auc - 0.5) / (1 - 2 * fraction)
