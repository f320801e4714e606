"""Options of ONNX Runtime's CUDA and TensorRT providers, and padding of batches for GPUs.

The GPU may be shared with the instrument's own software.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctcedge.fs.paths import cache_folder
from ctcedge.model.spec import INPUT_NAME

MAX_BATCH = 256


def pad_to_bucket(inputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pad a batch to a power of two by repeating its last crop.

    Convolution algorithms are selected again for each new shape, so there should be few shapes.

    Args:
        inputs: (n, size, size), n at least 1.
    """
    missing = (1 << (len(inputs) - 1).bit_length()) - len(inputs)
    return np.concatenate((inputs, np.repeat(inputs[-1:], missing, axis=0)))


def cuda_options(memory_mb: int | None) -> dict[str, str]:
    """Return the options of the CUDA provider.

    Args:
        memory_mb: limit of its memory arena, MiB; None for no limit.
    """
    # The arena grows by the requested size, not by powers of two, and leaves room for others.
    options = {"arena_extend_strategy": "kSameAsRequested"}
    if memory_mb is not None:
        options["gpu_mem_limit"] = str(memory_mb * 2**20)
    return options


def tensorrt_options(
    model_sha256: str, size: int, variant: str, memory_mb: int | None
) -> dict[str, str]:
    """Return the options of the TensorRT provider.

    Its engines take minutes to build and are cached by model.

    Args:
        model_sha256: hash of the model.
        size: side of the model's input, pixels.
        variant: graph of the model.
        memory_mb: memory limit for building and running, MiB; None for no limit.
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
    for name, crops in (("min", 1), ("opt", MAX_BATCH), ("max", MAX_BATCH)):
        options[f"trt_profile_{name}_shapes"] = f"{INPUT_NAME}:{crops}x1x{size}x{size}"
    if memory_mb is not None:
        options["trt_max_workspace_size"] = str(memory_mb * 2**20)
    return options
