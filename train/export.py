"""From a PyTorch network to the ONNX graphs that are shipped, and the proof that they agree.

All graphs take uint8 inputs, so that the runtime copies a quarter of the bytes, and scale them
inside. In the INT8 graph the input is already quantised: it is dequantised about the background
level, which ONNX Runtime fuses into the first convolution.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from ctcedge.model import INPUT_NAME, OUTPUT_NAME
from ctcedge.preprocess import BACKGROUND_LEVEL, InputSpec
from train.network import Classifier, batches, deviation

OPSET = 20
_SCALED = "scaled"
_FLOAT_TAIL = ("ReduceMean", "Reshape", "Gemm", "Squeeze")
"""Pooling and the last layer cost next to nothing; in float the logit is not rounded."""


def float_graph(network: Classifier, spec: InputSpec) -> onnx.ModelProto:
    """Export the network alone: `scaled`, float32 contrast units, to `logit`.

    Batch norms are folded into the convolutions; names are the network's own.
    """
    example = torch.zeros(2, 1, spec.size, spec.size)
    with _quiet_exporter():
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            input_names=[_SCALED],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the ONNX exporter returned nothing")
    return _tidy(program.model_proto)


def fp32_graph(body: onnx.ModelProto, spec: InputSpec) -> bytes:
    """Give the float graph its uint8 input."""
    return _finish(_with_scaled_input(_copy(body), spec, TensorProto.FLOAT))


def fp16_graph(body: onnx.ModelProto, spec: InputSpec) -> bytes:
    """Turn all weights and arithmetic to float16; the logit is float32 again."""
    model = _copy(body)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            half = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    last = model.graph.node[-1]
    last.output[0] = f"{OUTPUT_NAME}_half"
    model.graph.node.append(
        helper.make_node(
            "Cast", [last.output[0]], [OUTPUT_NAME], name=OUTPUT_NAME, to=TensorProto.FLOAT
        )
    )
    return _finish(_with_scaled_input(model, spec, TensorProto.FLOAT16))


def int8_graph(
    body: onnx.ModelProto, spec: InputSpec, calibration_inputs: NDArray[np.uint8]
) -> bytes:
    """Quantise statically: U8 activations, S8 weights per channel, QDQ.

    `reduce_range` makes CPUs with and without VNNI agree.

    Args:
        body: from `float_graph`.
        spec: of the input.
        calibration_inputs: (n, size, size) training inputs, made by the runtime's preprocessing;
            their range is the range of the activations.
    """
    kept_float = [node.name for node in body.graph.node if node.op_type in _FLOAT_TAIL]
    scale, zero = np.float32(1 / spec.gain), np.uint8(BACKGROUND_LEVEL)
    model = _copy(body)
    # ONNX Runtime otherwise advises pre-processing, which `float_graph` has done.
    helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "int8.onnx")
        quantize_static(
            model,
            path,
            _Calibration(calibration_inputs, spec.gain),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_exclude=kept_float,
            extra_options={
                "TensorQuantOverrides": {
                    _SCALED: [{"scale": np.array(scale), "zero_point": np.array(zero)}]
                }
            },
        )
        quantised = onnx.load(path)
    return _finish(_without_input_quantisation(quantised, spec))


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Feeds inputs to ONNX Runtime's calibrator."""

    def __init__(self, inputs: NDArray[np.uint8], gain: float) -> None:
        self._parts = ({_SCALED: (deviation(x) / gain).numpy()} for x in batches(inputs, 64))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._parts, None)


def _tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what the exporter notes about its own making, and name nodes after their layer."""
    graph = model.graph
    renamed: dict[str, str] = {}
    for index, node in enumerate(graph.node):
        weight = node.input[1] if len(node.input) > 1 else ""
        if weight.endswith(".weight"):
            node.name = weight.removeprefix("body.").removesuffix(".weight")
        else:
            node.name = f"{node.op_type.lower()}{index}"
        if node.output[0] != OUTPUT_NAME:
            renamed[node.output[0]] = node.name
    for tensor in graph.initializer:
        renamed[tensor.name] = tensor.name.removeprefix("body.").replace("weight_bias", "bias")
        tensor.name = renamed[tensor.name]
        del tensor.metadata_props[:]
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]
    for held in (graph.value_info, graph.metadata_props, model.metadata_props):
        del held[:]
    graph.name, graph.doc_string, model.doc_string = "ctc", "", ""
    return model


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _image_input(model: onnx.ModelProto, spec: InputSpec) -> None:
    """Make `image`, uint8, the graph's input."""
    shape: list[str | int | None] = ["batch", 1, spec.size, spec.size]
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, shape)
    model.graph.input[0].CopyFrom(image)


def _with_scaled_input(
    model: onnx.ModelProto, spec: InputSpec, element: TensorProto.DataType
) -> onnx.ModelProto:
    """Compute `scaled` = (image - background) / gain in front."""
    kind = helper.tensor_dtype_to_np_dtype(element)
    constants = {"background": BACKGROUND_LEVEL, "unit": 1 / spec.gain}
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, kind), name))
    front = (
        helper.make_node("Cast", [INPUT_NAME], ["levels"], name="levels", to=element),
        helper.make_node("Sub", ["levels", "background"], ["deviation"], name="deviation"),
        helper.make_node("Mul", ["deviation", "unit"], [_SCALED], name=_SCALED),
    )
    for node in reversed(front):
        model.graph.node.insert(0, node)
    _image_input(model, spec)
    return model


def _without_input_quantisation(model: onnx.ModelProto, spec: InputSpec) -> onnx.ModelProto:
    """Feed `image` where the quantiser put the quantised form of `scaled`."""
    nodes = model.graph.node
    (quantise,) = (n for n in nodes if n.op_type == "QuantizeLinear" and n.input[0] == _SCALED)
    (dequantise,) = (n for n in nodes if quantise.output[0] in n.input)
    dequantise.input[0] = INPUT_NAME
    nodes.remove(quantise)
    _image_input(model, spec)
    return model


def _finish(model: onnx.ModelProto) -> bytes:
    """Check a graph and return its bytes, the same for the same graph."""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    model.producer_name, model.producer_version = "ctcedge", ""
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide what PyTorch's exporter says of itself: no torchvision here, and its own old calls."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
