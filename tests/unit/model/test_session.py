from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from onnx import helper

from ctcedge.classification.classifier import Classifier
from ctcedge.errors import ModelError, ProviderError
from ctcedge.model import session as engine
from ctcedge.model.folder import load_model
from ctcedge.model.session import nvidia_driver_problem, open_engine
from tests.helpers.disk_model import SIZE, EditableModel, graph


def explained(features: str = "columns", activation: str = "map") -> bytes:
    """The graph of disks, which also gives its columns' means, and its map; or what is neither."""
    model = onnx.load_from_string(graph())
    axes = onnx.numpy_helper.from_array(np.array([1]), "channel")
    rows = onnx.numpy_helper.from_array(np.array([1, 2]), "rows")
    model.graph.initializer.extend([axes, rows])
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["size", "rows"], ["columns"], keepdims=0),
            helper.make_node("Squeeze", ["size", "channel"], ["map"]),
            helper.make_node("Identity", [features], ["features"]),
            helper.make_node("Identity", [activation], ["activation"]),
        ]
    )
    for name in ("features", "activation"):
        model.graph.output.append(helper.make_empty_tensor_value_info(name))
    data: bytes = model.SerializeToString()
    return data


without_gpu = pytest.mark.skipif(
    nvidia_driver_problem() is None, reason="this machine has an NVIDIA GPU"
)


@without_gpu
def test_a_gpu_that_is_not_there_is_an_error(model_folder: Path) -> None:
    with pytest.raises(ProviderError, match="--provider cpu"):
        open_engine(load_model(model_folder), "cuda")


@without_gpu
def test_auto_takes_the_cpu_and_says_why(model_folder: Path) -> None:
    opened = open_engine(load_model(model_folder))
    assert (opened.provider, opened.variant) == ("cpu", "int8")
    assert opened.reason.startswith("CUDA is not usable: ")
    assert "\n" not in opened.reason


def test_a_session_that_comes_up_elsewhere_is_no_cuda_session(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnCpu:
        def __init__(self, *arguments: object, **options: object) -> None: ...

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(engine, "_require_gpu", lambda provider: None)
    monkeypatch.setattr(engine.ort, "InferenceSession", OnCpu)
    with pytest.raises(ProviderError, match="could not load its cuda libraries"):
        open_engine(load_model(model_folder), "cuda")


def test_a_model_without_a_gpu_graph(model_copy: EditableModel) -> None:
    model_copy.edit(lambda spec: spec["graphs"].pop("fp16"))
    model = load_model(model_copy.folder)
    with pytest.raises(ProviderError, match="no fp16 or fp32 graph"):
        open_engine(model, "cuda")
    assert "no fp16 or fp32 graph" in open_engine(model).reason


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot run the graph"),
        (b"no graph at all", "it is no ONNX file; copy the model folder again"),
        (graph(size=32), "are expected"),
        (graph(output="score"), "are expected"),
        (graph(keep=True), "are expected"),
        (explained(features="size"), "one finite row of features for each crop"),
        (explained(activation="size"), "one finite activation map for each crop"),
    ],
    ids=["empty", "text", "input size", "output name", "output shape", "features", "activation"],
)
def test_an_unfit_graph_is_refused(model_copy: EditableModel, data: bytes, message: str) -> None:
    model_copy.replace("model.int8.onnx", data)
    with pytest.raises(ModelError, match=message):
        open_engine(load_model(model_copy.folder), "cpu")


def test_batches_of_any_size_give_the_same_logits(classifier: Classifier) -> None:
    inputs = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE), dtype=np.uint8)
    together = classifier.engine.infer(inputs).logits
    assert together.shape == (5,)
    assert together.dtype == np.float32
    alone = np.concatenate([classifier.engine.infer(each[None]).logits for each in inputs])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_graph_that_explains_nothing(classifier: Classifier) -> None:
    inputs = np.full((3, SIZE, SIZE), 128, np.uint8)
    assert classifier.engine.infer(inputs).features is None
    assert classifier.engine.activation(inputs) is None


def test_features_come_with_the_logits_and_maps_when_asked_for(model_copy: EditableModel) -> None:
    model_copy.replace("model.int8.onnx", explained())
    opened = open_engine(load_model(model_copy.folder), "cpu")
    inputs = np.full((3, SIZE, SIZE), 128, np.uint8)
    inputs[1, :, 32:] = 224  # two units of contrast
    answers = opened.infer(inputs)
    assert answers.features is not None
    assert answers.features.shape == (3, SIZE)
    np.testing.assert_allclose(answers.features.mean(axis=1) * 36, answers.logits + 36 * 0.11, 1e-5)
    maps = opened.activation(inputs)
    assert maps is not None
    assert maps.shape == (3, SIZE, SIZE)
    assert maps[1, 8, 8] == 0
    assert maps[1, 8, 48] == pytest.approx(2)
