"""Sides that share no group: cells of one patient or sample are far too alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..metrics.calibration import MIN_CELLS
from .dataset import Cells


class LeakageError(ValueError):
    """One group stands on both sides of a split."""


def check_no_leakage(one: Cells, other: Cells) -> None:
    """Check that two sides share neither a group nor an image.

    Raises:
        LeakError: naming a group, or a cell, that stands on both.
    """
    shared = np.intersect1d(one.group, other.group)
    if shared.size:
        raise LeakageError(
            f"'{shared[0]}' stands on both sides; whole patients or samples must be held out"
        )
    same = np.flatnonzero(np.isin(one.digest, other.digest))
    if same.size:
        first = same[0]
        twin = np.flatnonzero(other.digest == one.digest[first])[0]
        raise LeakageError(
            f"cell {one.cell[first]} of sample {one.sample[first]} and cell {other.cell[twin]} of"
            f" sample {other.sample[twin]} are the same image, and would stand on both sides;"
            " remove one of their rows"
        )


def assign_folds(cells: Cells, count: int, seed: int) -> NDArray[np.intp]:
    """Deal whole groups to `count` folds, alike in CTCs and in others.

    The groups are dealt in a random order, the largest first, each to the fold that most lacks
    cells of its kind.

    Returns:
        (n,) fold of each cell, 0 to count - 1.

    Raises:
        ValueError: the cells are of one class, there are fewer groups than folds, or a fold would
            be of one class only.
    """
    names, member, tally = _groups(cells)
    _require_both_classes(cells)
    if len(names) < count:
        raise ValueError(
            f"{len(names)} patients or samples cannot fill {count} parts; label more of them"
        )
    share = tally / np.maximum(1, tally.sum(axis=0))
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(-share[shuffled].max(axis=1), kind="stable")]
    filled, fold_of = np.zeros((count, 2)), np.empty(len(names), dtype=np.intp)
    for group in order:
        spread = [
            np.var(
                np.where(np.arange(count)[:, None] == fold, filled + share[group], filled), 0
            ).sum()
            for fold in range(count)
        ]
        fold_of[group] = int(np.argmin(spread))
        filled[fold_of[group]] += share[group]
    if (filled == 0).any():
        raise ValueError(
            f"{len(names)} patients or samples cannot fill {count} parts with CTCs and others"
            " each; label more of them"
        )
    return fold_of[member]


def hold_out(cells: Cells, share: float, seed: int) -> NDArray[np.bool_]:
    """Choose whole groups that make up about a share of the CTCs and of the others.

    First the group whose CTCs, then the one whose others come nearest to the share; then, in a
    random order, every group that brings both nearer to it. Where that leaves too few of a class to
    calibrate on, more groups follow, as long as at least as many cells remain.

    Returns:
        (n,) bool, true for the cells of the chosen groups.

    Raises:
        ValueError: there is one group, or the chosen or the remaining ones would be of one class
            only.
    """
    names, member, tally = _groups(cells)
    _require_both_classes(cells)
    if len(names) == 1:
        raise ValueError(
            f"all cells are of one patient or sample, '{names[0]}', and only whole ones are held"
            " out; label more of them, or give --validation"
        )
    part = tally / np.maximum(1, tally.sum(axis=0))

    def distance(chosen: NDArray[np.bool_]) -> float:
        return float(((part[chosen].sum(axis=0) - share) ** 2).sum())

    chosen = np.zeros(len(names), dtype=bool)
    order = np.random.default_rng(seed).permutation(len(names))
    for kind in (1, 0):
        if not tally[chosen, kind].any():
            having = order[tally[order, kind] > 0]
            if having.size:
                chosen[having[np.argmin(np.abs(part[having, kind] - share))]] = True
    for group in order:
        with_it = chosen.copy()
        with_it[group] = True
        if distance(with_it) < distance(chosen):
            chosen = with_it
    for kind in (1, 0):
        for group in order[tally[order, kind] > 0]:
            held, left = tally[chosen, kind].sum(), tally[~chosen, kind].sum()
            more = tally[group, kind]
            if held < MIN_CELLS and not chosen[group] and left - more >= held + more:
                chosen[group] = True
    if not (tally[chosen].any(axis=0) & tally[~chosen].any(axis=0)).all():
        raise ValueError(
            f"{len(names)} patients or samples cannot be split so that training and validation"
            " have CTCs and others each; label more of them, or give --validation"
        )
    return chosen[member]


def one_class_problem(cells: Cells, which: str) -> str:
    """Say that cells, called so, are of one class only; empty where they are not."""
    positives = int(cells.positive.sum())
    if positives not in (0, len(cells)):
        return ""
    return (
        f"the {which} cells are of one class only ({positives:,} CTCs of {len(cells):,} cells);"
        " CTCs and others are needed"
    )


def _require_both_classes(cells: Cells) -> None:
    if problem := one_class_problem(cells, "labelled"):
        raise ValueError(problem)


def _groups(
    cells: Cells,
) -> tuple[NDArray[np.str_], NDArray[np.intp], NDArray[np.float64]]:
    """Return the groups' names, the group of each cell, and each group's others and CTCs."""
    names, member = np.unique(cells.group, return_inverse=True)
    tally = np.zeros((len(names), 2))
    np.add.at(tally, (member, cells.positive.astype(np.intp)), 1)
    return names, member, tally
