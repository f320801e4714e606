"""Static INT8 quantization by ONNX Runtime, and the recipes to try in turn.

The CPU graph has U8 activations and S8 weights per channel; its input is already quantized and is
dequantized about the background level, which ONNX Runtime fuses into the first convolution.
Rounding shifts the logits slightly; the bias of the last layer is corrected for it.
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
"""All methods but min-max keep every activation of their images in memory."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A way to quantize.

    Attributes:
        ranges: method for the ranges of the activations on the calibration images.
        float_ends: whether the first and the last convolution stay in float.
    """

    ranges: Ranges = "min-max"
    float_ends: bool = False

    def images(self, inputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the subset of (n, size, size) calibration inputs that sets the ranges."""
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
    """Quantize statically: QDQ, U8 activations, S8 weights per channel.

    `reduce_range` makes CPUs with and without VNNI agree.

    Args:
        body: from `train.export.onnx.float_graph`.
        spec: of the input.
        views: number of views that the graph averages.
        calibration_inputs: (n, size, size) training inputs, made by the runtime's preprocessing.
        recipe: ranges and float layers.
    """
    model = with_scaled_input(copied(body), spec)
    scale = {
        "scale": np.array(1 / spec.gain, np.float32),
        "zero_point": np.array(BACKGROUND_LEVEL, np.uint8),
    }
    inputs = recipe.images(calibration_inputs)
    expected = run_graph(model.SerializeToString(), inputs)  # before quantization changes it
    # Marks the model as pre-processed, or ONNX Runtime logs advice to do so.
    helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        path = Path(folder, "int8.onnx")
        quantize_static(
            model,
            path,
            _Calibration(inputs),
            quant_format=QuantFormat.QDQ,
            calibrate_method=_METHODS[recipe.ranges],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_exclude=sorted(_float_nodes(model.graph, recipe)),
            extra_options={
                "CalibPercentile": _PERCENTILE,
                "TensorQuantOverrides": {SCALED: [scale]},
            },
        )
        quantized = onnx.load(path)
    shift = np.median(run_graph(quantized.SerializeToString(), inputs) - expected)
    _subtract_from_bias(quantized.graph, shift)
    if not recipe.float_ends:
        _use_image_as_quantized(quantized.graph)
    return finish(quantized, views)


def _subtract_from_bias(graph: onnx.GraphProto, shift: np.float32) -> None:
    """Subtract a number from the last layer's bias."""
    (head,) = (node for node in graph.node if FEATURES_NAME in node.input)
    (bias,) = (tensor for tensor in graph.initializer if tensor.name == head.input[2])
    centred = numpy_helper.to_array(bias) - shift
    bias.CopyFrom(numpy_helper.from_array(centred.astype(np.float32), bias.name))


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Feeds inputs to ONNX Runtime's calibrator."""

    def __init__(self, inputs: NDArray[np.uint8]) -> None:
        size = math.gcd(len(inputs), 64)  # ONNX Runtime stacks only batches of equal size
        self._parts = ({INPUT_NAME: part[:, None]} for part in batches(inputs, size))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._parts, None)


def _float_nodes(graph: onnx.GraphProto, recipe: Recipe) -> set[str]:
    """Return the names of the nodes that stay in float.

    Scaling the input is exact in float; pooling and the last layer take almost no time, and in
    float the outputs are not rounded. Norms that are not folded into a convolution, as in
    DenseNet, have no INT8 kernel.
    """
    made_by = {name: node for node in graph.node for name in node.output}
    maps = made_by[FEATURES_NAME].input[0]
    norms = {node.name for node in graph.node if node.op_type == "BatchNormalization"}
    quantized = _ancestors(maps, made_by) - _ancestors(SCALED, made_by) - norms
    if recipe.float_ends:
        nodes = [node for node in graph.node if node.name in quantized]
        convolutions = [node.name for node in nodes if node.op_type == "Conv"]
        # Also the nodes after the last one, or ONNX Runtime quantizes that convolution anyway.
        after = {n.name for n in nodes if convolutions[-1] in _ancestors(n.output[0], made_by)}
        quantized -= {convolutions[0], *after}
    return {node.name for node in graph.node} - quantized


def _ancestors(tensor: str, made_by: dict[str, onnx.NodeProto]) -> set[str]:
    """Return the names of all nodes that a tensor is computed from."""
    ancestors: set[str] = set()
    pending = [tensor]
    while pending:
        node = made_by.get(pending.pop())
        if node is not None and node.name not in ancestors:
            ancestors.add(node.name)
            pending += node.input
    return ancestors


def _use_image_as_quantized(graph: onnx.GraphProto) -> None:
    """Feed `image` in place of the quantized form of `scaled`."""
    (quantize,) = (n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == SCALED)
    (dequantize,) = (n for n in graph.node if quantize.output[0] in n.input)
    dequantize.input[0] = INPUT_NAME
    unused = {quantize.name, *_ancestors(SCALED, {n.output[0]: n for n in graph.node})}
    for node in [node for node in graph.node if node.name in unused]:
        graph.node.remove(node)
