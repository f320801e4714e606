"""Export a PyTorch network as ONNX graphs in floating point.

All graphs take uint8 inputs, so that the runtime copies a quarter of the bytes, and scale them
inside. Their outputs are the logit, the features, for out-of-distribution detection, and the
class-activation map, which shows where in the image the logit comes from (Zhou et al., 2016).
Where the network averages mirrored and rotated views of an image, so does the graph.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from ctcedge.images.preprocess import BACKGROUND_LEVEL, InputSpec
from ctcedge.model.spec import ACTIVATION_NAME, FEATURES_NAME, INPUT_NAME, OUTPUT_NAME

from ..fit.networks import Classifier

OPSET = 20
SCALED = "scaled"
OUTPUTS = (OUTPUT_NAME, FEATURES_NAME, ACTIVATION_NAME)

_IMAGE_AXES, _MAP_AXES = (3, 2), (2, 1)
"""Of width and height, in (n, 1, height, width) images and (n, height, width) maps."""


class _Explained(nn.Module):
    """One view of an image: its logit, features and class-activation map."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, scaled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (n, 1, side, side) contrast units to (n,), (n, d) and (n, h, w).

        The mean of the map, plus the last layer's bias, is the logit.
        """
        maps, head = self.network.maps(scaled), self.network.head
        features = maps.mean((2, 3))
        activation = F.conv2d(maps, head.weight[:, :, None, None])
        return head(features).squeeze(1), features, activation.squeeze(1)


def float_graph(network: Classifier, spec: InputSpec) -> onnx.ModelProto:
    """Export one view of the network: `scaled`, float32 contrast units, to `OUTPUTS`.

    Batch norms are folded into the convolutions before them; names are the network's own.
    """
    example = torch.zeros(2, 1, spec.size, spec.size)
    with _quiet_exporter():
        program = torch.onnx.export(
            _Explained(network).eval(),
            (example,),
            dynamo=True,
            input_names=[SCALED],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the ONNX exporter returned nothing")
    return _tidy(program.model_proto)


def fp32_graph(body: onnx.ModelProto, spec: InputSpec, views: int) -> bytes:
    """Return the FP32 graph: the float graph with its uint8 input and its views."""
    return finish(with_scaled_input(copied(body), spec), views)


def fp16_graph(body: onnx.ModelProto, spec: InputSpec, views: int) -> bytes:
    """Return the FP16 graph: weights and arithmetic in float16, outputs in float32."""
    model = with_scaled_input(copied(body), spec, TensorProto.FLOAT16)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for name in OUTPUTS:
        half = f"{name}_half"
        _rename(model.graph, name, half)
        cast = helper.make_node("Cast", [half], [name], name=f"{half}_cast", to=TensorProto.FLOAT)
        model.graph.node.append(cast)
    return finish(model, views)


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def with_scaled_input(
    model: onnx.ModelProto, spec: InputSpec, element: int = TensorProto.FLOAT
) -> onnx.ModelProto:
    """Replace the input by `image`, uint8, with `scaled` = (image - background) / gain."""
    shape: list[str | int | None] = ["batch", 1, spec.size, spec.size]
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, shape)
    model.graph.input[0].CopyFrom(image)
    kind = helper.tensor_dtype_to_np_dtype(element)
    constants = {"background": BACKGROUND_LEVEL, "unit": 1 / spec.gain}
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, kind), name))
    _prepend(
        model.graph,
        [
            helper.make_node("Cast", [INPUT_NAME], ["levels"], name="levels", to=element),
            helper.make_node("Sub", ["levels", "background"], ["deviation"], name="deviation"),
            helper.make_node("Mul", ["deviation", "unit"], [SCALED], name=SCALED),
        ],
    )
    return model


def finish(model: onnx.ModelProto, views: int) -> bytes:
    """Add views to a graph of `image`, check it and return its bytes.

    Equal graphs give equal bytes.
    """
    graph = model.graph
    _average_views(graph, views)
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    del model.metadata_props[:]
    del graph.value_info[:]
    model.producer_name, model.producer_version = "ctcedge", ""
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _average_views(graph: onnx.GraphProto, views: int) -> None:
    """Apply a graph to several views of each image, as `fit.networks.stack_views` makes them.

    The outputs are means over the views; maps are first transformed back.
    """
    turns = (_mirror_width, _mirror_height, _transpose)[: views.bit_length() - 1]
    if not turns:
        return
    for name, value in (("last", -1), ("beyond_first", np.iinfo(np.int64).min), ("back", -1)):
        graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    for axis in sorted({*_IMAGE_AXES, *_MAP_AXES}):
        graph.initializer.append(numpy_helper.from_array(np.array([axis]), f"axis{axis}"))

    front: list[NodeProto] = []
    current = INPUT_NAME
    for turn in turns:
        copy = f"{turn.__name__.strip('_')}_copy"
        front.append(turn(current, copy, _IMAGE_AXES))
        front.append(_node("Concat", [current, copy], [f"{copy}_too"], axis=0))
        current = f"{copy}_too"
    _rename(graph, INPUT_NAME, current)
    _prepend(graph, front)

    for name in OUTPUTS:
        _rename(graph, name, f"{name}_views")
    for name in (OUTPUT_NAME, FEATURES_NAME):
        parts = [f"{name}_view{view}" for view in range(views)]
        graph.node.append(_node("Split", [f"{name}_views"], parts, axis=0, num_outputs=views))
        graph.node.append(_node("Mean", parts, [name]))
    current = f"{ACTIVATION_NAME}_views"
    for turn in reversed(turns):
        start = f"{ACTIVATION_NAME}_{turn.__name__.strip('_')}"
        plain, other, back, mean = (f"{start}_{part}" for part in ("of", "on", "back", "mean"))
        graph.node.append(_node("Split", [current], [plain, other], axis=0, num_outputs=2))
        graph.node.append(turn(other, back, _MAP_AXES))
        graph.node.append(_node("Mean", [plain, back], [mean]))
        current = mean
    graph.node[-1].output[0] = ACTIVATION_NAME


def _mirror_width(source: str, target: str, axes: tuple[int, int]) -> NodeProto:
    return _node("Slice", [source, "last", "beyond_first", f"axis{axes[0]}", "back"], [target])


def _mirror_height(source: str, target: str, axes: tuple[int, int]) -> NodeProto:
    return _node("Slice", [source, "last", "beyond_first", f"axis{axes[1]}", "back"], [target])


def _transpose(source: str, target: str, axes: tuple[int, int]) -> NodeProto:
    width, height = axes
    return _node("Transpose", [source], [target], perm=[*range(height), width, height])


def _node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes)


def _prepend(graph: onnx.GraphProto, nodes: list[NodeProto]) -> None:
    for node in reversed(nodes):
        graph.node.insert(0, node)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a tensor in all nodes; the graph's inputs and outputs keep their names."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def _tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the exporter's metadata, and name nodes after their layer."""
    graph = model.graph
    plain: Callable[[str], str] = lambda name: name.removeprefix("network.body.")  # noqa: E731
    renamed: dict[str, str] = {}
    for index, node in enumerate(graph.node):
        weight = node.input[1] if len(node.input) > 1 else ""
        name = plain(weight).removesuffix(".weight")
        if weight.endswith(".weight") and name not in renamed.values():
            node.name = name
        else:  # the exporter merges equal weights of layers
            node.name = f"{node.op_type.lower()}{index}"
        if node.output[0] not in OUTPUTS:
            renamed[node.output[0]] = node.name
    for tensor in graph.initializer:
        renamed[tensor.name] = plain(tensor.name).replace("weight_bias", "bias")
        tensor.name = renamed[tensor.name]
        del tensor.metadata_props[:]
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]
    for metadata in (graph.value_info, graph.metadata_props, model.metadata_props):
        del metadata[:]
    graph.name, graph.doc_string, model.doc_string = "ctc", "", ""
    return model


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide the exporter's warnings about missing torchvision and its own deprecated calls."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
