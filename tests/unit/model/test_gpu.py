from __future__ import annotations

import numpy as np
import pytest

from ctcedge.model import gpu


@pytest.mark.parametrize(("crops", "filled"), [(1, 1), (2, 2), (3, 4), (37, 64), (256, 256)])
def test_batches_are_filled_up_to_few_shapes(crops: int, filled: int) -> None:
    inputs = np.arange(crops, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    found = gpu.pad_to_bucket(inputs)
    assert found.shape == (filled, 4, 4)
    assert (found[:crops] == inputs).all()
    assert (found[crops:] == inputs[-1]).all()


def test_the_arena_takes_what_it_needs_and_keeps_to_the_limit() -> None:
    assert gpu.cuda_options(None) == {"arena_extend_strategy": "kSameAsRequested"}
    assert gpu.cuda_options(512)["gpu_mem_limit"] == str(512 * 1024 * 1024)
