from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ctcedge.classification.golden import read_golden, verify
from ctcedge.errors import ModelError
from ctcedge.model.folder import load_model
from tests.helpers.disk_model import EditableModel


def rewritten(copy: EditableModel, change: Callable[[dict[str, Any]], object]) -> None:
    with np.load(copy.folder / "golden.npz") as stored:
        arrays = dict(stored)
    change(arrays)
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)
    copy.replace("golden.npz", data.getvalue())


def test_a_whole_model_verifies(model_copy: EditableModel) -> None:
    assert verify(load_model(model_copy.folder)) <= 0.001


def test_three_different_answers_are_known(model_copy: EditableModel) -> None:
    golden = read_golden(load_model(model_copy.folder))
    assert len(golden.crops) == 3
    assert set(golden.probabilities) == {"int8", "fp16"}
    assert np.ptp(golden.probabilities["int8"]) > 0.5


@pytest.mark.parametrize("name", ["model.int8.onnx", "model.fp16.onnx", "golden.npz", "README.md"])
@pytest.mark.parametrize("missing", [True, False])
def test_every_file_is_pinned(model_copy: EditableModel, name: str, missing: bool) -> None:
    path = model_copy.folder / name
    if missing:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ModelError, match="copy the model folder again"):
        verify(load_model(model_copy.folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(probability_int8=a["probability_int8"] + 0.002), "differ by 0.002"),
        (lambda a: a.update(probability_int8=a["probability_int8"] * np.nan), "differ"),
        (lambda a: a.pop("probability_int8"), "no golden outputs for int8"),
        (lambda a: a.pop("crops"), "crops"),
        (lambda a: a.update(crops=a["crops"].astype(float)), "uint8"),
        (lambda a: a.update(crops=a["crops"][:0]), "uint8"),
        (lambda a: a.update(um_per_px=a["um_per_px"][:2]), "each crop needs"),
        (lambda a: a.update(crops=np.array([None])), "golden.npz"),
        (lambda a: a.update(crops=a["crops"][:, :7]), "at least 8 pixels"),
        (lambda a: a.update(um_per_px=a["um_per_px"] * np.nan), "um/px"),
        (lambda a: a.update(um_per_px=a["um_per_px"] * 1j), "golden.npz"),
        (lambda a: a.update(more=np.zeros(2**27, np.uint8)), "when unpacked"),
    ],
)
def test_wrong_golden_outputs_are_found(
    model_copy: EditableModel, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    rewritten(model_copy, change)
    with pytest.raises(ModelError, match=message):
        verify(load_model(model_copy.folder))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"text"])
def test_a_file_that_is_no_npz(model_copy: EditableModel, data: bytes) -> None:
    model_copy.replace("golden.npz", data)
    with pytest.raises(ModelError, match=r"golden\.npz"):
        verify(load_model(model_copy.folder))


def test_a_tiny_difference_is_tolerated(model_copy: EditableModel) -> None:
    rewritten(model_copy, lambda a: a.update(probability_int8=a["probability_int8"] + 0.0005))
    assert verify(load_model(model_copy.folder)) == pytest.approx(0.0005, abs=1e-5)
