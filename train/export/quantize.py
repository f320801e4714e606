"""Static INT8 quantisation by ONNX Runtime, and what to try where it costs too much.

The CPU's graph has U8 activations and S8 weights per channel; its input is already quantised and is
dequantised about the background level, which ONNX Runtime fuses into the first convolution. The
symmetric graph, for TensorRT, has S8 activations without zero points. Rounding moves the logits of
both a little to one side, which the last layer's bias makes up for.
"""

from __future__ import annotations

import io
import math
import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from ctcedge.images.preprocess import BACKGROUND_LEVEL, InputSpec
from ctcedge.model.spec import FEATURES_NAME, INPUT_NAME

from ..metrics.onnx_scores import run_graph
from ..util.batching import batches
from .onnx import SCALED, copied, finish, with_scaled_input

Ranges: TypeAlias = Literal["min-max", "percentile", "entropy"]

_METHODS = {
    "min-max": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
_PERCENTILE = 99.99
_HISTOGRAM_IMAGES = 128
"""All but min-max hold every activation of their images in memory at once."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A way to quantise.

    Attributes:
        ranges: how the activations' ranges are found on the calibration images.
        float_ends: whether the first and the last convolution stay in float.
    """

    ranges: Ranges = "min-max"
    float_ends: bool = False

    def images(self, inputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return those of (n, size, size) calibration inputs that set the ranges."""
        if self.ranges == "min-max" or len(inputs) <= _HISTOGRAM_IMAGES:
            return inputs
        return inputs[np.linspace(0, len(inputs) - 1, _HISTOGRAM_IMAGES).astype(np.intp)]

    def __str__(self) -> str:
        return f"{self.ranges} ranges" + self.float_ends * ", first and last convolution in float"


RECIPES = (
    Recipe(),
    Recipe("percentile"),
    Recipe("entropy"),
    Recipe("min-max", float_ends=True),
    Recipe("percentile", float_ends=True),
)
"""In the order in which they are tried."""


def int8_graph(
    body: onnx.ModelProto,
    spec: InputSpec,
    views: int,
    calibration_inputs: NDArray[np.uint8],
    recipe: Recipe = RECIPES[0],
) -> bytes:
    """Quantise statically: QDQ, U8 activations, S8 weights per channel.

    `reduce_range` makes CPUs with and without VNNI agree.

    Args:
        body: from `train.export.onnx.float_graph`.
        spec: of the input.
        views: that the graph averages.
        calibration_inputs: (n, size, size) training inputs, made by the runtime's preprocessing.
        recipe: how.
    """
    quantised = _quantize(
        with_scaled_input(copied(body), spec),
        calibration_inputs,
        recipe,
        scaled=(np.float32(1 / spec.gain), np.uint8(BACKGROUND_LEVEL)),
        activation_type=QuantType.QUInt8,
        reduce_range=True,
        extra_options={},
    )
    if not recipe.float_ends:
        _use_image_as_quantized(quantised.graph)
    return finish(quantised, views)


def symmetric_graph(
    body: onnx.ModelProto,
    spec: InputSpec,
    views: int,
    calibration_inputs: NDArray[np.uint8],
    recipe: Recipe = RECIPES[0],
) -> bytes:
    """Quantise as TensorRT wants it: S8 activations and weights, no zero points, float biases.

    Args and result are those of `int8_graph`.
    """
    quantised = _quantize(
        with_scaled_input(copied(body), spec),
        calibration_inputs,
        recipe,
        scaled=(np.float32(BACKGROUND_LEVEL / 127 / spec.gain), np.int8(0)),
        activation_type=QuantType.QInt8,
        reduce_range=False,
        extra_options={"ActivationSymmetric": True, "QuantizeBias": False},
    )
    return finish(quantised, views)


def _quantize(
    model: onnx.ModelProto,
    inputs: NDArray[np.uint8],
    recipe: Recipe,
    *,
    scaled: tuple[np.float32, np.integer],
    activation_type: QuantType,
    reduce_range: bool,
    extra_options: dict[str, object],
) -> onnx.ModelProto:
    scale, zero_point = scaled
    extra_options |= {
        "CalibPercentile": _PERCENTILE,
        "TensorQuantOverrides": {
            SCALED: [{"scale": np.array(scale), "zero_point": np.array(zero_point)}]
        },
    }
    inputs = recipe.images(inputs)
    meant = run_graph(model.SerializeToString(), inputs)  # ONNX Runtime takes the model apart
    # ONNX Runtime otherwise advises pre-processing, which the export has done.
    helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        path = Path(folder, "int8.onnx")
        quantize_static(
            model,
            path,
            _Calibration(inputs),
            quant_format=QuantFormat.QDQ,
            calibrate_method=_METHODS[recipe.ranges],
            activation_type=activation_type,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=reduce_range,
            nodes_to_exclude=sorted(_float_nodes(model.graph, recipe)),
            extra_options=extra_options,
        )
        quantised = onnx.load(path)
    moved = np.median(run_graph(quantised.SerializeToString(), inputs) - meant)
    _subtract_from_bias(quantised.graph, moved)
    return quantised


def _subtract_from_bias(graph: onnx.GraphProto, by: np.float32) -> None:
    """Take a number from the last layer's bias."""
    (head,) = (node for node in graph.node if FEATURES_NAME in node.input)
    (bias,) = (tensor for tensor in graph.initializer if tensor.name == head.input[2])
    centred = numpy_helper.to_array(bias) - by
    bias.CopyFrom(numpy_helper.from_array(centred.astype(np.float32), bias.name))


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Feeds inputs to ONNX Runtime's calibrator."""

    def __init__(self, inputs: NDArray[np.uint8]) -> None:
        size = math.gcd(len(inputs), 64)  # ONNX Runtime stacks the answers to equal parts only
        self._parts = ({INPUT_NAME: part[:, None]} for part in batches(inputs, size))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._parts, None)


def _float_nodes(graph: onnx.GraphProto, recipe: Recipe) -> set[str]:
    """Name the nodes that are not quantised.

    Scaling the input is exact in float, and pooling and the last layer cost next to nothing: in
    float the answers are not rounded. Norms that no convolution takes in, as DenseNet's, have no
    INT8 kernel.
    """
    made_by = {name: node for node in graph.node for name in node.output}
    maps = made_by[FEATURES_NAME].input[0]
    norms = {node.name for node in graph.node if node.op_type == "BatchNormalization"}
    quantised = _ancestors(maps, made_by) - _ancestors(SCALED, made_by) - norms
    if recipe.float_ends:
        nodes = [node for node in graph.node if node.name in quantised]
        convolutions = [node.name for node in nodes if node.op_type == "Conv"]
        # What follows the last one too, or ONNX Runtime quantises the convolution by itself.
        after = {n.name for n in nodes if convolutions[-1] in _ancestors(n.output[0], made_by)}
        quantised -= {convolutions[0], *after}
    return {node.name for node in graph.node} - quantised


def _ancestors(tensor: str, made_by: dict[str, onnx.NodeProto]) -> set[str]:
    """Name every node that a tensor is computed from."""
    found: set[str] = set()
    waiting = [tensor]
    while waiting:
        node = made_by.get(waiting.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            waiting += node.input
    return found


def _use_image_as_quantized(graph: onnx.GraphProto) -> None:
    """Feed `image` where the quantiser put the quantised form of `scaled`."""
    (quantise,) = (n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == SCALED)
    (dequantise,) = (n for n in graph.node if quantise.output[0] in n.input)
    dequantise.input[0] = INPUT_NAME
    needless = {quantise.name, *_ancestors(SCALED, {n.output[0]: n for n in graph.node})}
    for node in [node for node in graph.node if node.name in needless]:
        graph.node.remove(node)
