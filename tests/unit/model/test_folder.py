from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from ctcedge.errors import ModelError
from ctcedge.model.folder import load_model, models_folder, shipped_models
from ctcedge.model.session import open_engine
from tests.helpers.disk_model import EditableModel, graph

PARITY = dict.fromkeys(
    ("auc", "auc_loss", "largest_difference", "mean_difference", "changed_calls", "flips"), 0.0
) | {"cells": 100}
RATE = {"value": 0.9, "low": 0.8, "high": 0.95}
POINT = {
    "aim": "to find them",
    "threshold": 0.3,
    "sensitivity": RATE,
    "false_calls_per_10000": {"value": 90, "low": 80, "high": 100},
    "false_calls_upper": 99,
    "ctcs": 100,
    "others": 2000,
    "samples": 12,
}


def edit_point(spec: dict[str, Any], **changes: object) -> None:
    spec["operating_points"]["screening"] = POINT | changes


def test_the_identity_is_the_hash_of_the_spec(model_folder: Path) -> None:
    model = load_model(model_folder)
    assert model.sha256 == hashlib.sha256((model_folder / "model.json").read_bytes()).hexdigest()
    assert model.spec.name == "disks"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(colour="red"), "unknown key 'colour'"),
        (lambda s: s.pop("prior"), "missing key 'prior'"),
        (lambda s: s["input"].update(mean=0.5), r"unknown key 'input\.mean'"),
        (lambda s: s["input"].pop("size"), r"missing key 'input\.size'"),
        (lambda s: s["input"].update(um_per_px=0), "'input.um_per_px' must be a number between"),
        (lambda s: s["decision"].update(review=[0.6, 0.7]), "review low <= threshold"),
        (lambda s: s["decision"].update(review=[0.4]), "'decision.review' must be a list of 2"),
        (lambda s: s["labels"].update(negative="normal"), r"'labels\.negative' must be one of"),
        (lambda s: s["graphs"].pop("int8"), "must contain 'int8'"),
        (lambda s: s["graphs"].update(int4=s["graphs"]["int8"]), "unknown name 'int4' in 'graphs'"),
        (lambda s: s["graphs"]["int8"].update(file="../x.onnx"), "plain file name"),
        (lambda s: s["graphs"]["int8"].update(file="/etc/passwd"), "plain file name"),
        (lambda s: s["graphs"]["int8"].update(file=""), "plain file name"),
        (lambda s: s["graphs"]["int8"].update(file="x\0"), "plain file name"),
        (lambda s: s["graphs"]["int8"].update(file="\ud800"), "plain file name"),
        (lambda s: s["graphs"]["int8"].update(sha256="ABC"), "64 hexadecimal digits"),
        (
            lambda s: s["graphs"]["int8"].update(bytes=2**40),
            "'graphs.int8.bytes' must be a whole number between 0",
        ),
        (lambda s: s.update(name="\x1b[31m"), "printable"),
        (lambda s: s.update(version="\ud800"), "printable"),
        (
            lambda s: s["input"].update(um_per_px=1e-300),
            r"'input\.um_per_px' must be a number between",
        ),
        (
            lambda s: s["input"].update(gain=1e308),
            r"'input\.gain' must be a number above 0 and at most 10,000",
        ),
        (lambda s: s["input"].update(disk=0.001), "input: 'disk' must span at least 2 pixels"),
        (
            lambda s: s["input"].update(floor=1e308),
            r"'input\.floor' must be a number between 0 and 100, not 1e\+308",
        ),
        (lambda s: s.update(prior=1), "'prior' must be a number above 0 and below 1, not 1"),
        (lambda s: s.update(schema="ctcedge/model/2"), "'schema' must be one of"),
        (lambda s: s.update(version=1), "'version' must be text"),
        (lambda s: s.update(opset="20"), "'opset' must be a whole number"),
        (lambda s: s["input"].update(um_per_px=None), "either 'um_per_px' or 'crop_px'"),
        (lambda s: s["input"].update(crop_px=1.0), "either 'um_per_px' or 'crop_px'"),
        (
            lambda s: s["input"].update(um_per_px=None, crop_px=1e-9),
            r"'input\.crop_px' must be a number between",
        ),
        (lambda s: s.update(parity={"int4": PARITY}), "unknown name 'int4' in 'parity'"),
        (lambda s: s.update(parity={"int8": PARITY | {"f1": 1}}), r"key 'parity\.int8\.f1'"),
        (
            lambda s: s["operating_points"].pop("balanced"),
            "must contain screening, balanced, confirm",
        ),
        (lambda s: s["operating_points"].update(best=None), "unknown name 'best'"),
        (
            lambda s: edit_point(s, threshold=1.1),
            r"'operating_points\.screening\.threshold' must be a number between",
        ),
        (lambda s: edit_point(s, aim="\x1b[31m"), "'aim' must be printable"),
        (
            lambda s: edit_point(s, false_calls_upper=10_001),
            "false_calls_upper' must be a number between 0 and 10,000, not 10001",
        ),
        (
            lambda s: edit_point(s, sensitivity={"value": 0.9, "low": 0.95, "high": 1}),
            "0 <= low <= value <= high",
        ),
        (
            lambda s: edit_point(s, sensitivity={"value": 0.9, "low": 0.8, "high": 1.5}),
            "'sensitivity' must lie between",
        ),
        (lambda s: s.update(features={"file": "x"}), r"missing key 'features\.sha256'"),
        (
            lambda s: s["calibration"].update(slope=float("inf")),
            "'calibration.slope' must be a fin",
        ),
        (lambda s: s["calibration"].update(intercept=1e300), "a finite number, not 1e\\+300"),
        (lambda s: s["golden"].update(tolerance=float("nan")), "between 0 and 1, not nan"),
        (lambda s: s.update(opset=2**70), "'opset' must be a whole number between"),
        (lambda s: s.update(training="x" * 10_001), "'training' must be text of at most 10,000"),
        (lambda s: s["graphs"]["int8"].update(file="x.onnx\n"), "plain file name"),
    ],
)
def test_a_wrong_spec_is_explained(
    model_copy: EditableModel, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    points = {"screening": POINT, "balanced": None, "confirm": None}
    model_copy.edit(lambda spec: spec.update(operating_points=points))
    load_model(model_copy.folder)
    model_copy.edit(change)
    with pytest.raises(ModelError, match=message) as error:
        load_model(model_copy.folder)
    assert "model.json" in str(error.value)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff\xfe", b'{"a":' * 5000, b'{"prior": 1' + b"0" * 5000 + b"}"]
)
def test_a_spec_that_is_no_spec(model_copy: EditableModel, data: bytes) -> None:
    (model_copy.folder / "model.json").write_bytes(data)
    with pytest.raises(ModelError, match=r"model\.json"):
        load_model(model_copy.folder)


def test_a_folder_without_spec(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(tmp_path)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ModelError, match="no model folder or shipped model 'nothing'"):
        load_model("nothing")


def test_a_changed_graph_is_refused(model_copy: EditableModel) -> None:
    path = model_copy.folder / "model.int8.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ModelError, match="SHA-256 differs"):
        load_model(model_copy.folder).read_graph("int8")


def test_a_missing_graph_is_refused(model_copy: EditableModel) -> None:
    (model_copy.folder / "model.int8.onnx").unlink()
    with pytest.raises(ModelError, match="copy the model folder again"):
        load_model(model_copy.folder).read_graph("int8")


def _cut(path: Path) -> None:
    path.unlink()
    path.touch()


def _sparse(path: Path) -> None:
    os.truncate(path, 2**40)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("spoil", [_cut, _sparse, _pipe, _endless])
def test_what_is_no_model_file_is_neither_waited_for_nor_read_whole(
    model_copy: EditableModel, spoil: Callable[[Path], None]
) -> None:
    spoil(model_copy.folder / "model.int8.onnx")
    with pytest.raises(ModelError, match="not the file"):
        load_model(model_copy.folder).read_graph("int8")
    spoil(model_copy.folder / "model.json")
    with pytest.raises(ModelError, match=r"model\.json"):
        load_model(model_copy.folder)


def test_a_model_file_may_be_a_link_to_the_pinned_content(
    model_copy: EditableModel, tmp_path: Path
) -> None:
    path = model_copy.folder / "model.int8.onnx"
    stored = path.rename(tmp_path / "stored")
    path.symlink_to(stored)
    assert load_model(model_copy.folder).read_graph("int8") == stored.read_bytes()


def test_a_variant_that_the_model_lacks(model_folder: Path) -> None:
    with pytest.raises(ModelError, match="has no fp32 graph; it has int8, fp16"):
        load_model(model_folder).read_graph("fp32")


def test_external_data_is_refused(model_copy: EditableModel, tmp_path: Path) -> None:
    model = onnx.load_from_string(graph())
    onnx.save_model(
        model,
        tmp_path / "external.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    assert (tmp_path / "weights.bin").exists()
    model_copy.replace("model.int8.onnx", (tmp_path / "external.onnx").read_bytes())
    with pytest.raises(ModelError, match="another file"):
        load_model(model_copy.folder).read_graph("int8")


def test_shipped_models_load() -> None:
    if not shipped_models():
        pytest.skip(f"no model in {models_folder()}: this checkout has none yet")
    assert load_model().spec.name == shipped_models()[0]
    for name in shipped_models():
        model = load_model(name)
        assert model.spec.name == name
        for variant in model.spec.graphs:
            model.read_graph(variant)


def test_a_model_with_a_graph_for_tensorrt_loads(model_copy: EditableModel) -> None:
    model_copy.edit(
        lambda spec: (
            spec["graphs"].update({"int8-symmetric": spec["graphs"]["int8"]})
            or spec["parity"].update({"int8-symmetric": PARITY})
        )
    )
    model = load_model(model_copy.folder)
    assert "int8-symmetric" in model.spec.graphs
    assert open_engine(model, "cpu").variant == "int8"


def test_a_spec_from_before_operating_points_loads(model_copy: EditableModel) -> None:
    def age(spec: dict[str, Any]) -> None:
        for key in ("parity", "operating_points", "features", "training_table"):
            del spec[key]
        del spec["input"]["crop_px"]

    model_copy.edit(age)
    spec = load_model(model_copy.folder).spec
    assert spec.operating_points == spec.parity == {}
    assert spec.features is spec.training_table is None


@pytest.mark.parametrize("name", ["features", "training_table"])
def test_the_other_files_are_checked_too(model_copy: EditableModel, name: str) -> None:
    path = model_copy.folder / f"{name}.npz"
    path.write_bytes(b"whole")
    pin = {"file": path.name, "sha256": hashlib.sha256(b"whole").hexdigest(), "bytes": 5}
    model_copy.edit(lambda spec: spec.update({name: pin}))
    model = load_model(model_copy.folder)
    model.check_files()
    path.write_bytes(b"other")
    with pytest.raises(ModelError, match="SHA-256 differs"):
        model.check_files()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_spec_that_an_editor_saved_again_is_read(
    model_copy: EditableModel, encoding: str
) -> None:
    path = model_copy.folder / "model.json"
    path.write_bytes(path.read_bytes().decode().encode(encoding))
    assert load_model(model_copy.folder).spec.name == "disks"
    path.write_bytes(path.read_bytes().decode(encoding).replace("disks", "Müller").encode("cp1252"))
    with pytest.raises(ModelError, match=r"line \d+ is not UTF-8 .*Müller"):
        load_model(model_copy.folder)
