"""Error analysis: what limits the AUC on the benchmark.

`python -m train.research.error_analysis --help`. Works on the scores that the trials of
`train.research.results` gave to cells held out from them, and fits nothing but gradient boosting.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeAlias

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from ctcedge.discovery.naming import BRIGHT_FIELD
from ctcedge.fs.files import atomic_write
from ctcedge.images.decode import decode
from ctcedge.images.preprocess import InputSpec

from ..baselines.baselines import TRAINING, TrainingTable, baseline_scores, training_table
from ..data import splits as split
from ..data.dataset import NUCLEUS, Cells, read_cells
from ..data.manifest import ManifestError, Row, choose, read_manifests
from ..evaluate.bootstrap import Estimate, Resampling
from ..evaluate.tables import format_estimate, markdown_table
from ..metrics.roc import Curve, Floats, Labels, log_odds, roc_auc
from ..util.errors import exit_on
from ..util.progress import progress
from .cell_traits import Traits, traits_of
from .markdown import put_sections, stamp
from .results import CEILING, ORDER
from .trial_scores import read_scores
from .trials import FOLDS, REFERENCE, SEEDS, SPLIT_SEED, TRIALS

AIM = 0.90
SHEET_NAME = "against-their-label.png"

_CERTAIN = float(log_odds(np.array(0.8)))
_NOISE_SHARES = (0.01, 0.03, 0.05)
_TRAINING_SHARES = (1 / 8, 1 / 4, 1 / 2)
_DRAWS = 3
_PARTS = 3
_FEW_CELLS = 10
_TRAITS = {
    "sharpness": "Sharpness (fine structure)",
    "contrast": "Contrast (coarse structure)",
    "diameter": "Size of the stained region",
    "edge": "Distance from the crop's edge",
}
_TILE, _ACROSS, _MOST = 100, 8, 48


@dataclass(frozen=True, slots=True)
class TrialScores:
    """What the trials say of the cells of the folds that the reference has scored, n cells.

    Attributes:
        rows: (n,) index of each cell in the manifest.
        fold: (n,).
        positive: (n,).
        group: (n,) text, the acquisition.
        logit: by trial, (n,); NaN where it has not scored the cell.
    """

    rows: NDArray[np.intp]
    fold: NDArray[np.intp]
    positive: Labels
    group: NDArray[np.str_]
    logit: dict[str, Floats]

    @property
    def reference(self) -> Floats:
        """The reference's log odds."""
        return self.logit[REFERENCE]

    @property
    def ensemble(self) -> Floats:
        """Mean log odds of all trials that have scored a cell."""
        mean: Floats = np.nanmean(np.stack(list(self.logit.values())), axis=0)
        return mean

    def scored_by(self, names: Sequence[str]) -> Labels:
        """Tell which cells all of these trials have scored, (n,)."""
        told: Labels = np.all([np.isfinite(self.logit[name]) for name in names], axis=0)
        return told


def read_trial_scores(cells: Cells, out: Path) -> TrialScores:
    """Read what the trials have said so far.

    Raises:
        ValueError: the reference has scored no fold, or a trial is of another recipe or of other
            cells.
    """
    held = read_scores(TRIALS, cells, out)
    if REFERENCE not in held:
        raise ValueError(f"{out} holds no fold of the trial '{REFERENCE}'; run it first")
    rows = np.sort(held[REFERENCE].row)
    fold, logit = np.empty(len(rows), np.intp), {}
    for name, said in held.items():
        _, mine, theirs = np.intersect1d(rows, said.row, return_indices=True)
        logit[name] = np.full(len(rows), np.nan)
        logit[name][mine] = log_odds(said.probability[theirs])
        fold[mine] = said.fold[theirs]
    logit = {name: told for name, told in logit.items() if np.isfinite(told).any()}
    return TrialScores(rows, fold, cells.positive[rows], cells.group[rows], logit)


Figure: TypeAlias = Callable[[Floats], Floats]
"""From weights, (m, n), to a figure of each draw, (m,)."""


class Measure:
    """Figures with intervals over acquisitions, on the cells of `Said`."""

    def __init__(self, said: TrialScores) -> None:
        self._said = said

    def __call__(
        self, figures: Mapping[str, Figure], rows: Labels | None = None
    ) -> dict[str, Estimate]:
        """Estimate functions of the weights of some of the cells, (m, n) to (m,)."""
        chosen = np.ones(len(self._said.rows), bool) if rows is None else rows
        resampling = Resampling(self._said.group[chosen], self._said.positive[chosen], SPLIT_SEED)

        def statistics(weight: Floats) -> dict[str, dict[str, Floats]]:
            whole = np.zeros((len(weight), len(chosen)))
            whole[:, chosen] = weight
            return {"all": {name: figure(whole) for name, figure in figures.items()}}

        return resampling.estimate(statistics)["all"]

    def auc(self, score: Floats, rows: Labels | None = None) -> Figure:
        """Return the AUC of a score, on some of the cells, as a function of the weights."""
        chosen = np.isfinite(score) if rows is None else rows & np.isfinite(score)
        return lambda weight: Curve.of(
            self._said.positive[chosen], score[chosen], weight[:, chosen]
        ).auc()


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the section.

    Attributes:
        text: of it.
        gains: in AUC, by what would bring them.
    """

    text: str
    gains: dict[str, Estimate]


def by_traits(said: TrialScores, traits: Traits, measure: Measure) -> Part:
    """Write the AUC of each third of the cells by each trait."""
    rows, matter = [], []
    score = said.reference
    thirds = {
        name: np.digitize(value, np.quantile(value, np.arange(1, _PARTS) / _PARTS))
        for name, value in traits.columns().items()
    }
    for name, title in _TRAITS.items():
        third = thirds[name]
        of_part = {f"{part}": measure.auc(score, third == part) for part in range(_PARTS)}
        found = measure(of_part | {"gain": _less(of_part[f"{_PARTS - 1}"], of_part["0"])})
        gain = found.pop("gain")
        if not gain.low <= 0 <= gain.high:
            matter.append(_lower(title))
        shares = " / ".join(f"{said.positive[third == part].mean():.0%}" for part in range(_PARTS))
        each = [format_estimate("auc", one) for one in found.values()]
        rows.append([title, *each, _signed(gain), shares])
    seen = measure.auc(score, thirds["contrast"] > 0)
    gains = measure({"gain": _less(seen, measure.auc(score))})
    head = ["", "Lowest third", "Middle", "Highest", "Highest less lowest", "Tumour cells"]
    text = f"""\
### By what a crop looks like

{markdown_table(head, rows)}

Fine and coarse structure are of the bright field within the stained region, over that around it:
half of the cells have less than {np.median(traits.sharpness) - 1:.0%} more fine structure than
their background. The thirds differ by more than chance by: {", ".join(matter) or "none"}."""
    return Part(text, {"the third of least contrast left to a person": gains["gain"]})


def by_acquisition(said: TrialScores, measure: Measure) -> Part:
    """Write how much of the error belongs to whole acquisitions."""
    score = said.reference
    between, within = variance_parts(score, said.positive, said.group)
    centre = np.where(said.positive, score[said.positive].mean(), score[~said.positive].mean())
    shift = _means(score - centre, said.group)
    one, even = measure.auc(score), measure.auc(score - shift)
    found = measure({"all": one, "even": even, "gain": _less(even, one)})
    names = [
        name for name in np.unique(said.group) if np.count_nonzero(said.group == name) >= _FEW_CELLS
    ]
    each = np.array([_of_group(said, score, name) for name in names])
    chance = np.random.default_rng(SPLIT_SEED)
    mixed = score.copy()
    for kind in (True, False):
        of_kind = np.flatnonzero(said.positive == kind)
        mixed[of_kind] = score[chance.permutation(of_kind)]
    by_chance = np.array([_of_group(said, mixed, name) for name in names])
    low, middle, high = np.percentile(each, (10, 50, 90))
    wrong = sum(
        (score[said.group == name].mean() > 0) != said.positive[said.group == name][0]
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
acquisitions and {within / (between + within):.0%} of their single cells. If nothing set
acquisitions of a class apart, the AUC would be {format_estimate("auc", found["even"])} instead of
{format_estimate("auc", found["all"])}."""
    return Part(text, {"acquisitions of a class all alike": found["gain"]})


def variance_parts(score: Floats, positive: Labels, group: NDArray[np.str_]) -> tuple[float, float]:
    """Return the variance between and within groups, classes apart (one-way analysis of variance).

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


def _of_group(said: TrialScores, score: Floats, name: str) -> float:
    inside = said.group == name
    rows = inside | (said.positive != said.positive[inside][0])
    return roc_auc(said.positive[rows], score[rows])


def _means(value: Floats, group: NDArray[np.str_]) -> Floats:
    """Return each cell's mean over its group, (n,)."""
    _, member, size = np.unique(group, return_inverse=True, return_counts=True)
    mean: Floats = (np.bincount(member, value) / size)[member]
    return mean


def by_ensemble(said: TrialScores, measure: Measure) -> Part:
    """Write what the mean of several networks gains over one."""
    count = np.isfinite(np.stack(list(said.logit.values()))).sum(axis=0)
    several = count > 1
    lines, gains = [], {}
    if several.any():
        one, every = (measure.auc(each, several) for each in (said.reference, said.ensemble))
        found = measure({"one": one, "all": every, "gain": _less(every, one)}, several)
        gains["the mean of all trials instead of one"] = found["gain"]
        mean_auc, reference_auc = (format_estimate("auc", found[key]) for key in ("all", "one"))
        lines.append(
            f"The mean of the {_numbers(count[several])} trials run on a fold reaches {mean_auc} on"
            f" {np.count_nonzero(several):,} cells, where the reference alone reaches"
            f" {reference_auc}: {_signed(found['gain'])}."
        )
        lines.append(_by_members(said, several))
    alike = [REFERENCE, *(name for name in SEEDS if name in said.logit)]
    same = said.scored_by(alike)
    if len(alike) > 1 and same.any():
        together = np.mean([said.logit[name] for name in alike], axis=0)
        single = np.mean([roc_auc(said.positive[same], said.logit[n][same]) for n in alike])
        one, every = measure.auc(said.reference, same), measure.auc(together, same)
        pooled = measure({"auc": every, "gain": _less(every, one)}, same)
        gains[f"the mean of {len(alike)} seeds instead of one"] = pooled["gain"]
        correlation = np.corrcoef([said.logit[name][same] for name in alike])
        lines.append(
            f"{len(alike)} seeds of the reference alone: {single:.3f} each on average, their mean"
            f" {format_estimate('auc', pooled['auc'])}; their log odds correlate by"
            f" {correlation[np.triu_indices(len(alike), 1)].mean():.2f}."
        )
    if not lines:
        lines.append("One trial has been run so far, so that nothing can be told.")
    return Part("### Several networks instead of one\n\n" + "\n\n".join(lines), gains)


def _by_members(said: TrialScores, rows: Labels) -> str:
    """Write the AUC of the mean of so many trials, drawn from those run on each fold."""
    chance = np.random.default_rng(SPLIT_SEED)
    folds = np.unique(said.fold[rows])
    held = {
        fold: [
            logit[rows & (said.fold == fold)]
            for logit in said.logit.values()
            if np.isfinite(logit[rows & (said.fold == fold)]).all()
        ]
        for fold in folds
    }
    positive = np.concatenate([said.positive[rows & (said.fold == fold)] for fold in folds])
    told = []
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
        told.append(f"{size}: {np.mean(found):.3f}")
    return f"AUC of the mean of so many of them, drawn at random: {', '.join(told)}."


def of_labels(
    said: TrialScores, nucleus: Floats, contrast: Floats, measure: Measure
) -> tuple[Part, NDArray[np.intp]]:
    """Write what speaks for wrong labels.

    Args:
        said: by the trials.
        nucleus: (n,) log odds by boosting on the nucleus image, out of fold.
        contrast: (n,) as of `Traits`.
        measure: of the same cells.

    Returns:
        The text; the cells that every trial surely calls against their label, as indices of `said`,
        the surest first.
    """
    against = np.where(said.positive, -1, 1) * np.stack(list(said.logit.values()))
    least = np.nanmin(against, axis=0)
    count = np.isfinite(against).sum(axis=0)
    wrong = least > _CERTAIN
    order = np.flatnonzero(wrong)[np.argsort(-least[wrong], kind="stable")]
    with_label = (nucleus > 0) == said.positive
    share = measure(
        {
            "wrong": lambda weight: weight @ wrong / weight.sum(axis=1),
            "agrees": lambda weight: weight @ (wrong & with_label) / np.maximum(weight @ wrong, 1),
            "all": lambda weight: weight @ with_label / weight.sum(axis=1),
        }
    )
    auc = roc_auc(said.positive, said.reference)
    of_all, of_wrong = share["all"].value, share["agrees"].value
    mistaken = share["wrong"].value * float(np.clip((of_all - of_wrong) / (2 * of_all - 1), 0, 1))
    needed = 1 - (auc - 0.5) / (AIM - 0.5)
    surest = np.argsort(-np.nanmean(against, axis=0), kind="stable")
    rows = []
    for noise in _NOISE_SHARES:
        label = said.positive.copy()
        flipped = surest[: round(noise * len(label))]
        label[flipped] = ~label[flipped]
        rows.append(
            [
                f"{noise:.0%}",
                f"{_without_noise(auc, noise):.3f}",
                f"{roc_auc(label, said.reference):.3f}",
            ]
        )
    groups, size = np.unique(said.group[wrong], return_counts=True)
    faint = contrast < np.quantile(contrast, 1 / _PARTS)
    missed = wrong & said.positive
    reach = (
        f"Wrong labels at random in {needed / 2:.1%} of each class would by themselves explain what"
        f" is missing to {AIM:.2f}."
        if needed > 0
        else f"The reference is not below {AIM:.2f} on these cells."
    )
    head = ["Wrong labels", "AUC without them, if they are random", "if they are the worst cells"]
    text = f"""\
### Wrong labels

The labels are of acquisitions: a culture of one cell line each, so that no cell was labelled by
itself. All of the {_numbers(count)} trials call {_percent(share["wrong"])} of the cells wrongly
with a probability of at least 0.8 ({wrong.sum():,} cells of {len(groups)} acquisitions, at most
{size.max(initial=0)} of one). Of the {missed.sum():,} tumour cells among them
{np.count_nonzero(missed & faint):,} are in the third of least contrast, where
{said.positive[faint].mean():.0%} of the cells are tumour and elsewhere
{said.positive[~faint].mean():.0%}: what cannot be seen counts as benign.

A boosting on the texture of the *nucleus* image of these cells, which most networks do not see,
sides with the label of {_percent(share["agrees"])} of them, and of {_percent(share["all"])} of all
cells. If the two images erred independently, it would side with right labels as often as with all,
and with wrong ones as seldom as it errs: then {mistaken:.1%} of all cells were surely labelled
wrongly. As their errors go together, it is less.

{reach}

{markdown_table(head, rows)}

The last column asks the scores themselves which labels to doubt: no AUC that anything could reach,
but a bound."""
    gain = _without_noise(auc, mistaken) - auc
    gains = {"labels that are surely wrong put right (at most)": Estimate(gain, math.nan, math.nan)}
    return Part(text, gains), order


def _without_noise(auc: float, share: float) -> float:
    """AUC by right labels, where a share of each class was labelled wrongly at random."""
    return 0.5 + (auc - 0.5) / (1 - 2 * share)


@dataclass(frozen=True, slots=True)
class Boosted:
    """What gradient boosting on texture makes of the same folds.

    Attributes:
        bright: (n,) out-of-fold log odds by bright field, cells of `Said`.
        nucleus: (n,) by the nucleus image.
        both: (n,) by both.
        at: by share of the acquisitions trained on, a list of draws, (n,) each.
    """

    bright: Floats
    nucleus: Floats
    both: Floats
    at: dict[float, list[Floats]]


def boost(cells: Cells, said: TrialScores, spec: InputSpec) -> Boosted:
    """Fit the boosting for every fold of `said`, on all and on shares of the acquisitions."""
    seen = {"bright": cells, "nucleus": replace(cells, bright=cells.nucleus)}
    with progress("Describe", 2 * len(cells)) as advance:
        views = {name: training_table(one, TRAINING, spec, advance) for name, one in seen.items()}
    together = np.hstack([view.features for view in views.values()])
    views["both"] = replace(views["bright"], features=together)
    fold_of = split.assign_folds(cells, FOLDS, SPLIT_SEED) + 1
    draws = list(itertools.product(_TRAINING_SHARES, range(_DRAWS)))
    folds = np.unique(said.fold)
    answer = {name: np.empty(len(said.rows)) for name in views}
    at = {draw: np.empty(len(said.rows)) for draw in draws}
    with progress("Boost", len(folds) * (len(views) + len(draws))) as advance:
        for fold in folds:
            test, training = said.fold == fold, fold_of != fold
            rows = said.rows[test]
            for name, view in views.items():
                answer[name][test] = _boosted(view, training, rows)
                advance()
            for share, draw in draws:
                part = training & _some_groups(cells, training, share, draw)
                at[share, draw][test] = _boosted(views["bright"], part, rows)
                advance()
    return Boosted(
        **answer, at={s: [at[s, draw] for draw in range(_DRAWS)] for s in _TRAINING_SHARES}
    )


def _boosted(view: TrainingTable, training: Labels, rows: NDArray[np.intp]) -> Floats:
    return baseline_scores(view.select(training), view.select(rows), SPLIT_SEED)["texture"]


def _some_groups(cells: Cells, rows: Labels, share: float, draw: int) -> Labels:
    """Draw a share of the groups of each class."""
    chance = np.random.default_rng((SPLIT_SEED, draw, round(1 / share)))
    drawn = []
    for kind in (True, False):
        names = np.unique(cells.group[rows & (cells.positive == kind)])
        drawn.append(chance.permutation(names)[: max(1, round(share * len(names)))])
    return np.isin(cells.group, np.concatenate(drawn))


def of_training(made: Boosted, measure: Measure) -> Part:
    """Write what more acquisitions and the nucleus image would give the boosting."""
    bright, nucleus, both = (measure.auc(one) for one in (made.bright, made.nucleus, made.both))
    parts = {f"{share}": _mean([measure.auc(one) for one in made.at[share]]) for share in made.at}
    found = measure(
        {
            **parts,
            "bright": bright,
            "nucleus": nucleus,
            "both": both,
            "doubling": _less(bright, parts[f"{_TRAINING_SHARES[-1]}"]),
            "adding": _less(both, bright),
        }
    )
    rows = [
        *([f"{share:.1%}", format_estimate("auc", found[f"{share}"])] for share in made.at),
        ["all", format_estimate("auc", found["bright"])],
    ]
    text = f"""\
### More acquisitions, more channels

Gradient boosting on texture, which is fast enough to fit on shares of the acquisitions ({_DRAWS}
draws each), on the same folds:

{markdown_table(["Acquisitions trained on", "AUC, bright field"], rows)}

The last doubling of the acquisitions brought {_signed(found["doubling"])}. The same boosting on
the nucleus image reaches {format_estimate("auc", found["nucleus"])}, on both images
{format_estimate("auc", found["both"])}. The labels therefore allow at least that AUC: what is
missing below it, these features do not find in bright field."""
    return Part(
        text,
        {
            "twice the acquisitions, as the last doubling did (boosting)": found["doubling"],
            "the nucleus image at test (boosting)": found["adding"],
        },
    )


def section(said: TrialScores, traits: Traits, made: Boosted) -> tuple[str, NDArray[np.intp]]:
    """Write the section; also return which cells to show, as indices of `said`."""
    measure = Measure(said)
    labels, doubted = of_labels(said, made.nucleus, traits.contrast, measure)
    parts = [
        by_traits(said, traits, measure),
        by_acquisition(said, measure),
        labels,
        by_ensemble(said, measure),
        of_training(made, measure),
    ]
    gains = {what: gain for part in parts for what, gain in part.gains.items()}
    order = sorted(gains, key=lambda what: -gains[what].value)
    rows = [[what[0].upper() + what[1:], _signed(gains[what])] for what in order]
    found = measure({"auc": measure.auc(said.reference)})["auc"]
    head = f"""\
{stamp("python -m train.research.error_analysis")}

Of {len(said.rows):,} cells of {len(np.unique(said.group))} acquisitions in
{len(np.unique(said.fold))} of {FOLDS} folds. The reference, fitted for a few epochs, reaches an AUC
of {format_estimate("auc", found)} on them; the parts below ask where it errs. Intervals are over
acquisitions.

{markdown_table(["What would be gained by", "AUC"], rows)}"""
    return "\n\n".join([head, *(part.text for part in parts)]), doubted


def contact_sheet(rows: Sequence[Row], captions: Sequence[str]) -> NDArray[np.uint8]:
    """Draw bright field and nucleus side by side, each with its contrast stretched by itself."""
    tiles = []
    for row, caption in zip(rows, captions, strict=True):
        pair = np.hstack([_stretched(row, channel) for channel in (BRIGHT_FIELD, NUCLEUS)])
        strip = np.zeros((14, pair.shape[1]), np.uint8)
        cv2.putText(strip, caption, (2, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.36, 255, 1, cv2.LINE_AA)
        tiles.append(np.pad(np.vstack([strip, pair]), 2))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % _ACROSS)
    lines = [np.hstack(tiles[start : start + _ACROSS]) for start in range(0, len(tiles), _ACROSS)]
    return np.vstack(lines)


def _stretched(row: Row, channel: str) -> NDArray[np.uint8]:
    pixels = decode(row.images[channel].read_bytes()).pixels.astype(np.float32)
    low, high = np.percentile(pixels, (0.5, 99.5))
    grey = np.clip((pixels - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
    tile: NDArray[np.uint8] = cv2.resize(grey, (_TILE, _TILE), interpolation=cv2.INTER_AREA)
    return tile


def _less(one: Figure, other: Figure) -> Figure:
    return lambda weight: one(weight) - other(weight)


def _mean(figures: Sequence[Figure]) -> Figure:
    return lambda weight: np.mean([figure(weight) for figure in figures], axis=0)


def _signed(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return f"{estimate.value:+.3f}"
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def _numbers(count: NDArray[np.intp]) -> str:
    low, high = count.min(), count.max()
    return f"{low}" if low == high else f"{low} to {high}"


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def main(
    manifest: Annotated[Path, typer.Argument(help="Of the benchmark's cells.")],
    out: Annotated[Path, typer.Option(help="Folder for the picture of the doubted cells.")],
    runs: Annotated[
        Path, typer.Option(help="Parent of the runs of `train.research.results`.")
    ] = Path("runs/results"),
    write: Annotated[Path, typer.Option(help="The document.")] = Path("train/RESULTS.md"),
) -> None:
    """Write why the AUC stays below 0.90 into the document, from the trials run so far.

    Example: `python -m train.research.error_analysis breast.csv --out runs/ceiling`
    """
    with exit_on(ValueError):
        rows = choose(read_manifests([manifest]))
        if any(NUCLEUS not in row.images for row in rows):
            raise ManifestError("every cell needs a DAPI image, which tells where the cell lies")
        spec = TRIALS[0].input()
        with progress("Read", len(rows)) as advance:
            cells = read_cells(rows, spec, advance)
        said = read_trial_scores(cells, runs)
    chosen = [rows[index] for index in said.rows]
    traits = _traits(chosen)
    text, doubted = section(said, traits, boost(cells, said, spec))
    out.mkdir(parents=True, exist_ok=True)
    if doubted.size:
        shown_cells = doubted[:_MOST]
        sheet = contact_sheet(
            [chosen[index] for index in shown_cells],
            [
                f"{row.sample_id} {row.cell} {row.stratum} {log_odds_of_mean:+.1f}"
                for row, log_odds_of_mean in (
                    (chosen[index], said.ensemble[index]) for index in shown_cells
                )
            ],
        )
        atomic_write(out / SHEET_NAME, cv2.imencode(".png", sheet)[1].tobytes())
    put_sections(write, {CEILING: text}, ORDER)
    typer.echo(f"{write} written")


def _traits(rows: Sequence[Row]) -> Traits:
    found = []
    with progress("Measure", len(rows)) as advance:
        for row in rows:
            images = [row.images[channel].read_bytes() for channel in (BRIGHT_FIELD, NUCLEUS)]
            found.append(traits_of(*(decode(data).pixels for data in images)))
            advance()
    return Traits(*np.array(found).T)


if __name__ == "__main__":
    typer.run(main)
