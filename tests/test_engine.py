from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from disks import SIZE, EditableModel, graph

from ctcedge import engine
from ctcedge.classifier import Classifier
from ctcedge.engine import nvidia_driver_problem, open_engine
from ctcedge.errors import ModelError, ProviderError
from ctcedge.model import load_model

without_gpu = pytest.mark.skipif(
    nvidia_driver_problem() is None, reason="this machine has an NVIDIA GPU"
)


@without_gpu
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_an_error(model_folder: Path, provider: str) -> None:
    with pytest.raises(ProviderError, match="--provider cpu"):
        open_engine(load_model(model_folder), provider)  # type: ignore[arg-type]


@without_gpu
def test_auto_takes_the_cpu_and_says_why(model_folder: Path) -> None:
    opened = open_engine(load_model(model_folder))
    assert (opened.provider, opened.variant) == ("cpu", "int8")
    assert opened.why.startswith("CUDA is not usable here: ")
    assert "\n" not in opened.why


def test_a_session_that_comes_up_elsewhere_is_no_cuda_session(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnCpu:
        def __init__(self, *arguments: object, **options: object) -> None: ...

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(engine, "_need_gpu", lambda provider: None)
    monkeypatch.setattr(engine.ort, "InferenceSession", OnCpu)
    with pytest.raises(ProviderError, match="could not load its cuda libraries"):
        open_engine(load_model(model_folder), "cuda")


def test_a_model_without_a_gpu_graph(model_copy: EditableModel) -> None:
    model_copy.edit(lambda spec: spec["graphs"].pop("fp16"))
    model = load_model(model_copy.folder)
    with pytest.raises(ProviderError, match="no fp16 or fp32 graph"):
        open_engine(model, "cuda")
    assert "no fp16 or fp32 graph" in open_engine(model).why


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot run the graph"),
        (b"no graph at all", "cannot run the graph"),
        (graph(size=32), "wanted are"),
        (graph(output="score"), "wanted are"),
        (graph(keep=True), "wanted are"),
    ],
    ids=["empty", "text", "input size", "output name", "output shape"],
)
def test_an_unfit_graph_is_refused(model_copy: EditableModel, data: bytes, message: str) -> None:
    model_copy.replace("model.int8.onnx", data)
    with pytest.raises(ModelError, match=message):
        open_engine(load_model(model_copy.folder), "cpu")


def test_batches_of_any_size_give_the_same_logits(classifier: Classifier) -> None:
    inputs = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE), dtype=np.uint8)
    together = classifier.engine.logits(inputs)
    assert together.shape == (5,)
    assert together.dtype == np.float32
    alone = np.concatenate([classifier.engine.logits(each[None]) for each in inputs])
    np.testing.assert_allclose(together, alone, atol=1e-5)
