"""The exported graphs: the runtime's contract, full fusion, and parity that can fail."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from ctcedge.model import Decision
from train import export
from train.build import INPUT
from train.graphs import run_graph
from train.network import Classifier, predict
from train.parity import ParityError, ParityLimits, agreement, check_parity

VARIANTS = ("fp32", "fp16", "int8")


@pytest.fixture(scope="module")
def inputs():
    """Noise on plain background, with a bright square in every other one."""
    inputs = np.random.default_rng(1).normal(128, 12, (64, INPUT.size, INPUT.size))
    inputs[::2, 24:40, 24:40] += 60
    return np.clip(inputs, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def network(inputs):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = Classifier("resnet10", 0.125)
        torch.nn.init.constant_(network.body.fc.bias, 0.1)  # a bias of zero is not exported
        network.train()
        with torch.no_grad():
            for _ in range(20):  # so that the norms' statistics are not those of a new network
                network((torch.from_numpy(inputs[:, None]).float() - 128) / INPUT.gain)
    return network.eval()


@pytest.fixture(scope="module")
def graphs(network, inputs):
    body = export.float_graph(network, INPUT)
    return {
        "fp32": export.fp32_graph(body, INPUT),
        "fp16": export.fp16_graph(body, INPUT),
        "int8": export.int8_graph(body, INPUT, inputs),
    }


@pytest.fixture(scope="module")
def logits(network, graphs, inputs):
    answers = {variant: run_graph(graph, inputs) for variant, graph in graphs.items()}
    return answers | {"pytorch": predict(network, inputs, INPUT.gain)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_runtimes_contract(graphs, variant):
    session = onnxruntime.InferenceSession(graphs[variant], providers=["CPUExecutionProvider"])
    (image,), (logit,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape) == (
        "image",
        "tensor(uint8)",
        ["batch", 1, INPUT.size, INPUT.size],
    )
    assert (logit.name, logit.type, logit.shape) == ("logit", "tensor(float)", ["batch"])
    assert b"location" not in graphs[variant]
    assert [(o.domain, o.version) for o in onnx.load_from_string(graphs[variant]).opset_import] == [
        ("", export.OPSET)
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_batch_changes_nothing(graphs, inputs, variant):
    together = run_graph(graphs[variant], inputs[:5])
    alone = run_graph(graphs[variant], inputs[:5], batch_size=1)
    assert together.shape == (5,)
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_every_convolution_runs_in_int8(graphs, tmp_path):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(graphs["int8"], options, providers=["CPUExecutionProvider"])
    nodes = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    convolutions = onnx.load_from_string(graphs["fp32"]).graph.node
    assert nodes["QLinearConv"] == sum(node.op_type == "Conv" for node in convolutions)
    assert nodes["Conv"] == nodes["FusedConv"] == nodes["QuantizeLinear"] == 0


def test_weights_are_int8_in_reduced_range(graphs):
    model = onnx.load_from_string(graphs["int8"])
    kernels = [
        numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name.endswith("weight_quantized")
    ]
    assert kernels
    assert all(kernel.dtype == np.int8 and np.abs(kernel).max() <= 64 for kernel in kernels)


def test_the_same_network_gives_the_same_bytes(network, graphs, inputs):
    body = export.float_graph(network, INPUT)
    assert export.fp32_graph(body, INPUT) == graphs["fp32"]
    assert export.int8_graph(body, INPUT, inputs) == graphs["int8"]


def test_graphs_agree_with_pytorch(logits, inputs):
    positive = np.arange(len(inputs)) % 2 == 0
    check_parity(logits, positive, ParityLimits())


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_perturbed_graph_is_refused(network, graphs, logits, inputs, variant):
    model = onnx.load_from_string(graphs[variant])
    (last,) = (t for t in model.graph.initializer if t.name == "fc.bias")
    moved = numpy_helper.to_array(last) + np.array(0.5, numpy_helper.to_array(last).dtype)
    last.CopyFrom(numpy_helper.from_array(moved, last.name))
    wrong = logits | {variant: run_graph(model.SerializeToString(), inputs)}
    with pytest.raises(ParityError, match=rf"^not exported; {variant}: "):
        check_parity(wrong, np.arange(len(inputs)) % 2 == 0, ParityLimits())


def test_a_graph_that_answers_nan_is_refused(logits, inputs):
    wrong = logits | {"fp32": np.full(len(inputs), np.nan, np.float32)}
    with pytest.raises(ParityError, match="fp32: largest logit difference nan"):
        check_parity(wrong, np.arange(len(inputs)) % 2 == 0, ParityLimits())


def test_agreement_by_hand():
    decision = Decision(threshold=0.5, review=(0.4, 0.6))
    one = np.array([0.9, 0.1, 0.61, 0.3])
    other = np.array([0.9, 0.7, 0.59, 0.3])
    result = agreement(one, other, np.array([True, False, True, False]), decision)
    assert result.auc == 1
    assert result.largest == pytest.approx(0.6)
    assert result.mean == pytest.approx(0.155)
    assert result.same_calls == 0.5
    assert result.flips == 0.25
