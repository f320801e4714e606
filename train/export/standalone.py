"""A graph that needs no preprocessing outside: from grey levels of a crop to a probability.

The runtime normalises crops before its graphs, in `ctcedge.images.preprocess`. Other programs run a
graph alone, so that the same normalisation is put in front of it, and the calibration behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ctcedge.images.preprocess import (
    BACKGROUND_LEVEL,
    InputSpec,
    border_indices,
    contrast_ranks,
    disk_indices,
)
from ctcedge.model.spec import INPUT_NAME, OUTPUT_NAME, Calibration

CROP_NAME = "crop"
"""Input: float32 (batch, 1, size, size), grey levels at the model's um/px."""

PROBABILITY_NAME = "probability"
"""Output: float32 (batch, 1), the calibrated probability of CTC."""

_MIN_UNIT = 1e-6


class _Part:
    """Nodes and constants, with names that the graph between does not use."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: object, dtype: type) -> str:
        name = f"{self.prefix}_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"{self.prefix}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(
                kind, inputs, [name], f"{self.prefix}_node_{len(self.nodes)}", **attributes
            )
        )
        return name

    def mean_of_ranks(self, values: str, count: int, first: int, last: int) -> str:
        """Return the mean of the values from rank `first` up to `last`, of (batch, count)."""
        ranked, unused = (
            f"{self.prefix}_ranked_{len(self.nodes)}",
            f"{self.prefix}_{len(self.nodes)}_at",
        )
        self.nodes.append(
            helper.make_node(
                "TopK",
                [values, self.constant([count], np.int64)],
                [ranked, unused],
                f"{self.prefix}_node_{len(self.nodes)}",
                axis=1,
                largest=0,
                sorted=1,
            )
        )
        ends = [self.constant([end], np.int64) for end in (first, last, 1)]
        chosen = self.add("Slice", ranked, *ends)
        return self.add("ReduceMean", chosen, self.constant([1], np.int64), keepdims=1)


def standalone_graph(graph: bytes, spec: InputSpec, calibration: Calibration) -> bytes:
    """Return a runtime graph with its normalisation in front and its calibration behind.

    Args:
        graph: from `INPUT_NAME` to `OUTPUT_NAME`.
        spec: of its input.
        calibration: of its logit.
    """
    model = onnx.load_from_string(graph)
    before, after = _normalisation(spec), _calibration(calibration)
    nodes = [*before.nodes, *model.graph.node, *after.nodes]
    del model.graph.node[:], model.graph.input[:], model.graph.output[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*before.constants, *after.constants])
    shape: Sequence[str | int] = ("batch", 1, spec.size, spec.size)
    model.graph.input.append(helper.make_tensor_value_info(CROP_NAME, TensorProto.FLOAT, shape))
    model.graph.output.append(
        helper.make_tensor_value_info(PROBABILITY_NAME, TensorProto.FLOAT, ("batch", 1))
    )
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def _normalisation(spec: InputSpec) -> _Part:
    """From grey levels to the network's input, as `network_input` does for a crop of this size."""
    part = _Part("normalise")
    flat = part.add("Reshape", CROP_NAME, part.constant([0, spec.size**2], np.int64))
    border = border_indices(spec.size, spec.size, spec.border)
    edge = part.add("Gather", flat, part.constant(border, np.int64), axis=1)
    quarter = len(border) // 4
    background = part.mean_of_ranks(edge, len(border), quarter, len(border) - quarter)
    deviation = part.add("Sub", flat, background)
    disk = disk_indices(spec.size, spec.disk)
    centre = part.add("Gather", deviation, part.constant(disk, np.int64), axis=1)
    low, high = contrast_ranks(spec, len(disk))
    unit = part.mean_of_ranks(part.add("Abs", centre), len(disk), low, high + 1)
    floor = part.add("Mul", part.add("Abs", background), part.constant(spec.floor, np.float32))
    unit = part.add("Max", unit, floor, part.constant(_MIN_UNIT, np.float32))
    factor = part.add("Div", part.constant(spec.gain, np.float32), unit)
    level = part.constant(BACKGROUND_LEVEL, np.float32)
    levels = part.add("Round", part.add("Add", part.add("Mul", deviation, factor), level))
    ends = [part.constant(end, np.float32) for end in (0, 255)]
    pixels = part.add("Cast", part.add("Clip", levels, *ends), to=TensorProto.UINT8)
    side = part.constant([-1, 1, spec.size, spec.size], np.int64)
    part.add("Reshape", pixels, side, output=INPUT_NAME)
    return part


def _calibration(calibration: Calibration) -> _Part:
    part = _Part("calibrate")
    slope = part.constant(calibration.slope, np.float32)
    intercept = part.constant(calibration.intercept, np.float32)
    score = part.add("Add", part.add("Mul", OUTPUT_NAME, slope), intercept)
    single = part.add("Sigmoid", part.add("Reshape", score, part.constant([-1, 1], np.int64)))
    part.add("Identity", single, output=PROBABILITY_NAME)
    return part


def run_standalone(graph: bytes, crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities, (n, 1), that ONNX Runtime computes on the CPU."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs: NDArray[np.float32] = session.run([PROBABILITY_NAME], {CROP_NAME: crops})[0]
    return outputs
