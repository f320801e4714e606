"""Sides share no group and no image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from train.data.splits import LeakageError, assign_folds, check_no_leakage, hold_out


def grouped(cells, sizes, positive):
    """Cells of the first hospital, over and over, in groups of these sizes and classes."""
    names = np.repeat([f"g{number:03}" for number in range(len(sizes))], sizes)
    rows = cells.select(np.arange(len(names)) % len(cells))
    return replace(rows, group=names, positive=np.repeat(positive, sizes))


@pytest.fixture
def samples(hospitals):
    """Forty samples of each class, as lines of cells come, of 2 to 11 cells."""
    sizes = 2 + np.arange(80) % 10
    return grouped(hospitals, sizes, np.arange(80) % 2 == 0)


def test_a_shared_group_is_a_leak(hospitals):
    even = np.arange(len(hospitals)) % 2 == 0
    with pytest.raises(LeakageError, match="'h00' is in two splits"):
        check_no_leakage(hospitals.select(even), hospitals.select(~even))


def test_a_shared_image_is_a_leak_whatever_its_name(hospitals):
    first = hospitals.group == "h00"
    copy = hospitals.select(first)
    copy = replace(copy, group=np.full(len(copy), "elsewhere"), cell=np.full(len(copy), "1"))
    check_no_leakage(hospitals.select(first), hospitals.select(~first))
    with pytest.raises(
        LeakageError, match=r"cell .* of sample .* and cell 1 of .* are the same image"
    ):
        check_no_leakage(hospitals, copy)


def test_folds_are_whole_groups_alike_in_both_classes(samples):
    fold = assign_folds(samples, 5, seed=1)
    for name in np.unique(samples.group):
        assert len(np.unique(fold[samples.group == name])) == 1
    for kind in (samples.positive, ~samples.positive):
        counts = np.bincount(fold[kind], minlength=5)
        assert counts.max() - counts.min() <= 6
    assert not np.array_equal(fold, assign_folds(samples, 5, seed=2))


def test_held_out_is_a_share_of_both_classes_in_whole_groups(samples):
    held = hold_out(samples, 0.1, seed=1)
    assert not set(samples.group[held]) & set(samples.group[~held])
    for kind in (samples.positive, ~samples.positive):
        assert held[kind].mean() == pytest.approx(0.1, abs=0.03)
    assert not np.array_equal(held, hold_out(samples, 0.1, seed=2))


def test_rare_ctcs_are_on_both_sides(hospitals):
    """Three of twelve samples hold a CTC each, among 100 cells."""
    cells = grouped(hospitals, np.full(12, 100), np.zeros(12, dtype=bool))
    positive = cells.positive.copy()
    positive[[0, 100, 200]] = True
    cells = replace(cells, positive=positive)
    held = hold_out(cells, 0.1, seed=1)
    assert positive[held].sum() == 1
    assert 0.05 < held.mean() < 0.2


def test_enough_is_held_out_to_calibrate_on(hospitals):
    """A tenth of twelve samples with three CTCs each would hold three or four."""
    cells = grouped(hospitals, np.full(12, 30), np.zeros(12, dtype=bool))
    cells = replace(cells, positive=np.arange(len(cells)) % 10 == 0)
    held = hold_out(cells, 0.1, seed=1)
    assert cells.positive[held].sum() == 12
    few = replace(cells, positive=np.arange(len(cells)) % 30 == 0)
    # As many remain to train on.
    assert few.positive[hold_out(few, 0.1, seed=1)].sum() == 6


def test_too_few_groups_are_refused(hospitals):
    cells = grouped(hospitals, [32, 32], np.array([True, False]))
    with pytest.raises(ValueError, match="cannot be split"):
        hold_out(cells, 0.1, seed=1)
    with pytest.raises(ValueError, match="cannot fill 2 folds"):
        assign_folds(cells, 2, seed=1)
    one = replace(hospitals, group=np.full(len(hospitals), "h00"))
    with pytest.raises(ValueError, match="all cells are of one patient or sample, 'h00'"):
        hold_out(one, 0.1, seed=1)


@pytest.mark.parametrize("positive", [False, True])
def test_one_class_is_called_that(hospitals, positive):
    cells = replace(hospitals, positive=np.full(len(hospitals), positive))
    for split in (lambda: hold_out(cells, 0.1, seed=1), lambda: assign_folds(cells, 2, seed=1)):
        with pytest.raises(ValueError, match=rf"one class only \({64 * positive} CTCs of 64"):
            split()
