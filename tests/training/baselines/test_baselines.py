"""The baselines are really fitted, and what they are fitted on names nobody."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from ctcedge.images.preprocess import InputSpec
from tests.helpers import real_data
from train.baselines.baselines import (
    TrainingTable,
    TrainingTableError,
    baseline_scores,
    read_table,
    training_table,
)
from train.baselines.texture import COUNT
from train.data.dataset import cells_from_simulation, name_digest, read_cells
from train.data.manifest import Row
from train.data.splits import assign_folds
from train.metrics.roc import roc_auc
from train.simulate import simulate_cells

INPUT = InputSpec(64, 0.5, 0.1, 0.5, (90.0, 99.0), 0.01, 48.0)
BREAST = real_data.DATA / "breast"


@pytest.fixture(scope="module")
def cells():
    made = simulate_cells(hospitals=4, samples=1, cells=40, seed=3, channels=("BF",))
    return cells_from_simulation(made, INPUT)


@pytest.fixture(scope="module")
def table(cells):
    return training_table(cells, "training", INPUT)


def test_a_table_comes_back_as_it_was_saved(table, tmp_path):
    mixed = replace(table, split=np.where(table.positive, "training", "validation"))
    mixed.save(tmp_path / "training.npz")
    again = read_table((tmp_path / "training.npz").read_bytes())
    for name in table.__slots__:
        assert (getattr(again, name) == getattr(mixed, name)).all()


def test_a_table_names_nobody(cells, table, tmp_path):
    table.save(tmp_path / "training.npz")
    with np.load(tmp_path / "training.npz", allow_pickle=False) as file:
        text = b" ".join(file[name].tobytes() for name in file.files)
        assert file["digest"].dtype == np.dtype("S16")
    for name in {*cells.group.tolist(), *cells.sample.tolist()}:
        assert name.encode() not in text
    assert set(table.sample_digest) == {name_digest(name) for name in cells.group}


def test_training_cells_beyond_a_number_are_listed_but_not_shown(cells, table):
    side = np.where(cells.group == cells.group[0], "test", "training")
    capped = replace(table, split=side).limited(30, seed=1)
    assert (capped.digest == table.digest).all()
    assert np.count_nonzero(capped.described.split == "training") == 30
    assert capped.described.select(capped.described.split == "training").positive.sum() == 15
    assert (capped.described.split == "test").sum() == (side == "test").sum()
    assert len(set(capped.described.sample_digest)) == 4
    rows = np.isin(table.digest, capped.described.digest)
    np.testing.assert_array_equal(capped.described.features, table.features[rows])
    np.testing.assert_array_equal(capped.described.diameter, table.diameter[rows])
    test = table.select(side == "test")
    training = capped.select(side == "training")
    scores = baseline_scores(training, test, seed=1)
    for name, expected in baseline_scores(training.described, test, seed=1).items():
        np.testing.assert_array_equal(scores[name], expected)


def test_a_table_that_shows_one_class_is_refused(table):
    message = "features of one class only; export the model again"
    with pytest.raises(TrainingTableError, match=message):
        baseline_scores(table.select(~table.positive), table, seed=1)


@pytest.mark.parametrize("data", [b"", b"PK no archive", b"\x93NUMPY"])
def test_what_is_no_table_is_refused(data):
    with pytest.raises(TrainingTableError, match="export the model again"):
        read_table(data)


def test_a_table_of_other_features_is_refused(table):
    buffer = io.BytesIO()
    replace(table, features=table.features[:, :-1]).save(buffer)
    with pytest.raises(TrainingTableError, match="other features"):
        read_table(buffer.getvalue())


@pytest.mark.parametrize("name", ["size", "texture"])
def test_labels_are_what_is_learnt(name):
    """Of cells whose size and texture differ by class; permuted labels must teach nothing."""
    chance = np.random.default_rng(4)
    positive = np.arange(400) % 4 == 0
    told = TrainingTable(
        digest=np.arange(400).astype(str),
        split=np.full(400, "training"),
        positive=positive,
        sample_digest=np.full(400, "s"),
        features=chance.normal(positive[:, None], 2, (400, COUNT)).astype(np.float32),
        diameter=(20 + 6 * positive + chance.normal(0, 4, 400)).astype(np.float32),
    )

    def auc(table):
        training, test = table.select(np.arange(200)), table.select(np.arange(200, 400))
        return roc_auc(test.positive, baseline_scores(training, test, seed=1)[name])

    assert auc(told) > 0.75
    permuted = [auc(replace(told, positive=chance.permutation(positive))) for _ in range(3)]
    assert np.mean(permuted) == pytest.approx(0.5, abs=0.1)


def test_the_features_tell_sharp_cells_from_blurred_ones(table, cells):
    """A texture that no label says: whether the cell's hospital is the first."""
    first = cells.group == np.unique(cells.group)[0]
    asked = replace(table, positive=first)
    every_other = np.arange(len(cells)) % 2 == 0
    scores = baseline_scores(asked.select(every_other), asked.select(~every_other), seed=1)
    assert roc_auc(first[~every_other], scores["texture"]) > 0.9


@pytest.mark.skipif(not BREAST.is_dir(), reason="the breast images are not here")
def test_texture_sees_what_size_does_not_on_real_cells():
    with (BREAST / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            Row(
                sample=record["sample"],
                cell=record["cell"],
                label="CTC" if record["label"] == "tumour" else "other",
                stratum=record["label"],
                source="labels.csv",
                um_per_px=None,
                images={"BF": BREAST / record["sample"] / f"{record['cell']}_BF.png"},
            )
            for record in csv.DictReader(file)
        ]
    spec = structs.replace(INPUT, um_per_px=None, crop_px=1.5)
    cells = read_cells(rows[::5], spec, lambda: None)
    table = training_table(cells, "training", spec)
    test = assign_folds(cells, 4, seed=1) == 0
    scores = baseline_scores(table.select(~test), table.select(test), seed=1)
    assert roc_auc(cells.positive[test], scores["texture"]) > 0.7
    assert roc_auc(cells.positive[test], scores["size"]) < 0.65
