"""Run folders: written whole, read back the same, never overwritten by another run."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from msgspec import structs

from ctcedge.fs.files import atomic_write
from train.data.dataset import Cells
from train.fit.augment import Augmentation
from train.fit.folder import CELLS_NAME, WEIGHTS_NAME, RunError
from train.fit.presets import PRESETS
from train.fit.run import FitSettings, Run, open_runs

SETTINGS = FitSettings(network="resnet10", width=0.0625, augmentation=Augmentation(noise=False))
INPUT = PRESETS["tiny"].input


@pytest.fixture
def run(hospitals, tmp_path):
    side = np.where(hospitals.group == "h00", "validation", "training")
    return Run(tmp_path / "run", SETTINGS, INPUT, hospitals, side, "abc")


def test_a_saved_run_is_read_back(run):
    run.save()
    (opened,) = open_runs(run.folder)
    for item in fields(Cells):
        held, given = getattr(opened.cells, item.name), getattr(run.cells, item.name)
        assert np.array_equal(held, given)
        assert held.dtype == given.dtype
    assert np.array_equal(opened.split, run.split)
    assert (opened.settings, opened.input, opened.init) == (SETTINGS, INPUT, "abc")
    assert set(opened.subset("validation").group) == {"h00"}
    assert len(opened.subset("test")) == 0


def test_an_input_without_um_per_px_is_read_back(run):
    unknown = structs.replace(INPUT, um_per_px=None, crop_px=1.5)
    replace(run, input=unknown).save()
    assert open_runs(run.folder)[0].input == unknown


def test_folds_are_opened_in_order(run, tmp_path):
    for number in (10, 2, 1):
        replace(run, folder=tmp_path / "folds" / f"fold-{number}").save()
    names = [each.folder.name for each in open_runs(tmp_path / "folds")]
    assert names == ["fold-1", "fold-2", "fold-10"]


def test_an_unfinished_run_has_no_network(run):
    run.save()
    assert not run.finished
    with pytest.raises(RunError, match="is not finished"):
        run.network()


def test_a_finished_run_gives_its_network(run):
    run.save()
    torch.save(SETTINGS.classifier().state_dict(), run.folder / WEIGHTS_NAME)
    network = open_runs(run.folder)[0].network()
    assert not network.training
    assert network.views == SETTINGS.views


def test_the_same_run_is_left_as_it_is(run):
    run.save()
    before = (run.folder / CELLS_NAME).stat().st_mtime_ns
    run.save()
    assert (run.folder / CELLS_NAME).stat().st_mtime_ns == before


def test_another_run_is_refused(run, hospitals):
    run.save()
    others = {
        r"epochs \d+ instead of 5;": replace(run, settings=replace(SETTINGS, epochs=5)),
        f"gain {INPUT.gain} instead of 20": replace(run, input=structs.replace(INPUT, gain=20.0)),
        "other cells": replace(run, cells=replace(hospitals, positive=~hospitals.positive)),
        "labels or splits": replace(run, split=run.split[::-1]),
        "other initial weights": replace(run, init=""),
    }
    for text, other in others.items():
        with pytest.raises(RunError, match=text):
            other.save()


def test_a_folder_of_something_else_is_refused(run):
    run.folder.mkdir()
    (run.folder / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="contains something other than a run"):
        run.save()


@pytest.mark.parametrize("left", [[CELLS_NAME], [f".{CELLS_NAME}.tmp"], [f".ctcedge-{7:032x}.tmp"]])
def test_a_run_that_was_cut_off_while_it_was_written_is_written_anew(run, left):
    run.folder.mkdir()
    for name in left:
        (run.folder / name).write_text("half")
    run.save()
    assert len(open_runs(run.folder)[0].cells) == len(run.cells)


@pytest.mark.parametrize("name", ["run.json", CELLS_NAME])
def test_a_damaged_run_is_named(run, name):
    run.save()
    (run.folder / name).write_text("{")
    with pytest.raises(RunError, match=str(run.folder)):
        open_runs(run.folder)


def test_no_run_is_named(tmp_path):
    with pytest.raises(RunError, match="contains no run"):
        open_runs(tmp_path)


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "held"
    path.write_bytes(b"old")
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="unknown network 'vgg'"):
        FitSettings(network="vgg")
    with pytest.raises(ValueError, match="unknown use of DAPI 'all'"):
        FitSettings(dapi="all")
    with pytest.raises(ValueError, match="at least 1 epoch"):
        FitSettings(epochs=0)
