"""A pretraining: deterministic, resumable, and a fit that starts from it knows what it used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from train.baselines.baselines import UNLABELLED, training_table
from train.cli import app
from train.data.manifest import read_manifests, write_manifest
from train.fit.fit import fit
from train.fit.folder import LOG_NAME, PRETRAINING_NAME, WEIGHTS_NAME, RunError, locked
from train.fit.loop import CHECKPOINT_NAME, Interrupted
from train.fit.networks import predict
from train.fit.pretrained import InitialWeights, InitialWeightsError
from train.fit.run import FitSettings, open_runs
from train.metrics.roc import roc_auc
from train.pretrain.features import feature_spread
from train.pretrain.pretrain import PretrainError, pretrain
from train.pretrain.settings import OBJECTIVES, PretrainSettings, pretrain_preset

from .conftest import STAINS

INPUT = pretrain_preset("tiny").fit.input
SETTINGS = PretrainSettings(
    network="resnet10", width=0.0625, epochs=2, batch_size=16, ema=0.5, bf16=False
)
ROOT = Path(__file__).parents[3]


def weights(folder):
    return torch.load(folder / WEIGHTS_NAME, weights_only=True)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def run(crops, folder, settings=SETTINGS, **options):
    return pretrain(crops, STAINS, settings, INPUT, folder, **options)


def test_a_seed_gives_the_same_weights(simulated, tmp_path):
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        run(simulated.crops, tmp_path / name, replace(SETTINGS, seed=seed))
    assert same(weights(tmp_path / "first"), weights(tmp_path / "again"))
    assert not same(weights(tmp_path / "first"), weights(tmp_path / "other"))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_interrupted_anywhere_it_ends_with_the_same_weights(simulated, tmp_path, objective):
    settings = replace(SETTINGS, objectives=(objective,))
    run(simulated.crops, tmp_path / "whole", settings)
    calls = 0

    def stop():
        nonlocal calls
        calls += 1
        return calls % 2 == 0

    for _ in range(40):
        try:
            run(simulated.crops, tmp_path / "pieces", settings, should_stop=stop)
            break
        except Interrupted:
            pass
    assert calls > 4
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "pieces"))
    assert not (tmp_path / "pieces" / CHECKPOINT_NAME).exists()


def test_pretraining_learns_and_does_not_collapse(simulated, tmp_path):
    settings = replace(SETTINGS, width=0.125, epochs=10, objectives=("contrastive",))
    run(simulated.crops, tmp_path / "run", settings)
    epochs = json.loads((tmp_path / "run" / LOG_NAME).read_text(encoding="utf-8"))["epochs"]
    assert epochs[-1]["loss"] < 0.9 * epochs[0]["loss"]
    assert epochs[-1]["feature_spread"] > 0.02


def test_collapsed_features_have_no_spread():
    chance = np.random.default_rng(1)
    even = chance.normal(size=(500, 32)).astype(np.float32)
    assert feature_spread(even) == pytest.approx(1.0, abs=0.05)
    assert feature_spread(np.ones((500, 32), np.float32)) == pytest.approx(0.0, abs=1e-4)


def test_another_run_is_not_overwritten(simulated, tmp_path):
    run(simulated.crops, tmp_path / "run")
    before = (tmp_path / "run" / WEIGHTS_NAME).stat().st_mtime_ns
    run(simulated.crops, tmp_path / "run")
    assert (tmp_path / "run" / WEIGHTS_NAME).stat().st_mtime_ns == before
    with pytest.raises(RunError, match="contains a run with epochs 2 instead of 3"):
        run(simulated.crops, tmp_path / "run", replace(SETTINGS, epochs=3))
    with pytest.raises(RunError, match="other cells"):
        run(simulated.crops.select(np.arange(40)), tmp_path / "run")
    with locked(tmp_path / "run"), pytest.raises(RunError, match="another process"):
        run(simulated.crops, tmp_path / "run")


def test_settings_are_read_back():
    settings = replace(SETTINGS, objectives=("vicreg", "stains"), negatives="sample")
    assert PretrainSettings.of(json.loads(json.dumps(settings.plain()))) == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objectives": ("guess",)}, "unknown objective 'guess'"),
        ({"objectives": ()}, "unknown objective"),
        ({"objectives": ("masked", "masked")}, "given twice"),
        ({"negatives": "none"}, "negatives must be all or sample"),
        ({"network": "vgg"}, "unknown network 'vgg'"),
        ({"batch_size": 4}, "at least 8 crops"),
        ({"learning_rate": 0.0}, "learning rate above 0"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **change)


def test_too_few_crops_are_refused(simulated, tmp_path):
    with pytest.raises(PretrainError, match="10 crops are too few"):
        run(simulated.crops.select(np.arange(10)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


FIT = FitSettings(network="resnet10", width=0.0625, views=2, epochs=1, batch_size=16, bf16=False)


def test_a_fit_starts_from_the_features_with_a_head_of_its_own(simulated, hospitals, tmp_path):
    run(simulated.crops, tmp_path / "pretrained")
    initial = InitialWeights.of(tmp_path / "pretrained")
    side = np.where(hospitals.group == "h00", "validation", "training")
    fit(hospitals, side, FIT, INPUT, tmp_path / "run", initial=initial)
    (fitted,) = open_runs(tmp_path / "run")
    network = initial.network(fitted)
    held = network.state_dict()
    assert all(torch.equal(held[name], t) for name, t in weights(tmp_path / "pretrained").items())
    assert held.keys() - weights(tmp_path / "pretrained").keys() == {
        "body.fc.weight",
        "body.fc.bias",
    }
    assert (fitted.init, len(fitted.earlier)) == (initial.sha256, 0)
    assert set(fitted.unlabelled.digest) == set(simulated.crops.digest)
    # And a fit that starts from that one knows it, too.
    again = InitialWeights.of(tmp_path / "run")
    assert set(again.unlabelled.digest) == set(simulated.crops.digest)
    assert set(again.provenance.digest) == set(hospitals.digest[side == "training"])
    wider = replace(fitted, settings=replace(FIT, width=0.125))
    with pytest.raises(InitialWeightsError, match="weights of another network"):
        initial.network(wider)


def test_the_features_may_stay_as_they_are(simulated, manifest, tmp_path):
    pretrained = tmp_path / "pretrained"
    assert train(*command(simulated, pretrained)).exit_code == 0
    options = ("--init", pretrained, "--frozen", "--out", tmp_path / "run", *TINY)
    for _ in range(2):
        result = train("fit", manifest, *options)
        assert result.exit_code == 0, result.output
        assert "finished" in result.stdout
    held = weights(tmp_path / "run")
    assert all(torch.equal(held[name], tensor) for name, tensor in weights(pretrained).items())
    (fitted,) = open_runs(tmp_path / "run")
    training = fitted.subset("training")
    logits = predict(fitted.network(), training.bright, fitted.input.gain)
    assert roc_auc(training.positive, logits) > 0.8
    bare = train("fit", manifest, "--frozen", "--out", tmp_path / "bare", *TINY)
    assert (bare.exit_code, "--frozen needs initial weights" in bare.stderr) == (2, True)
    stains = train("fit", manifest, *options, "--dapi", "auxiliary")
    assert (stains.exit_code, "--dapi has no use" in stains.stderr) == (2, True)


def test_a_damaged_pretraining_is_named(simulated, tmp_path):
    run(simulated.crops, tmp_path / "run")
    (tmp_path / "run" / PRETRAINING_NAME).write_text("{}")
    with pytest.raises(RunError, match="damaged or of another version"):
        InitialWeights.of(tmp_path / "run")
    (tmp_path / "run" / WEIGHTS_NAME).unlink()
    with pytest.raises(InitialWeightsError, match="is the run finished"):
        InitialWeights.of(tmp_path / "run")


def test_a_training_table_keeps_them_apart(simulated, hospitals):
    table = training_table(hospitals, "test", INPUT)
    unlabelled = simulated.crops.provenance()
    stored = table.with_earlier(unlabelled.select(np.arange(0)), unlabelled)
    assert (stored.split == UNLABELLED).sum() == len(unlabelled)
    assert len(stored.described) == len(hospitals)


def train(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def command(simulated, out, *options):
    return ["pretrain", *map(str, simulated.exports), "--out", str(out), *TINY, *map(str, options)]


TINY = ("--preset", "tiny", "--width", "0.0625")


@pytest.fixture(scope="module")
def manifest(simulated, tmp_path_factory):
    """Cells of the first export, half of the samples each a patient."""
    path = tmp_path_factory.mktemp("manifest") / "cells.csv"
    assert train("label", simulated.exports[0], "--out", path).exit_code == 0
    return path


def test_the_command_pretrains_and_a_fit_names_what_was_used(simulated, manifest, tmp_path):
    result = train(*command(simulated, tmp_path / "pretrained"))
    assert result.exit_code == 0, result.output
    assert "vicreg; 48 crops of 4 samples" in result.stdout
    assert "Next: python -m train fit MANIFEST --init" in result.stdout
    epochs = [line for line in result.stderr.splitlines() if "epoch" in line]
    assert len(epochs) == 2 and epochs[0].startswith("Pretrain pretrained: epoch 1, loss ")
    fitted = train(
        "fit", manifest, "--init", tmp_path / "pretrained", "--out", tmp_path / "run",
        "--epochs", "1", *TINY,
    )  # fmt: skip
    assert fitted.exit_code == 0, fitted.output
    (held_out,) = set(open_runs(tmp_path / "run")[0].subset("validation").group)
    assert "held out were used without labels by the pretraining" in fitted.stderr
    assert fitted.stderr.count(held_out) >= 1


def test_the_test_set_is_kept_out(simulated, manifest, tmp_path):
    rows = read_manifests([manifest])
    first = rows[0].sample
    write_manifest(tmp_path / "test.csv", [row for row in rows if row.sample == first])
    result = train(*command(simulated, tmp_path / "run", "--exclude", tmp_path / "test.csv"))
    assert result.exit_code == 0, result.output
    assert "12 crops by the name of patient or sample (" in result.stderr
    assert first in result.stderr
    assert "36 crops of 3 samples" in result.stdout
    unlabelled = InitialWeights.of(tmp_path / "run").unlabelled
    with np.load(tmp_path / "run" / "cells.npz") as columns:
        assert not any(first in name for name in columns["sample"])
    assert len(unlabelled.digest) >= 36


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--preset", "fast"), "no preset 'fast'"),
        (("--objective", "guess"), "unknown objective 'guess'"),
        (("--negatives", "none"), "negatives must be all or sample"),
        (("--crop-px", "1.5"), "--crop-px is for"),
        (("--exclude", "nowhere.csv"), "nowhere.csv cannot be read"),
    ],
)
def test_a_wrong_option_is_one_line_and_2(simulated, tmp_path, options, message):
    result = train(*command(simulated, tmp_path / "run"), *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_stains_are_needed_where_they_are_learnt(simulated, tmp_path):
    for path in simulated.exports[0].rglob("*_BF.*"):
        (tmp_path / "bare").mkdir(exist_ok=True)
        (tmp_path / "bare" / path.name).write_bytes(path.read_bytes())
    result = train(
        "pretrain", tmp_path / "bare", "--out", tmp_path / "run", *TINY,
        "--objective", "stains", "--um-per-px", "0.5",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "need images of stains beside bright field" in result.stderr


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


@pytest.mark.timeout(600)
def test_stopped_by_sigterm_and_run_again_it_ends_with_the_same_weights(simulated, tmp_path):
    length = ("--epochs", "24", "--objective", "vicreg")
    whole = started(command(simulated, tmp_path / "whole", *length))
    cut = started(command(simulated, tmp_path / "cut", *length))
    while not (tmp_path / "cut" / CHECKPOINT_NAME).exists():
        assert cut.poll() is None, cut.stdout.read()
        time.sleep(0.005)
    cut.send_signal(signal.SIGTERM)
    output, _ = cut.communicate()
    assert cut.returncode == 128 + signal.SIGTERM, output
    assert "the same command continues" in output
    again = started(command(simulated, tmp_path / "cut", *length))
    for process in (whole, again):
        output, _ = process.communicate()
        assert process.returncode == 0, output
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.mark.timeout(600)
def test_two_processes_train_one_network(simulated, tmp_path):
    process = started(command(simulated, tmp_path / "run"), (*TORCHRUN, "-m", "train"))
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert output.count("finished") == 1
    assert InitialWeights.of(tmp_path / "run").file.is_file()
