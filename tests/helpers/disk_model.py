"""A model without training: its network sees the size of disks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
from msgspec import structs
from onnx import TensorProto, helper

from ctcedge.classification.classifier import Classifier
from ctcedge.images.preprocess import InputSpec
from ctcedge.model.folder import Model
from ctcedge.model.spec import (
    Calibration,
    DecisionThresholds,
    Golden,
    Labels,
    ModelSpec,
    PinnedFile,
)
from ctcedge.records import plain
from tests.helpers import drawn_cells

SIZE = 64


def graph(size: int = SIZE, output: str = "logit", opset: int = 20, keep: bool = False) -> bytes:
    """A network whose logit grows with the area of the cell: 36 x (mean deviation - 0.11)."""
    constants = {
        "background": 128.0,
        "unit": 1 / 48,
        "slope": 36.0,
        "area": 0.11,
    }
    weights = [helper.make_tensor(k, TensorProto.FLOAT, [], [v]) for k, v in constants.items()]
    blur = np.full((1, 1, 3, 3), 1 / 9, np.float32)
    weights.append(onnx.numpy_helper.from_array(blur, "blur"))
    weights.append(helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]))
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "background"], ["deviation"]),
        helper.make_node("Mul", ["deviation", "unit"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "blur"], ["blurred"], pads=[1, 1, 1, 1]),
        helper.make_node("Abs", ["blurred"], ["size"]),
        helper.make_node("ReduceMean", ["size", "axes"], ["mean"], keepdims=int(keep)),
        helper.make_node("Sub", ["mean", "area"], ["above"]),
        helper.make_node("Mul", ["above", "slope"], [output]),
    ]
    made = helper.make_graph(
        nodes,
        "tests",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 1, size, size])],
        [
            helper.make_tensor_value_info(
                output, TensorProto.FLOAT, ["n", 1, 1, 1] if keep else ["n"]
            )
        ],
        weights,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def _pin(path: Path) -> PinnedFile:
    data = path.read_bytes()
    return PinnedFile(path.name, hashlib.sha256(data).hexdigest(), len(data))


def build(folder: Path) -> None:
    folder.mkdir()
    for variant in ("int8", "fp16"):
        (folder / f"model.{variant}.onnx").write_bytes(graph())
    (folder / "README.md").write_text("# disks 1.0.0\n\nFor tests: sees disks.\n", encoding="utf-8")
    golden = folder / "golden.npz"
    golden.write_bytes(b"")
    spec = ModelSpec(
        schema="ctcedge/model/1",
        name="disks",
        version="1.0.0",
        training="drawn disks",
        demonstration=True,
        labels=Labels("CTC", "leukocyte"),
        input=InputSpec(SIZE, drawn_cells.UM_PER_PX, 0.1, 0.5, (90.0, 99.0), 0.01, 48.0),
        calibration=Calibration(1.0, 0.0),
        prior=0.5,
        decision=DecisionThresholds(0.5, (0.4, 0.6)),
        opset=20,
        graphs={v: _pin(folder / f"model.{v}.onnx") for v in ("int8", "fp16")},
        golden=Golden(_pin(golden), 0.001),
        card=_pin(folder / "README.md"),
    )
    model = Model(folder, spec, "")
    crops = np.stack(
        [drawn_cells.cell(d) for d in (drawn_cells.LEUKOCYTE, drawn_cells.REVIEW, drawn_cells.CTC)]
    )
    verdicts = Classifier.open(model, "cpu").classify(list(crops), drawn_cells.UM_PER_PX)
    probabilities = np.array([verdict.probability for verdict in verdicts])
    np.savez(
        golden,
        crops=crops,
        um_per_px=np.full(3, drawn_cells.UM_PER_PX),
        probability_int8=probabilities,
        probability_fp16=probabilities,
    )
    spec = structs.replace(spec, golden=Golden(_pin(golden), 0.001))
    (folder / "model.json").write_text(json.dumps(plain(spec)), encoding="utf-8")


class EditableModel:
    """A copy of the model folder with a spec to change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        path = self.folder / "model.json"
        spec = json.loads(path.read_bytes())
        change(spec)
        path.write_text(json.dumps(spec), encoding="utf-8")

    def replace(self, name: str, data: bytes) -> None:
        """Replace a pinned file and its pin."""
        (self.folder / name).write_bytes(data)
        pin = plain(_pin(self.folder / name))

        def change(spec: dict[str, Any]) -> None:
            for owner, key in (
                *((spec["graphs"], variant) for variant in spec["graphs"]),
                (spec["golden"], "file"),
                (spec, "card"),
            ):
                if owner[key]["file"] == name:
                    owner[key] = pin

        self.edit(change)
