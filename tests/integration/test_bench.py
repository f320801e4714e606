"""`ctcedge bench`: its figures are consistent, and it leaves nothing behind. No speed is required.

The default form measures for as short as possible; the tests marked `bench` run the real command.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest

from ctcedge.bench import bench as module
from ctcedge.bench import sessions
from ctcedge.bench.bench import Interrupted, bench
from ctcedge.bench.cpu_meter import Meter, _cpu_seconds
from ctcedge.bench.parity import compare
from ctcedge.bench.results import Bench, Round
from ctcedge.bench.synthetic_crops import write_crops
from ctcedge.bench.throughput import STAGES, PipelineRun, min_crops, steady_window
from ctcedge.classification.analysis import CellAnalysis
from ctcedge.classification.classifier import Classifier
from ctcedge.fs.mounts import file_system
from ctcedge.images.decode import CropImage
from ctcedge.model.failover import FailoverEngine
from ctcedge.model.folder import load_model
from ctcedge.model.spec import Variant
from ctcedge.settings import Settings
from tests.helpers.cli_runner import call, process, run
from tests.helpers.disk_model import EditableModel
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, cell, save
from tests.helpers.sidecar_files import state

SAMPLE = Path(__file__).parents[1] / "sample"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure within this process for as short as possible, and no more rounds than necessary."""
    monkeypatch.setattr(module, "_ROUNDS_SECONDS", 0.0)
    monkeypatch.setattr(module, "_SWEEP_SECONDS", 0.0)
    monkeypatch.setattr(module, "_SESSION_SECONDS", 0.0)
    monkeypatch.setattr(sessions, "BATCHES", (1, 8, 16))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files, and the account's own state; both empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("CTCEDGE_STATE", str(tmp_path / "state"))
    return folder


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    for number in range(40):
        side = LEUKOCYTE if number % 2 else CTC
        save(folder / "S1" / f"{number:03}_BF.png", cell(side, background=100 + number))
    return folder


def measured(*arguments: object) -> dict[str, Any]:
    """Run the command with --json; standard output must be that and nothing else."""
    found: dict[str, Any] = json.loads(call("bench", *arguments, "--json").stdout)
    return found


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(call, id="short"),
        pytest.param(run, id="real", marks=pytest.mark.bench),
    ],
)
def test_shipped_model_and_sample_crops(
    start: Callable[..., subprocess.CompletedProcess[str]], place: Path, tmp_path: Path
) -> None:
    before = state(SAMPLE)
    done = start("bench", SAMPLE, "--count", 30, "--provider", "cpu", "--json")
    found = json.loads(done.stdout)
    assert state(SAMPLE) == before
    assert not list(place.iterdir())
    assert not (tmp_path / "state").exists()

    figures = ("session_per_s", "pipeline_per_s", "share", "cpu_us_per_crop_outside_session")
    assert list(found)[:6] == ["schema", *figures, "fp32_session_per_s"]
    assert all(found[name] > 0 for name in figures)
    assert found["share"] == pytest.approx(found["pipeline_per_s"] / found["session_per_s"], 0.01)
    shares = [each["share"] for each in found["rounds"]]
    assert len(shares) >= 3
    assert found["share"] == statistics.median_low(shares)
    for name in figures:
        values = [each[name] for each in found["rounds"]]
        assert found["spread"][name] == [min(values), max(values)]

    assert list(found["stages"]["share"]) == [*STAGES, "other"]
    assert sum(found["stages"]["share"].values()) == pytest.approx(1, abs=0.001)
    spent = found["stages"]["cpu_us_per_crop"]
    assert all(spent[name] > 0 for name in STAGES)

    session = found["sessions"][0]
    assert (session["provider"], session["variant"]) == ("cpu", "int8")
    speeds = {
        (each["batch"], each["calls_at_once"]): each["images_per_s"] for each in session["sweep"]
    }
    assert {1, 8, 16} <= {batch for batch, _ in speeds}
    assert session["images_per_s"] == max(speeds.values())
    assert speeds[session["batch"], session["calls_at_once"]] == max(speeds.values())

    graphs = set(load_model().spec.graphs) & set(get_args(Variant))
    assert {each["variant"] for each in found["sessions"]} == graphs
    assert (found["fp32_session_per_s"] is None) == ("fp32" not in graphs)
    assert found["golden"]["largest_difference"] <= found["golden"]["tolerance"]
    assert 0 < found["latency_ms"]["median"] <= found["latency_ms"]["p99"]
    assert min(found["start_s"].values()) > 0
    assert 20 < found["peak_memory_mb"] < 2000
    assert found["crops"]["count"] == 30
    assert not found["crops"]["drawn"]
    assert found["parity"] is found["share_of_limit"] is None
    assert found["machine"]["cores"] >= 1


def test_fp32_is_measured_where_the_model_has_it(
    place: Path, export: Path, model_copy: EditableModel
) -> None:
    def rename(spec: dict[str, Any]) -> None:
        spec["graphs"]["fp32"] = spec["graphs"].pop("fp16")

    model_copy.edit(rename)
    found = measured(export, "--model", model_copy.folder)
    assert found["fp32_session_per_s"] > 0
    ratio = found["session_per_s"] / found["fp32_session_per_s"]
    assert found["times_fp32"] == pytest.approx(ratio, rel=0.01)


def test_a_graph_that_does_not_run_is_reported(
    place: Path, export: Path, model_copy: EditableModel
) -> None:
    model_copy.replace("model.fp16.onnx", b"no graph")
    found = measured(export, "--model", model_copy.folder)
    assert [each["variant"] for each in found["sessions"] if each["provider"] == "cpu"] == ["int8"]
    assert found["unavailable"]["cpu fp16"]


def test_tables(place: Path, model_folder: Path) -> None:
    done = call("bench", "--model", model_folder, "--count", 30, "--provider", "cpu")
    for word in ("crops per hour", "quality checks", "write the sidecar", "99th", "30 synthetic"):
        assert word in done.stdout
    assert "Too few crops for a steady speed" in done.stderr
    assert "Round 3" in done.stderr
    assert not list(place.iterdir())


@pytest.mark.parametrize(
    ("batch_size", "count"),
    [(4, 160), pytest.param(None, 640, marks=pytest.mark.bench)],
)
def test_enough_crops_give_a_steady_speed(
    batch_size: int | None, count: int, place: Path, tmp_path: Path, model_folder: Path
) -> None:
    config = tmp_path / "bench.toml"
    config.write_text(f"batch_size = {batch_size}\n" if batch_size else "")
    words = ("--model", model_folder, "--provider", "cpu", "--config", config)
    assert measured(*words, "--count", count)["steady_state"]
    assert not measured(*words, "--count", count // 10)["steady_state"]


def test_crops_that_cannot_be_classified_are_reported(
    place: Path, export: Path, model_folder: Path
) -> None:
    (export / "S1" / "000_BF.png").write_bytes(b"no image")
    assert measured(export, "--model", model_folder)["crops"]["unclassified"] == 1
    for path in (export / "S1").iterdir():
        path.write_bytes(b"no image")
    assert "can be read" in call("bench", export, "--model", model_folder, code=2).stderr
    assert not list(place.iterdir())


def test_wrong_use(place: Path, tmp_path: Path, model_folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words, text in (
        ((tmp_path / "nowhere",), "does not exist"),
        ((tmp_path / "empty",), "Give the folder that holds the crops"),
        (("--out", tmp_path / "nowhere"), "--out DIR"),
        (("--model", "nobody"), "no model folder"),
    ):
        done = call("bench", *words, "--count", 5, code=2)
        assert text in done.stderr
        assert not done.stdout
    assert not list(place.iterdir())


def test_out_chooses_the_disk(
    place: Path, tmp_path: Path, export: Path, model_folder: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    found = measured(export, "--out", out, "--model", model_folder)
    assert found["sidecars"] == {"folder": str(out), "file_system": file_system(out)}
    assert not list(out.iterdir())


def test_a_folder_in_memory_is_reported(place: Path, export: Path, model_folder: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or file_system(memory) != "tmpfs":
        pytest.skip("no tmpfs here")
    done = call("bench", export, "--out", memory, "--model", model_folder, "--provider", "cpu")
    assert "tmpfs" in done.stderr
    assert not list(memory.glob("ctcedge-bench-*"))


@pytest.mark.parametrize(
    ("when", "count", "number", "code"),
    [
        ("Warming up", 300, signal.SIGTERM, 143),
        pytest.param("Drawing", 1_000_000, signal.SIGINT, 130, marks=pytest.mark.bench),
        pytest.param("Warming up", 3_000, signal.SIGTERM, 143, marks=pytest.mark.bench),
        pytest.param("Bare sessions", 500, signal.SIGINT, 130, marks=pytest.mark.bench),
        pytest.param("Round 1", 500, signal.SIGINT, 130, marks=pytest.mark.bench),
    ],
)
def test_an_interrupted_run_leaves_nothing(
    when: str, count: int, number: int, code: int, place: Path, tmp_path: Path, model_folder: Path
) -> None:
    words = ("bench", "--model", model_folder, "--provider", "cpu", "--count", count)
    with process(*words, log=tmp_path / "log") as running:
        running.until(lambda: when in running.stderr)
        assert running.stop(number) == (code, "")
    assert not list(place.iterdir())


@pytest.mark.parametrize("when", ["Drawing", "Warming up", "Bare sessions", "Round 1"])
def test_it_stops_at_each_step(when: str, place: Path, model_folder: Path) -> None:
    steps: list[str] = []
    settings = Settings(model=str(model_folder), provider="cpu")
    with pytest.raises(Interrupted):
        bench(
            None,
            lambda folder: settings,
            count=20,
            on_progress=steps.append,
            should_stop=lambda: bool(steps) and steps[-1].startswith(when),
        )
    assert steps[-1].startswith(when)
    assert not list(place.iterdir())


def test_synthetic_crops_are_all_different_and_pass_for_cells(tmp_path: Path) -> None:
    assert list(write_crops(tmp_path, 60)) == list(range(1, 61))
    files = [path.read_bytes() for path in sorted(tmp_path.rglob("*_BF.png"))]
    assert len(set(files)) == 60
    classifier = Classifier.load(provider="cpu")
    images = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) for data in files]
    assert {(image.shape, image.dtype.name) for image in images} == {((96, 96), "uint8")}
    seen = [
        each.quality for each in classifier.prepare([CropImage(image, 8) for image in images], 0.5)
    ]
    assert sum(bool(quality.reasons) for quality in seen) < 6
    assert min(quality.measures["cells"] for quality in seen) >= 1


def test_the_state_folder_is_restored(
    place: Path, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for before in ("/some/where", None):
        if before is None:
            monkeypatch.delenv("CTCEDGE_STATE")
        else:
            monkeypatch.setenv("CTCEDGE_STATE", before)
        with pytest.raises(Interrupted):
            bench(export, lambda folder: Settings(provider="cpu"), should_stop=lambda: True)
        assert os.environ.get("CTCEDGE_STATE") == before
    assert not list(place.iterdir())


@pytest.mark.parametrize("batch", [1, 16, 64, 256])
@pytest.mark.parametrize("crops", [1, 30, 399, 400, 2_000, 10_240, 10_241])
def test_the_middle_of_a_run_is_whole_batches(crops: int, batch: int) -> None:
    window = steady_window(crops, batch)
    if window is None:
        assert crops < min_crops(batch)
        return
    first, last = window
    assert first % batch == last % batch == 0
    assert first >= crops / 5
    assert crops - last >= crops / 5
    assert last - first >= 4 * batch


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_meter_counts_the_session_alone(model_folder: Path) -> None:
    meter = Meter()
    with meter.opening():
        inference = FailoverEngine(load_model(model_folder), "cpu")
    inputs = np.full((16, 64, 64), 128, np.uint8)
    inference.infer(inputs)
    before = meter.calls()
    assert before == 0, "not asked to measure yet"
    meter.measure(inference)
    burn(0.05)
    assert meter.calls() == 0
    output, engine = inference.infer(inputs)
    assert len(output.logits) == 16
    assert (engine.provider, engine.variant) == ("cpu", "int8")
    once = meter.calls()
    assert 0 < once <= meter.seconds()
    inference.infer(inputs)
    assert meter.calls() > once


def test_meter_counts_threads_that_came_with_the_session() -> None:
    busy, idle = threading.Event(), threading.Event()

    def work() -> None:
        burn(0.05)
        busy.set()
        idle.wait()

    meter = Meter()
    with meter.opening():
        thread = threading.Thread(target=work)
        thread.start()
    assert busy.wait(60)
    assert thread.native_id is not None
    assert _cpu_seconds(thread.native_id) >= 0.05
    assert meter.seconds() == 0, "Python's own threads are not the session's"
    idle.set()
    thread.join()


class Contrary:
    """Says the opposite of every other crop."""

    def __init__(self, inference: FailoverEngine) -> None:
        self._inference = inference
        self.current = inference.current

    def infer(self, inputs: np.ndarray) -> Any:
        output, engine = self._inference.infer(inputs)
        logits = output.logits.copy()
        logits[::2] *= -1
        return dataclasses.replace(output, logits=logits), engine


def test_two_classifiers_are_compared(classifier: Classifier) -> None:
    images = [cell(CTC), cell(LEUKOCYTE), cell(CTC), cell(LEUKOCYTE)]
    seen = classifier.prepare([CropImage(image, 8) for image in images], 0.5)
    inputs = np.stack([each.input for each in seen])
    same = compare(classifier, classifier, inputs)
    assert (same.crops, same.same_calls, same.flips, same.largest_difference) == (4, 1, 0, 0)
    contrary: Any = Contrary(classifier.inference)
    other = dataclasses.replace(classifier, inference=contrary)
    found = compare(classifier, other, inputs)
    assert (found.same_calls, found.flips) == (0.5, 0.5)
    analysis = classifier.analyze(seen[:1])[0]
    assert isinstance(analysis, CellAnalysis)
    sure = classifier.rule.decide(analysis).probability
    assert found.largest_difference == pytest.approx(2 * sure - 1, abs=1e-5)


def test_figures_are_of_the_round_with_the_median_fraction() -> None:
    def pipeline(crops_per_s: float) -> PipelineRun:
        return PipelineRun(100, 100 / crops_per_s, 0.2, 0.15, True, 0, dict.fromkeys(STAGES, 1e-4))

    rounds = [Round(100.0, 10.0, 25.0, pipeline(speed)) for speed in (90, 10, 70, 80)]
    found: Any = Bench.__new__(Bench)
    object.__setattr__(found, "rounds", rounds)
    assert found.typical.fraction_of_session == pytest.approx(0.7)
    figures = found.typical.as_json()
    assert figures["times_fp32"] == 4
    assert figures["cpu_us_per_crop_outside_session"] == pytest.approx(500)
    stages = found.stages_us()
    assert stages["other"] == 0, "stages take more than is left outside the session"
    assert stages["infer"] == pytest.approx(100)
