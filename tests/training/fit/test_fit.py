"""The loop: deterministic, resumable, honest about its data, watched on bright field alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from train.cli import app
from train.data.dataset import CHANNELS, name_digests
from train.data.manifest import Row, read_manifests, write_manifest
from train.data.splits import LeakageError
from train.fit.batches import oversampled_rows
from train.fit.fit import assign_splits, fit, fit_folds
from train.fit.folder import LOG_NAME, WEIGHTS_NAME, RunError
from train.fit.loop import CHECKPOINT_NAME, Interrupted
from train.fit.networks import predict
from train.fit.presets import PRESETS
from train.fit.pretrained import InitialWeights, InitialWeightsError
from train.fit.run import FitSettings, Run, open_runs
from train.fit.trainer import FitError
from train.simulate import simulate_cells

INPUT = PRESETS["tiny"].input
SETTINGS = FitSettings(
    network="resnet10", width=0.0625, views=2, epochs=2, batch_size=16, ema=0.5, bf16=False
)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def side(hospitals):
    return np.where(hospitals.group == "h00", "validation", "training")


def weights(folder):
    return torch.load(folder / WEIGHTS_NAME, weights_only=True)


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_seed_gives_the_same_weights(hospitals, side, tmp_path, bf16):
    settings = replace(SETTINGS, bf16=bf16)
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        fit(hospitals, side, replace(settings, seed=seed), INPUT, tmp_path / name)
    assert same(weights(tmp_path / "first"), weights(tmp_path / "again"))
    assert not same(weights(tmp_path / "first"), weights(tmp_path / "other"))


def test_the_callers_randomness_is_left_alone(hospitals, side, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(hospitals, side, replace(SETTINGS, epochs=1), INPUT, tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_run_folder_holds_the_result(hospitals, side, tmp_path):
    network = fit(hospitals, side, SETTINGS, INPUT, tmp_path / "run")
    (run,) = open_runs(tmp_path / "run")
    logits = predict(network, hospitals.bright, INPUT.gain)
    assert np.array_equal(predict(run.network(), hospitals.bright, INPUT.gain), logits)
    log = json.loads((run.folder / LOG_NAME).read_text(encoding="utf-8"))
    assert [entry["epoch"] for entry in log["epochs"]] == [1, 2]
    assert not (run.folder / CHECKPOINT_NAME).exists()


def test_the_result_is_an_average_of_the_weights(hospitals, side, tmp_path):
    fit(hospitals, side, replace(SETTINGS, ema=0.0), INPUT, tmp_path / "last")
    fit(hospitals, side, replace(SETTINGS, ema=0.9), INPUT, tmp_path / "average")
    last, average = weights(tmp_path / "last"), weights(tmp_path / "average")
    for name in ("body.conv1.weight", "body.bn1.running_mean"):
        assert not torch.equal(last[name], average[name])


def test_fitting_learns(hospitals, side, tmp_path):
    settings = replace(SETTINGS, width=0.125, epochs=12)
    network = fit(hospitals, side, settings, INPUT, tmp_path / "run")
    log = json.loads((tmp_path / "run" / LOG_NAME).read_text(encoding="utf-8"))
    assert log["epochs"][-1]["loss"] < 0.8 * log["epochs"][0]["loss"]
    training = hospitals.select(side == "training")
    logits = predict(network, training.bright, INPUT.gain)
    assert logits[training.positive].mean() > logits[~training.positive].mean() + 0.5


@pytest.mark.parametrize("dapi", ["none", "samples", "auxiliary", "teacher", "dropout"])
def test_interrupted_anywhere_it_ends_with_the_same_weights(hospitals, side, tmp_path, dapi):
    settings = replace(SETTINGS, dapi=dapi)
    fit(hospitals, side, settings, INPUT, tmp_path / "whole")
    calls = 0

    def stop():
        nonlocal calls
        calls += 1
        return calls % 2 == 0

    for _ in range(40):
        try:
            fit(hospitals, side, settings, INPUT, tmp_path / "pieces", should_stop=stop)
            break
        except Interrupted:
            pass
    assert calls > 6
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "pieces"))


def test_without_dapi_a_use_of_it_is_refused(hospitals, side, tmp_path):
    bare = replace(hospitals, has_nucleus=np.zeros(len(hospitals), bool))
    with pytest.raises(FitError, match=r"no training cell has a DAPI image, .*--dapi teacher"):
        fit(bare, side, replace(SETTINGS, dapi="teacher"), INPUT, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_group_on_both_sides_is_refused(hospitals, tmp_path):
    side = np.where(np.arange(len(hospitals)) % 8 == 0, "validation", "training")
    with pytest.raises(LeakageError):
        fit(hospitals, side, SETTINGS, INPUT, tmp_path / "run")


def test_what_the_first_weights_saw_is_not_held_out(hospitals, side, tmp_path):
    fit(hospitals, side, SETTINGS, INPUT, tmp_path / "first")
    initial = InitialWeights.of(tmp_path / "first")
    training = hospitals.select(side == "training")
    assert set(initial.provenance.digest) == set(training.digest)
    assert set(initial.provenance.sample_digest) == set(name_digests(training.group))
    swapped = np.where(side == "training", "validation", "training")
    with pytest.raises(LeakageError, match="the initial weights were trained on cells of"):
        fit(hospitals, swapped, SETTINGS, INPUT, tmp_path / "second", initial=initial)
    with pytest.raises(LeakageError, match="or omit --init"):
        fit_folds(hospitals, 2, SETTINGS, INPUT, tmp_path / "folds", initial=initial)
    fit(hospitals, side, SETTINGS, INPUT, tmp_path / "third", initial=initial)
    others = replace(hospitals, digest=np.char.add("other", hospitals.digest))
    third = InitialWeights.of(tmp_path / "third")
    fit(others, swapped, SETTINGS, INPUT, tmp_path / "fourth", initial=third)
    saw = InitialWeights.of(tmp_path / "fourth").provenance
    assert set(training.digest) < set(saw.digest)
    assert set(initial.provenance.sample_digest) < set(saw.sample_digest)


def test_weights_of_another_network_leave_no_run_behind(hospitals, side, tmp_path):
    fit(hospitals, side, SETTINGS, INPUT, tmp_path / "first")
    initial, wider = InitialWeights.of(tmp_path / "first"), replace(SETTINGS, width=0.125)
    with pytest.raises(InitialWeightsError, match="weights of another network"):
        fit(hospitals, side, wider, INPUT, tmp_path / "second", initial=initial)
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("name", ["training", "validation"])
def test_one_class_is_refused(hospitals, side, tmp_path, name):
    positive = hospitals.positive | (side == name)
    with pytest.raises(FitError, match=f"the {name} cells are of one class only"):
        fit(replace(hospitals, positive=positive), side, SETTINGS, INPUT, tmp_path / "run")


def test_a_loss_that_explodes_is_named(hospitals, side, tmp_path):
    settings = replace(SETTINGS, learning_rate=float("inf"))
    with pytest.raises(FitError, match="loss of epoch 1 is not finite; lower --learning-rate"):
        fit(hospitals, side, settings, INPUT, tmp_path / "run")


def test_rare_ctcs_are_repeated_to_a_tenth():
    positive = np.arange(1000) < 5
    rows = oversampled_rows(positive)
    assert positive[rows].mean() == pytest.approx(0.1, abs=0.002)
    assert set(rows) == set(range(1000))
    assert np.array_equal(oversampled_rows(np.arange(10) < 3), np.arange(10))
    assert (~positive[oversampled_rows(~positive)]).mean() == pytest.approx(0.9, abs=0.002)


def test_folds_test_each_cell_once(hospitals, tmp_path):
    settings = replace(SETTINGS, epochs=1)
    assert len(fit_folds(hospitals, 2, settings, INPUT, tmp_path / "run")) == 2
    runs = open_runs(tmp_path / "run")
    tested = np.sum([run.split == "test" for run in runs], axis=0)
    assert (tested == 1).all()
    for run in runs:
        assert not set(run.subset("test").group) & set(run.subset("training").group)
    with pytest.raises(RunError, match="contains something other than a run"):
        fit(hospitals, assign_splits(hospitals, 1), settings, INPUT, tmp_path / "run")


def test_a_run_is_not_turned_to_folds(hospitals, side, tmp_path):
    fit(hospitals, side, replace(SETTINGS, epochs=1), INPUT, tmp_path / "run")
    with pytest.raises(RunError, match="contains a run without folds"):
        fit_folds(hospitals, 2, SETTINGS, INPUT, tmp_path / "run")


@pytest.fixture(scope="session")
def manifests(tmp_path_factory):
    """Two manifests, of three hospitals and of a fourth."""
    folder = tmp_path_factory.mktemp("cells")
    rows = []
    for cell in simulate_cells(hospitals=4, samples=1, cells=16, seed=2, channels=CHANNELS):
        images = {}
        for channel in CHANNELS:
            images[channel] = folder / f"{cell.hospital}_{cell.cell}_{channel}.png"
            cv2.imwrite(str(images[channel]), cell.images[channel])
        label = "CTC" if cell.label == "CTC" else "other"
        rows.append(
            Row(cell.hospital, cell.cell, label, label, "labels.csv", cell.um_per_px, images)
        )
    write_manifest(folder / "three.csv", [row for row in rows if row.sample != "h03"])
    write_manifest(folder / "fourth.csv", [row for row in rows if row.sample == "h03"])
    return folder


def command(manifests, out, *options):
    return ["fit", str(manifests / "three.csv"), "--out", str(out), "--preset", "tiny", *options]


def train(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_fits_and_says_what_is_next(manifests, tmp_path):
    held = ("--validation", manifests / "fourth.csv", "--without", "noise", "--epochs", "1")
    result = train(*command(manifests, tmp_path / "run"), *held)
    assert result.exit_code == 0
    (fitted,) = open_runs(tmp_path / "run")
    assert set(fitted.subset("validation").group) == {"h03"}
    assert not fitted.settings.augmentation.noise
    assert f"Next: python -m train export {tmp_path / 'run'} --name run\n" in result.stdout
    curve = (tmp_path / "run" / "learning_curve.png").read_bytes()
    assert curve.startswith(b"\x89PNG")
    assert "'export' will refuse this run: the validation split has" in result.stderr
    before = weights(tmp_path / "run")
    again = train(*command(manifests, tmp_path / "run"), *held)
    assert again.exit_code == 0
    assert "finished" in again.stdout
    assert same(weights(tmp_path / "run"), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--network", "vgg"), "unknown network 'vgg'"),
        (("--preset", "fast"), "no preset 'fast'"),
        (("--without", "light"), "no augmentation 'light'"),
        (("--crop-px", "1.5"), "give --um-per-px"),
        (("--init", "nowhere"), "neither a model folder nor a run"),
        (("--folds", "9"), "3 patients or samples cannot fill 9 folds"),
        (("--positive", "CTC"), "give strata"),
        (("--positive", "CTC", "--negative", "clot"), "no cell of stratum 'clot'"),
    ],
)
def test_a_wrong_option_is_one_line_and_2(manifests, tmp_path, options, message):
    result = train(*command(manifests, tmp_path / "run"), *options)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert message in result.stderr


def test_patients_that_the_first_weights_saw_are_not_held_out(manifests, tmp_path):
    def of(patient, name):
        rows = [replace(row, patient=patient) for row in read_manifests([manifests / name])]
        write_manifest(tmp_path / name, rows)
        return tmp_path / name

    three, fourth = of("Anna", "three.csv"), of("Bert", "fourth.csv")
    tiny = ("--preset", "tiny", "--epochs", "1")
    first = train("fit", three, "--validation", fourth, "--out", tmp_path / "first", *tiny)
    assert first.exit_code == 0, first.output
    # Other images of Anna: those of Bert, under her name.
    write_manifest(
        tmp_path / "more.csv",
        [replace(row, patient="Anna") for row in read_manifests([manifests / "fourth.csv"])],
    )
    write_manifest(
        tmp_path / "others.csv",
        [replace(row, patient="Carl") for row in read_manifests([manifests / "three.csv"])],
    )
    second = train(
        "fit", tmp_path / "others.csv", "--validation", tmp_path / "more.csv",
        "--init", tmp_path / "first", "--out", tmp_path / "second", *tiny,
    )  # fmt: skip
    assert second.exit_code == 2
    assert "the initial weights were trained on cells of 1 of the patients" in second.stderr
    assert "such as 'Anna'" in second.stderr


def test_folds_and_validation_exclude_each_other(manifests, tmp_path):
    both = ("--folds", "2", "--validation", manifests / "fourth.csv")
    result = train(*command(manifests, tmp_path / "run"), *both)
    assert result.exit_code == 2
    assert "omit --folds or --validation" in result.stderr


def test_a_leak_between_manifests_is_refused(manifests, tmp_path):
    held = ("--validation", manifests / "three.csv")
    result = train(*command(manifests, tmp_path / "run"), *held)
    assert result.exit_code == 2
    assert "is in two splits" in result.stderr


def started(arguments, launcher=("-m", "train")):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *launcher, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def changed(path):
    return path.stat().st_mtime_ns if path.exists() else None


@pytest.mark.timeout(600)
def test_killed_and_run_again_it_ends_with_the_same_weights(manifests, tmp_path):
    length = ("--epochs", "30")
    whole = started(command(manifests, tmp_path / "whole", *length))
    checkpoint = tmp_path / "cut" / CHECKPOINT_NAME
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 128 + signal.SIGINT)):
        before = changed(checkpoint)
        process = started(command(manifests, tmp_path / "cut", *length))
        while changed(checkpoint) == before:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.005)
        process.send_signal(number)
        output, _ = process.communicate()
        assert process.returncode == code, output
    assert "the same command continues" in output
    assert not (tmp_path / "cut" / WEIGHTS_NAME).exists()
    again = started(command(manifests, tmp_path / "cut", *length))
    for each in (whole, again):
        output, _ = each.communicate()
        assert each.returncode == 0, output
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_a_second_process_in_the_same_run_is_refused_until_the_first_ends(manifests, tmp_path):
    endless = command(manifests, tmp_path / "run", "--epochs", "100000")
    first = started(endless)
    try:
        while not (tmp_path / "run" / CHECKPOINT_NAME).exists():
            assert first.poll() is None, first.stdout.read()
            time.sleep(0.005)
        before = {path.name for path in (tmp_path / "run").iterdir()}
        second = started(endless)
        output, _ = second.communicate()
        assert second.returncode == 2
        assert "another process is fitting in" in output
        assert "Traceback" not in output
        assert first.poll() is None
        assert before <= {path.name for path in (tmp_path / "run").iterdir()}
    finally:
        first.kill()
        first.communicate()
    held = changed(tmp_path / "run" / CHECKPOINT_NAME)
    third = started(endless)
    while changed(tmp_path / "run" / CHECKPOINT_NAME) == held:
        assert third.poll() is None, third.stdout.read()
        time.sleep(0.005)
    third.kill()
    third.communicate()


def test_folds_of_a_run_that_is_fitted_are_refused(hospitals, tmp_path):
    settings = replace(SETTINGS, epochs=1)
    fit_folds(hospitals, 2, settings, INPUT, tmp_path / "run")
    (_, second) = open_runs(tmp_path / "run")
    with second.locked(), pytest.raises(RunError, match=r"another process .*fold-2"):
        fit_folds(hospitals, 2, settings, INPUT, tmp_path / "run")
    fit_folds(hospitals, 2, settings, INPUT, tmp_path / "run")


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def test_two_processes_fit_one_network(manifests, tmp_path):
    arguments = command(manifests, tmp_path / "run", "--epochs", "2")
    process = started(arguments, (*TORCHRUN, "-m", "train"))
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert output.count("finished") == 1
    open_runs(tmp_path / "run")[0].network()


def test_both_processes_hold_the_same_weights_and_one_writes(hospitals, side, tmp_path):
    Run(tmp_path / "run", SETTINGS, INPUT, hospitals, side).save()
    script = tmp_path / "each.py"
    script.write_text(
        """
import sys
from pathlib import Path
import torch
from train.fit.objectives import BrightField
from train.fit.trainer import train_network
from train.fit.run import open_runs
from train.fit.distributed import process_group

folder = Path(sys.argv[1])
(run,) = open_runs(folder / "run")
with process_group() as processes:
    torch.manual_seed(processes.rank)
    strategy = BrightField(run.settings)
    train_network(strategy, run, folder / f"wrote-{processes.rank}", processes, lambda: False)
    torch.save(dict(strategy.named_parameters()), folder / f"held-{processes.rank}.pt")
""",
        encoding="utf-8",
    )
    process = started((str(script), str(tmp_path)), TORCHRUN)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    first, second = (torch.load(tmp_path / f"held-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert same(first, second)
    assert (tmp_path / "wrote-0" / WEIGHTS_NAME).is_file()
    assert list((tmp_path / "wrote-1").iterdir()) == []
