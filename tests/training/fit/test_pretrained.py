"""First weights from a run, and from a model folder's graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from train.export.onnx import float_graph
from train.fit.folder import WEIGHTS_NAME
from train.fit.networks import Classifier, deviation, predict
from train.fit.presets import PRESETS
from train.fit.pretrained import (
    InitialWeights,
    InitialWeightsError,
    graph_weights,
    unfold_batch_norms,
)
from train.fit.run import FitSettings, Run

INPUT = PRESETS["tiny"].input
SETTINGS = FitSettings(network="resnet10", width=0.0625, views=1)
SHIPPED = Path(__file__).parents[3] / "models" / "sim-resnet18"


@pytest.fixture
def run(hospitals, tmp_path):
    side = np.where(hospitals.group == "h00", "validation", "training")
    run = Run(tmp_path / "run", SETTINGS, INPUT, hospitals, side)
    run.save()
    torch.save(SETTINGS.classifier().state_dict(), run.folder / WEIGHTS_NAME)
    return run


def test_a_run_gives_its_weights(run, hospitals):
    started = InitialWeights.of(run.folder).network(run)
    expected = predict(run.network(), hospitals.bright, INPUT.gain)
    assert np.array_equal(predict(started, hospitals.bright, INPUT.gain), expected)


def test_the_shipped_model_gives_its_weights(run):
    initial = InitialWeights.of(SHIPPED)
    weights = graph_weights(onnx.load(initial.file).graph)
    width = len(weights["conv1.weight"]) / 64
    started = initial.network(replace(run, settings=FitSettings(network="resnet18", width=width)))
    assert torch.equal(started.head.weight, weights["fc.weight"])
    assert torch.equal(started.body.layer1[0].conv1.weight, weights["layer1.0.conv1.weight"])


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name", ["resnet10", pytest.param("densenet121", marks=pytest.mark.slow_training)]
)
def test_a_graph_gives_back_the_network_it_was_made_from(hospitals, name):
    """Norms that have statistics of their own, some of which a graph folds and some not."""
    torch.manual_seed(1)
    source = Classifier(name)
    scaled = deviation(hospitals.bright) / INPUT.gain
    with torch.no_grad():
        for parameter in source.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        source.train()(1.5 * scaled + 0.1)
        expected = source.eval()(scaled)
        network = Classifier(name)
        unfold_batch_norms(network, graph_weights(float_graph(source, INPUT).graph), scaled)
        assert torch.allclose(network.eval()(scaled), expected, atol=1e-3)
        # Folded norms answer alike in training: their statistics are those of these cells.
        if name == "resnet10":
            assert torch.allclose(network.train()(scaled), expected, atol=1e-3)


def test_weights_of_another_network_are_refused(run):
    wider = replace(run, settings=replace(SETTINGS, width=0.125))
    with pytest.raises(InitialWeightsError, match=r"another network than resnet10 of width 0\.125"):
        InitialWeights.of(run.folder).network(wider)
    with pytest.raises(InitialWeightsError, match="another network than resnet10"):
        InitialWeights.of(SHIPPED).network(run)


def test_what_holds_no_weights_is_named(run, tmp_path):
    with pytest.raises(InitialWeightsError, match="neither a model folder nor a run"):
        InitialWeights.of(tmp_path)
    (run.folder / WEIGHTS_NAME).unlink()
    with pytest.raises(InitialWeightsError, match="is the run finished"):
        InitialWeights.of(run.folder)
