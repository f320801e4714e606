"""Several processes, a model that is replaced, and a clock that jumps back."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fault.kernel import as_process_1
from tests.fault.service import Service, image, kill
from tests.helpers import disk_model
from tests.helpers.cli_runner import run
from tests.unit.results.review_files import corrections, entry

_CLOCK = """
import os
import time

_time = time.time


def jumping():
    with open(os.environ["CLOCK"]) as file:
        return _time() + float(file.read() or 0)


time.time = jumping
"""


def test_two_watchers_on_one_output(service: Service) -> None:
    service.put_many(3)
    with service.watching() as running:
        refused = run("watch", *service.words, code=2)
        assert "another ctcedge is writing" in refused.stderr
        service.put_many(3, first=10)
        service.wait_until_done(running)
        service.stop(running)
    service.check_after_restart()


def test_classify_beside_a_watch(service: Service) -> None:
    service.put_many(3)
    with service.watching() as running:
        assert "another ctcedge is writing" in run("classify", *service.words, code=2).stderr
        service.wait_until_done(running)
        kill(running)
    service.put_many(3, first=10)
    run("classify", *service.words)
    assert service.invariant.holds()
    service.check_after_restart()


def test_two_watchers_of_one_folder_with_an_output_each(service: Service) -> None:
    second = Service(service.root, service.model, service.folder, service.root / "second")
    with service.watching() as one, second.watching() as other:
        service.put_many(20)
        service.wait_until_done(one)
        second.wait_until_done(other)
        service.stop(one)
        second.stop(other)


def test_a_model_that_is_replaced_while_running(
    tmp_path: Path, model_copy: disk_model.EditableModel
) -> None:
    """The loaded model makes the calls until the restart; then all crops are classified again."""
    service = Service(tmp_path, model_copy.folder)
    names = service.put_many(3)
    with service.watching() as running:
        service.wait_until_done(running)
        model_copy.edit(lambda spec: spec.update(version="2.0.0"))
        golden = model_copy.folder / "golden.npz"
        whole = golden.read_bytes()
        os.truncate(golden, 0)
        service.put_many(3, "S/", first=10)
        service.wait_until_done(running)
        service.stop(running)
    golden.write_bytes(whole)
    service.invariant.set_model(model_copy.folder)
    assert len(service.invariant.missing()) == 6
    service.check_after_restart()
    record = service.record(names[0])
    assert record is not None
    assert [entry["model"]["version"] for entry in record["history"]] == ["1.0.0"]
    assert record["model"]["version"] == "2.0.0"


def test_a_model_that_is_half_replaced_stops_the_next_start(
    tmp_path: Path, model_copy: disk_model.EditableModel
) -> None:
    service = Service(tmp_path, model_copy.folder)
    service.put_many(3)
    graph = model_copy.folder / "model.int8.onnx"
    whole = graph.read_bytes()
    with service.watching() as running:
        service.wait_until_done(running)
        graph.write_bytes(whole[:100])
        service.put_many(3, "S/", first=10)
        service.wait_until_done(running)
        service.stop(running)
    assert "is not the file" in run("watch", *service.words, code=2).stderr
    graph.write_bytes(whole)
    service.check_after_restart()


def test_a_clock_that_jumps_back(service: Service) -> None:
    (service.root / "sitecustomize.py").write_text(_CLOCK, encoding="utf-8")
    clock = service.root / "clock"
    clock.write_text("0")
    under = ("env", f"PYTHONPATH={service.root}", f"CLOCK={clock}")
    with service.watching("--decode-timeout", 1, under=under) as running:
        service.put_many(3)
        service.wait_until_done(running)
        for number, jump in enumerate((-86_400, 86_400, -4e8, 0), start=1):
            new = service.root / "clock.new"
            new.write_text(str(jump))
            new.rename(clock)
            service.put_many(3, f"S{number}/", first=10 * number)
            half = image(1)[:100]
            service.put(f"S{number}/half_BF.png", half)
            service.wait_until_done(running)
            service.wait_for_unchanged_files(running)
            name = f"S{number}/half_BF.png"
            running.until(lambda name=name: service.record(name), "giving up")
            service.put(name, image(90 + number))
            service.wait_until_done(running)
        service.stop(running)
    service.check_after_restart()


_IN_STEP = """
import itertools
import os
import pathlib
import time

_fsync, _steps = os.fsync, itertools.count()


def fsync(descriptor):
    _fsync(descriptor)
    step = next(_steps)
    places = [pathlib.Path(os.environ["STEPS"], f"{step} {who}") for who in ("Ada", "Bo")]
    pathlib.Path(os.environ["STEPS"], f"{step} {os.environ['WHO']}").touch()
    while not all(place.exists() for place in places):
        time.sleep(0.001)


os.fsync = fsync
"""


def test_containers_that_are_all_process_1_take_none_of_each_others_files(
    service: Service,
) -> None:
    """Two imports of as many reviews, each of which writes when the other does."""
    names = service.put_many(20, "S/")
    run("classify", *service.words)
    (service.root / "sitecustomize.py").write_text(_IN_STEP, encoding="utf-8")
    (service.root / "steps").mkdir()
    reviewed = {"Ada": names[::2], "Bo": names[1::2]}

    def review(who: str) -> None:
        entries = [entry(service.out, name, channels=["BF"]) for name in reviewed[who]]
        file = service.root / f"{who}.json"
        file.write_text(json.dumps(corrections(*entries, folder_name="in", reviewer=who)))
        under = ("env", f"PYTHONPATH={service.root}", f"STEPS={service.root / 'steps'}")
        words = ("review", "import", file, service.folder, "--sidecars", service.out)
        run(*words, under=(*under, f"WHO={who}", *as_process_1()))

    with ThreadPoolExecutor(len(reviewed)) as pool:
        list(pool.map(review, reviewed))
    for who, theirs in reviewed.items():
        for name in theirs:
            record = service.record(name)
            assert record is not None
            assert record["cell"] == name.removeprefix("S/").removesuffix("_BF.png")
            assert record["review"]["reviewer"] == who
    assert service.invariant.leftovers() == []
