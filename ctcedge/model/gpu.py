"""How a session shares a GPU that is not ours alone: the instrument's own software may use it too.

Options as ONNX Runtime documents them for its CUDA and TensorRT providers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctcedge.fs.paths import cache_folder
from ctcedge.model.spec import INPUT_NAME

LARGEST_BATCH = 256


def pad_to_bucket(inputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the last crop of a batch until their number is a power of two.

    Convolution algorithms are chosen anew for every shape that comes, so that few should.

    Args:
        inputs: (n, size, size), n at least 1.
    """
    missing = (1 << (len(inputs) - 1).bit_length()) - len(inputs)
    return np.concatenate((inputs, np.repeat(inputs[-1:], missing, axis=0)))


def cuda_options(memory_mb: int | None) -> dict[str, str]:
    """Options of the CUDA provider.

    Args:
        memory_mb: most memory that its arena may take, MiB; None for no limit.
    """
    # The arena grows by what is needed, not by powers of two, and gives way to others.
    options = {"arena_extend_strategy": "kSameAsRequested"}
    if memory_mb is not None:
        options["gpu_mem_limit"] = str(memory_mb * 2**20)
    return options


def tensorrt_options(
    model_sha256: str, size: int, variant: str, memory_mb: int | None
) -> dict[str, str]:
    """Options of the TensorRT provider, whose engines take minutes to build and are kept.

    Args:
        model_sha256: of the model, for which engines are kept apart.
        size: side of its input, pixels.
        variant: the graph that it runs.
        memory_mb: most memory to build and run with, MiB; None for no limit.
    """
    cache = str(cache_folder() / "tensorrt" / model_sha256[:16])
    options = {
        "trt_fp16_enable": "1",
        "trt_int8_enable": "1" if variant.startswith("int8") else "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": cache,
    }
    for name, crops in (("min", 1), ("opt", LARGEST_BATCH), ("max", LARGEST_BATCH)):
        options[f"trt_profile_{name}_shapes"] = f"{INPUT_NAME}:{crops}x1x{size}x{size}"
    if memory_mb is not None:
        options["trt_max_workspace_size"] = str(memory_mb * 2**20)
    return options
