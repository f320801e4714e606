"""Options of ONNX Runtime's CUDA provider, and padding of batches for GPUs.

The GPU may be shared with the instrument's own software.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
