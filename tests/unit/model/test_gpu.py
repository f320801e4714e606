from __future__ import annotations

from pathlib import Path

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


def test_engines_are_kept_for_each_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CTCEDGE_STATE", str(tmp_path))
    one = gpu.tensorrt_options("a" * 64, 96, "fp16", 512)
    other = gpu.tensorrt_options("b" * 64, 96, "int8-symmetric", None)
    assert one["trt_engine_cache_path"] != other["trt_engine_cache_path"]
    assert one["trt_engine_cache_path"].startswith(str(tmp_path))
    assert (one["trt_int8_enable"], other["trt_int8_enable"]) == ("0", "1")
    assert one["trt_profile_max_shapes"] == "image:256x1x96x96"
    assert one["trt_max_workspace_size"] == str(512 * 1024 * 1024)
    assert "trt_max_workspace_size" not in other
