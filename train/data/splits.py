"""Splits by whole groups, as cells of one patient or sample are too similar to be separated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..metrics.calibration import MIN_CELLS
from .dataset import Cells


class LeakageError(ValueError):
    """A group or an image appears in two splits (leakage)."""


def check_no_leakage(first: Cells, second: Cells) -> None:
    """Check that no group and no image is in two splits.

    Raises:
        LeakageError: naming a group or a cell that is in both.
    """
    shared = np.intersect1d(first.group, second.group)
    if shared.size:
        raise LeakageError(
            f"'{shared[0]}' is in two splits; whole patients or samples must be held out"
        )
    same = np.flatnonzero(np.isin(first.digest, second.digest))
    if same.size:
        row = same[0]
        twin = np.flatnonzero(second.digest == first.digest[row])[0]
        raise LeakageError(
            f"cell {first.cell[row]} of sample {first.sample[row]} and cell {second.cell[twin]} of"
            f" sample {second.sample[twin]} are the same image, and would be in two splits;"
            " remove one of their rows"
        )


def assign_folds(cells: Cells, count: int, seed: int) -> NDArray[np.intp]:
    """Assign whole groups to `count` folds with similar numbers of CTCs and of negatives.

    Greedy stratified group assignment: in random order, the largest groups first, each group goes
    to the fold where it most reduces the imbalance.

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
            f"{len(names)} patients or samples cannot fill {count} folds; label more of them"
        )
    fraction = tally / np.maximum(1, tally.sum(axis=0))
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(-fraction[shuffled].max(axis=1), kind="stable")]
    filled, fold_of = np.zeros((count, 2)), np.empty(len(names), dtype=np.intp)
    for group in order:
        imbalance = [
            np.var(
                np.where(np.arange(count)[:, None] == fold, filled + fraction[group], filled), 0
            ).sum()
            for fold in range(count)
        ]
        fold_of[group] = int(np.argmin(imbalance))
        filled[fold_of[group]] += fraction[group]
    if (filled == 0).any():
        raise ValueError(
            f"{len(names)} patients or samples cannot fill {count} folds with CTCs and"
            " negatives each; label more of them"
        )
    return fold_of[member]


def hold_out(cells: Cells, target: float, seed: int) -> NDArray[np.bool_]:
    """Choose whole groups that make up about a fraction of the CTCs and of the negatives.

    First the group whose CTCs, then the group whose negatives are nearest to the target; then, in
    random order, every group that brings both nearer to it. Where that gives too few cells of a
    class for calibration, more groups are added, while at least as many cells remain.

    Args:
        cells: all.
        target: fraction to hold out.
        seed: of the order.

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
        return float(((part[chosen].sum(axis=0) - target) ** 2).sum())

    chosen = np.zeros(len(names), dtype=bool)
    order = np.random.default_rng(seed).permutation(len(names))
    for kind in (1, 0):
        if not tally[chosen, kind].any():
            having = order[tally[order, kind] > 0]
            if having.size:
                chosen[having[np.argmin(np.abs(part[having, kind] - target))]] = True
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
            " have CTCs and negatives each; label more of them, or give --validation"
        )
    return chosen[member]


def one_class_problem(cells: Cells, which: str) -> str:
    """Return a text if cells, named by `which`, are of one class only; else empty."""
    positives = int(cells.positive.sum())
    if positives not in (0, len(cells)):
        return ""
    return (
        f"the {which} cells are of one class only ({positives:,} CTCs of {len(cells):,} cells);"
        " CTCs and negatives are needed"
    )


def _require_both_classes(cells: Cells) -> None:
    if problem := one_class_problem(cells, "labelled"):
        raise ValueError(problem)


def _groups(
    cells: Cells,
) -> tuple[NDArray[np.str_], NDArray[np.intp], NDArray[np.float64]]:
    """Return the groups' names, the group of each cell, and negatives and CTCs of each group."""
    names, member = np.unique(cells.group, return_inverse=True)
    tally = np.zeros((len(names), 2))
    np.add.at(tally, (member, cells.positive.astype(np.intp)), 1)
    return names, member, tally
