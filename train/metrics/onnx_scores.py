"""Run an exported graph with ONNX Runtime on the CPU: uint8 inputs, logits as output."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ctcedge.classification.decision import probability
from ctcedge.model.spec import INPUT_NAME, OUTPUT_NAME, Calibration

from ..util.batching import batches


def run_graph(
    graph: bytes, inputs: NDArray[np.uint8], output: str = OUTPUT_NAME, batch_size: int = 64
) -> NDArray[np.float32]:
    """Return one output, (n, ...), such as the logits, (n,), of (n, size, size) inputs."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs = [
        session.run([output], {INPUT_NAME: part[:, None]})[0]
        for part in batches(inputs, batch_size)
    ]
    return np.concatenate(outputs)


def probabilities(logits: NDArray[np.float32], calibration: Calibration) -> NDArray[np.float64]:
    """Return the runtime's probabilities, (n,), for logits, (n,)."""
    return np.array([probability(float(logit), calibration) for logit in logits])
