"""The graphs: the runtime's contract, views, class-activation maps, and full fusion."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from msgspec import structs
from onnx import numpy_helper

from train.export.onnx import OPSET, OUTPUTS, float_graph, fp16_graph, fp32_graph
from train.export.quantize import RECIPES, Recipe, int8_graph
from train.fit.networks import Classifier, deviation, predict
from train.fit.presets import PRESETS
from train.metrics.onnx_scores import run_graph

INPUT = structs.replace(PRESETS["tiny"].input, gain=32.0)
VIEWS = 8
VARIANTS = ("fp32", "fp16", "int8")
BIAS = 0.1


@pytest.fixture(scope="module")
def inputs():
    """Noise on plain background, with a bright bar off the centre in every other one."""
    inputs = np.random.default_rng(1).normal(128, 12, (48, INPUT.size, INPUT.size))
    inputs[::2, 10:20, 24:50] += 60
    return np.clip(inputs, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def network(inputs):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return settled(Classifier("resnet10", 0.125, VIEWS), inputs)


@pytest.fixture(scope="module")
def body(network):
    return float_graph(network, INPUT)


@pytest.fixture(scope="module")
def graphs(body, inputs):
    return {
        "fp32": fp32_graph(body, INPUT, VIEWS),
        "fp16": fp16_graph(body, INPUT, VIEWS),
        "int8": int8_graph(body, INPUT, VIEWS, inputs),
    }


def settled(network, inputs):
    """Give a new network a bias, and norms that have seen images."""
    torch.nn.init.constant_(network.head.bias, BIAS)  # a bias of zero is not exported
    network.train()
    with torch.no_grad():
        for _ in range(20):
            network(deviation(inputs) / INPUT.gain)
    return network.eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_runtimes_contract(graphs, variant):
    session = onnxruntime.InferenceSession(graphs[variant], providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert (image.name, image.type) == ("image", "tensor(uint8)")
    assert image.shape == ["batch", 1, INPUT.size, INPUT.size]
    outputs = {output.name: (output.type, output.shape) for output in session.get_outputs()}
    assert outputs == {
        "logit": ("tensor(float)", ["batch"]),
        "features": ("tensor(float)", ["batch", 64]),
        "activation": ("tensor(float)", ["batch", 2, 2]),
    }
    assert b"location" not in graphs[variant]
    assert [(o.domain, o.version) for o in onnx.load_from_string(graphs[variant]).opset_import] == [
        ("", OPSET)
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_batch_changes_nothing(graphs, inputs, variant):
    for output in OUTPUTS:
        together = run_graph(graphs[variant], inputs[:5], output)
        alone = run_graph(graphs[variant], inputs[:5], output, batch_size=1)
        np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize(
    ("variant", "tolerance"),
    [("fp32", 1e-4), ("fp16", 0.01), ("int8", 0.03)],
)
def test_the_logit_is_the_networks_mean_over_its_views(graphs, network, inputs, variant, tolerance):
    expected = predict(network, inputs, INPUT.gain)
    assert expected.std() > tolerance
    np.testing.assert_allclose(run_graph(graphs[variant], inputs), expected, atol=tolerance)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_mean_of_the_activation_map_is_the_logit(graphs, inputs, variant):
    activation = run_graph(graphs[variant], inputs, "activation")
    logit = run_graph(graphs[variant], inputs)
    np.testing.assert_allclose(activation.mean((1, 2)) + bias(graphs[variant]), logit, atol=2e-3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_features_and_the_last_layer_make_the_logit(graphs, network, inputs, variant):
    features = run_graph(graphs[variant], inputs, "features")
    weight = network.head.weight.detach().numpy()[0]
    np.testing.assert_allclose(
        features @ weight + bias(graphs[variant]), run_graph(graphs[variant], inputs), atol=2e-3
    )


def test_a_turned_image_has_a_turned_map_and_the_same_logit(graphs, inputs):
    plain = run_graph(graphs["fp32"], inputs, "activation")
    assert np.abs(plain - plain.transpose(0, 2, 1)).max() > 0.01
    for turn in (lambda x: x[:, ::-1], lambda x: x[:, :, ::-1], lambda x: x.transpose(0, 2, 1)):
        turned = np.ascontiguousarray(turn(inputs))
        np.testing.assert_allclose(
            run_graph(graphs["fp32"], turned, "activation"), turn(plain), atol=1e-4
        )
        np.testing.assert_allclose(
            run_graph(graphs["fp32"], turned), run_graph(graphs["fp32"], inputs), atol=1e-4
        )


@pytest.mark.parametrize("views", [1, 2, 4])
def test_fewer_views(body, network, inputs, views):
    fewer = Classifier("resnet10", 0.125, views)
    fewer.load_state_dict(network.state_dict())
    graph = fp32_graph(body, INPUT, views)
    expected = predict(fewer, inputs, INPUT.gain)
    np.testing.assert_allclose(run_graph(graph, inputs), expected, atol=1e-4)


def test_every_convolution_runs_in_int8(graphs, tmp_path):
    nodes = optimised(graphs["int8"], tmp_path)
    # All but that of the activation map, which is part of the last layer.
    assert nodes["QLinearConv"] == convolutions(graphs["fp32"]) - 1
    assert nodes["Conv"] + nodes["FusedConv"] == 1
    assert nodes["QuantizeLinear"] == 0


@pytest.mark.parametrize("recipe", RECIPES[1:], ids=str)
def test_every_recipe_answers_alike(body, graphs, network, inputs, tmp_path, recipe):
    graph = int8_graph(body, INPUT, 1, inputs, recipe)
    expected = run_graph(fp32_graph(body, INPUT, 1), inputs)
    np.testing.assert_allclose(run_graph(graph, inputs), expected, atol=0.1)
    in_float = 1 + 2 * recipe.float_ends
    nodes = optimised(graph, tmp_path)
    assert nodes["Conv"] + nodes["FusedConv"] == in_float


@pytest.mark.parametrize("recipe", RECIPES[:3], ids=str)
def test_any_number_of_images_sets_the_ranges(body, inputs, recipe):
    assert int8_graph(body, INPUT, 1, np.resize(inputs, (80, *inputs.shape[1:])), recipe)


def test_rounding_moves_logits_to_neither_side(body, inputs):
    moved = run_graph(int8_graph(body, INPUT, 1, inputs), inputs) - run_graph(
        fp32_graph(body, INPUT, 1), inputs
    )
    assert moved.std() > 0
    assert np.median(moved) == pytest.approx(0, abs=1e-5)


def test_weights_are_int8_in_reduced_range(graphs):
    kernels = quantised_weights(graphs["int8"])
    assert kernels
    assert all(kernel.dtype == np.int8 and np.abs(kernel).max() <= 64 for kernel in kernels)


def test_the_same_network_gives_the_same_bytes(network, graphs, inputs):
    body = float_graph(network, INPUT)
    assert fp32_graph(body, INPUT, VIEWS) == graphs["fp32"]
    assert int8_graph(body, INPUT, VIEWS, inputs, Recipe()) == graphs["int8"]


def optimised(graph, folder):
    """Count the kinds of nodes after ONNX Runtime's fusion."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def convolutions(graph):
    return sum(node.op_type == "Conv" for node in onnx.load_from_string(graph).graph.node)


def bias(graph):
    (tensor,) = (t for t in onnx.load_from_string(graph).graph.initializer if t.name == "fc.bias")
    return float(numpy_helper.to_array(tensor)[0])


def quantised_weights(graph):
    return [
        numpy_helper.to_array(tensor)
        for tensor in onnx.load_from_string(graph).graph.initializer
        if tensor.name.endswith("weight_quantized")
    ]
