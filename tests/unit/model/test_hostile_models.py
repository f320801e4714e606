"""Model folders that were made to do harm: refused by path, in bounded time and memory."""

from __future__ import annotations

import itertools
import json
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ctcedge.classification.classifier import Classifier
from ctcedge.errors import ModelError
from ctcedge.model import limits
from ctcedge.model.folder import load_model
from ctcedge.model.limits import call_limited, check_operators
from ctcedge.model.session import open_engine
from tests.helpers.cli_runner import run
from tests.helpers.disk_model import SIZE, EditableModel, graph

ALL_AXES = ("every", TensorProto.INT64, [4], [0, 1, 2, 3])


def hostile(*nodes: Any, constants: tuple[Any, ...] = (), result: str = "harm") -> Any:
    """The graph of disks, whose logit also depends on the result of other operators."""
    model = onnx.load_from_string(graph())
    model.graph.node[-1].output[0] = "honest"
    zero = ("zero", TensorProto.FLOAT, [], [0.0])
    model.graph.initializer.extend([helper.make_tensor(*each) for each in (zero, *constants)])
    model.graph.node.extend(
        [
            *nodes,
            helper.make_node("Mul", [result, "zero"], ["nothing"]),
            helper.make_node("Add", ["honest", "nothing"], ["logit"]),
        ]
    )
    return model


def body(operator: str = "Add") -> Any:
    """The inside of a loop or a branch."""
    state = helper.make_tensor_value_info("state", TensorProto.FLOAT, None)
    again = helper.make_tensor_value_info("again", TensorProto.BOOL, [])
    return helper.make_graph(
        [
            helper.make_node("Identity", ["go on"], ["again"]),
            helper.make_node(operator, ["before", "before"], ["state"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, None),
        ],
        [again, state],
    )


def loop() -> Any:
    return helper.make_node("Loop", ["trips", "true", "mean"], ["harm"], body=body())


TRIPS = (("trips", TensorProto.INT64, [], [2**62]), ("true", TensorProto.BOOL, [], [True]))


def endless() -> bytes:
    data: bytes = hostile(loop(), constants=TRIPS).SerializeToString()
    return data


def hidden_loop() -> bytes:
    """A loop in a branch."""
    branch = helper.make_graph(
        [loop()], "branch", [], [helper.make_tensor_value_info("harm", TensorProto.FLOAT, None)]
    )
    chosen = helper.make_node("If", ["true"], ["out"], then_branch=branch, else_branch=branch)
    data: bytes = hostile(chosen, constants=TRIPS, result="out").SerializeToString()
    return data


def loop_in_function() -> bytes:
    model = hostile(helper.make_node("f", ["mean"], ["harm"], domain="own"))
    sets = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("own", "f", ["mean"], ["harm"], [loop()], sets))
    data: bytes = model.SerializeToString()
    return data


def huge(side: int) -> bytes:
    """A tensor of 4 side x side bytes, made of the image's mean."""
    data: bytes = hostile(
        helper.make_node("ReduceMean", ["size", "every"], ["one"]),
        helper.make_node("Expand", ["one", "shape"], ["large"]),
        helper.make_node("ReduceSum", ["large", "every"], ["harm"], keepdims=0),
        constants=(ALL_AXES, ("shape", TensorProto.INT64, [4], [1, 1, side, side])),
    ).SerializeToString()
    return data


def slow(nodes: int = 100_000) -> bytes:
    """More work than is waited for, in many operators."""
    names = ["blurred", *(f"blurred {number}" for number in range(nodes))]
    steps = [helper.make_node("Softmax", [old], [new]) for old, new in itertools.pairwise(names)]
    mean = helper.make_node("ReduceMean", [names[-1], "every"], ["harm"], keepdims=0)
    data: bytes = hostile(*steps, mean, constants=(ALL_AXES,)).SerializeToString()
    return data


def outputs_nan() -> bytes:
    root = helper.make_node("Sqrt", ["minus"], ["harm"])
    constants = (("minus", TensorProto.FLOAT, [], [-1.0]),)
    data: bytes = hostile(root, constants=constants).SerializeToString()
    return data


def always_two() -> bytes:
    """A graph that gives two numbers, however many crops there are."""
    model = onnx.load_from_string(graph())
    model.graph.node[-1].output[0] = "honest"
    scalars = (("zero", 0.0), ("two", 2.0))
    model.graph.initializer.extend(
        [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in scalars]
    )
    model.graph.initializer.extend(
        [helper.make_tensor(f"{n}", TensorProto.INT64, [], [n]) for n in (0, 1)]
    )
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["honest"], ["average"], keepdims=0),
            helper.make_node("Mul", ["average", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "two"], ["rows"]),
            helper.make_node("Cast", ["rows"], ["end"], to=TensorProto.INT64),
            helper.make_node("Range", ["0", "end", "1"], ["range"]),
            helper.make_node("Gather", ["honest", "range"], ["logit"]),
        ]
    )
    data: bytes = model.SerializeToString()
    return data


def external_data() -> bytes:
    model = onnx.load_from_string(graph())
    blur = next(each for each in model.graph.initializer if each.name == "blur")
    blur.ClearField("raw_data")
    blur.data_location = TensorProto.EXTERNAL
    blur.external_data.add(key="location", value="../../../etc/passwd")
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (endless, r"it has a loop \(Loop\), which is not accepted"),
        (hidden_loop, r"it has a loop \(Loop\)"),
        (loop_in_function, r"it has a loop \(Loop\)"),
        (outputs_nan, "one finite number for each crop"),
        (external_data, "keeps weights in another file"),
        (lambda: graph(opset=20).replace(b"\x10\x14", b"\x10\x7f"), "cannot run the graph"),
        (lambda: graph()[:-7], "no ONNX file"),
        (lambda: b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "no ONNX file"),
        (lambda: b"\x3b", "no ONNX file"),
        (lambda: b"\x3a", "no ONNX file"),
    ],
    ids=[
        "endless loop",
        "loop in a branch",
        "loop in a function",
        "NaN",
        "external data",
        "opset 127",
        "cut off",
        "endless number",
        "unknown kind",
        "no length",
    ],
)
def test_a_hostile_graph_is_refused_with_path_and_remedy(
    model_copy: EditableModel, make: Callable[[], bytes], message: str
) -> None:
    model_copy.replace("model.int8.onnx", make())
    with pytest.raises(ModelError, match=message) as error:
        open_engine(load_model(model_copy.folder), "cpu")
    assert str(model_copy.folder / "model.int8.onnx") in str(error.value)
    assert "; " in str(error.value)


def test_branches_are_accepted(model_copy: EditableModel) -> None:
    out = [helper.make_tensor_value_info("harm", TensorProto.FLOAT, None)]
    branch = helper.make_graph([helper.make_node("Abs", ["mean"], ["harm"])], "branch", [], out)
    chosen = helper.make_node("If", ["true"], ["out"], then_branch=branch, else_branch=branch)
    data = hostile(chosen, constants=TRIPS, result="out").SerializeToString()
    model_copy.replace("model.int8.onnx", data)
    assert open_engine(load_model(model_copy.folder), "cpu").provider == "cpu"


def test_graphs_in_graphs_are_followed_to_a_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MAX_DEPTH", 0)
    with pytest.raises(ModelError, match="nested too deeply"):
        check_operators(hidden_loop())


def test_a_graph_that_takes_too_long_is_ended(
    model_copy: EditableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_TIMEOUT_S", 0.01)
    model_copy.replace("model.int8.onnx", slow())
    with pytest.raises(
        ModelError, match=r"model\.int8\.onnx: .* takes longer than .* give another"
    ):
        open_engine(load_model(model_copy.folder), "cpu")


def test_a_call_that_cannot_be_ended_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_TIMEOUT_S", 0.01)
    monkeypatch.setattr(limits, "_GRACE_S", 0.01)
    end, cancelled = threading.Event(), []
    with pytest.raises(TimeoutError):
        call_limited(end.wait, lambda: cancelled.append(1), 0)
    assert cancelled == [1]
    end.set()


def test_an_interrupted_wait_cancels_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        call_limited(end.wait, end.set, 0)
    assert end.is_set()


def test_without_threads_the_call_is_made_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert call_limited(threading.get_ident, lambda: None, 0) == threading.get_ident()


def test_memory_is_limited_where_no_other_thread_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "active_count", lambda: 1)

    def limit() -> int:
        return resource.getrlimit(resource.RLIMIT_AS)[0]

    before = limit()
    assert 0 < call_limited(limit, lambda: None, 2**20) < 2**45
    assert limit() == before
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    assert call_limited(limit, lambda: None, 2**20) == before


def test_a_graph_with_a_huge_tensor_ends_the_command(
    model_copy: EditableModel, crops: Path
) -> None:
    model_copy.replace("model.int8.onnx", huge(40_000))
    start = time.monotonic()
    words = ("classify", crops, "--model", model_copy.folder, "--provider", "cpu")
    done = run(*words, "--um-per-px", 0.5, code=2)
    assert "model.int8.onnx: ONNX Runtime cannot run the graph" in " ".join(done.stderr.split())
    assert "Failed to allocate memory" in " ".join(done.stderr.split())
    assert time.monotonic() - start < limits._TIMEOUT_S


def test_a_wrong_number_of_outputs_is_noticed_whenever_it_comes(model_copy: EditableModel) -> None:
    model_copy.replace("model.int8.onnx", always_two())
    opened = Classifier.open(load_model(model_copy.folder), "cpu")  # it is tried with two crops
    with pytest.raises(ModelError, match=r"^the int8 graph returns .* for 3 crops"):
        opened.infer(np.zeros((3, SIZE, SIZE), np.uint8))


@pytest.mark.parametrize("text", ['{"name": "' + "x" * 2**20 + '"}', "[" * 10**5, "1" * 10**6])
def test_a_huge_spec_is_not_taken_in(model_copy: EditableModel, text: str) -> None:
    (model_copy.folder / "model.json").write_text(text, "utf-8")
    with pytest.raises(ModelError, match=r"model\.json: .*; copy the model folder again"):
        load_model(model_copy.folder)


def test_files_that_are_swapped_while_they_are_read_are_refused(
    model_copy: EditableModel,
) -> None:
    model = load_model(model_copy.folder)  # the spec is read once
    model_copy.replace("model.int8.onnx", endless())
    with pytest.raises(ModelError, match=r"model\.int8\.onnx is not the file that model\.json"):
        open_engine(model, "cpu")


@pytest.mark.parametrize("where", ["/dev/zero", "/etc", "nowhere", "model.int8.onnx"])
def test_links_lead_to_pinned_content_only(model_copy: EditableModel, where: str) -> None:
    path = model_copy.folder / "model.int8.onnx"
    path.unlink()
    path.symlink_to(where)
    with pytest.raises(ModelError, match=r"model\.int8\.onnx.*copy the model folder again"):
        open_engine(load_model(model_copy.folder), "cpu")


def test_a_spec_that_names_files_elsewhere_is_refused(model_copy: EditableModel) -> None:
    path = model_copy.folder / "model.json"
    spec = json.loads(path.read_bytes())
    spec["golden"]["file"]["file"] = "../../golden.npz"
    path.write_text(json.dumps(spec), "utf-8")
    with pytest.raises(ModelError, match="plain file name in the model folder"):
        load_model(model_copy.folder)
