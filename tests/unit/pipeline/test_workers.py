"""Worker processes: the same sidecars as without, whatever happens to them."""

from __future__ import annotations

import dataclasses
import errno
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest

from ctcedge.errors import BadImage, OutputError
from ctcedge.model.failover import FailoverEngine
from ctcedge.model.session import open_engine
from ctcedge.pipeline import pipeline as pipeline_module
from ctcedge.pipeline import worker_pool
from ctcedge.pipeline.pipeline import Pipeline
from ctcedge.pipeline.worker_pool import WorkerError, worker_count
from ctcedge.sidecars.store import SidecarStore
from tests.helpers.cli_runner import until
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, cell, save
from tests.helpers.sidecar_files import sidecars
from tests.unit.pipeline.bench import Bench, done

CROPS = 40


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are started for every crop, and waited for."""
    monkeypatch.setattr(pipeline_module, "MIN_FOR_WORKERS", 0)
    monkeypatch.setattr(worker_pool, "START_WAIT_S", 60.0)


@pytest.fixture
def full(bench: Bench) -> Bench:
    for number in range(CROPS):
        save(bench.folder / f"{number:02}_BF.png", cell(CTC if number % 2 else LEUKOCYTE))
    return bench


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run Python code at the start of each worker process."""

    def install(code: str) -> None:
        (tmp_path / "hook").mkdir()
        (tmp_path / "hook" / "sitecustomize.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path / "hook")

    return install


def workers_of(pipeline: Pipeline) -> list[int]:
    return [worker._process.pid for worker in pipeline._workers._workers]


def comparable(folder: Path) -> dict[str, Any]:
    return {
        name: {key: value for key, value in record.items() if key not in ("created", "chain")}
        for name, record in sidecars(folder).items()
    }


def test_sidecars_and_their_order_are_as_without_workers(full: Bench) -> None:
    (full.folder / "10_BF.png").write_bytes(b"no image")
    save(full.folder / "11_BF.png", cell()[:4, :4])
    expected = full.run()
    before = comparable(full.folder)
    for path in full.folder.glob("*.json"):
        path.unlink()
    with full.opened(workers=2) as pipeline:
        outcomes = list(pipeline.run(full.crops()))
        assert len(workers_of(pipeline)) == 2
    assert comparable(full.folder) == before
    assert [(o.crop, o.done, o.tally_key, o.error) for o in outcomes] == [
        (o.crop, o.done, o.tally_key, o.error) for o in expected
    ]
    assert {path.name for path in full.folder.iterdir() if path.name.startswith(".")} == set()


def test_workers_end_with_the_pipeline(full: Bench) -> None:
    with full.opened(workers=2) as pipeline:
        list(pipeline.run(full.crops()))
        processes = workers_of(pipeline)
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_a_killed_worker_costs_no_crop_and_doubles_none(
    full: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with full.opened(workers=2) as pipeline:
        outcomes = []
        for outcome in pipeline.run(full.crops()):
            if not outcomes:
                for process in workers_of(pipeline):
                    os.kill(process, signal.SIGKILL)
            outcomes.append(outcome)
    assert len(outcomes) == CROPS
    assert {record["status"] for record in sidecars(full.folder).values()} == {"classified"}
    assert all(record["history"] == [] for record in sidecars(full.folder).values())
    assert "SIGKILL" in caplog.text


def test_workers_that_die_again_and_again_end_the_run(full: Bench, hook: Any) -> None:
    hook(
        "import os, sys\n"
        "if 'ctcedge.pipeline.worker' in sys.orig_argv:\n"
        "    from ctcedge.pipeline.chunks import ChunkProcessor\n"
        "    ChunkProcessor.process = lambda *_, **__: os.kill(os.getpid(), 9)\n"
    )
    with full.opened(workers=2) as pipeline, pytest.raises(WorkerError, match="--workers 1"):
        list(pipeline.run(full.crops()))
    assert sidecars(full.folder) == {}


def test_an_error_in_a_worker_is_raised_as_it_is(full: Bench, hook: Any) -> None:
    hook(
        "import sys\n"
        "if 'ctcedge.pipeline.worker' in sys.orig_argv:\n"
        "    from ctcedge.errors import OutputError\n"
        "    from ctcedge.pipeline.chunks import ChunkProcessor\n"
        "    def process(*_, **__):\n"
        "        raise OutputError('the disk is full')\n"
        "    ChunkProcessor.process = process\n"
    )
    with full.opened(workers=2) as pipeline:
        for _ in range(2):
            with pytest.raises(OutputError, match="the disk is full"):
                list(pipeline.run(full.crops()))
        assert len(workers_of(pipeline)) == 2


def test_log_lines_and_waits_of_workers_reach_this_process(
    full: Bench, hook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    hook(
        "import sys\n"
        "if 'ctcedge.pipeline.worker' in sys.orig_argv:\n"
        "    import logging, threading\n"
        "    from multiprocessing.connection import Connection\n"
        "    from ctcedge.images import sandbox\n"
        "    from ctcedge.pipeline.chunks import ChunkProcessor\n"
        "    real, send, sent = ChunkProcessor.process, Connection.send, threading.Event()\n"
        "    def send_and_note(connection, message):\n"
        "        send(connection, message)\n"
        "        if type(message).__name__ == 'Waits':\n"
        "            sent.set()\n"
        "    Connection.send = send_and_note\n"
        "    def process(*arguments, **options):\n"
        "        logging.getLogger('ctcedge.test').warning('%d crops', 4)\n"
        "        sandbox._waits.count += 1\n"
        "        sent.wait(60)\n"
        "        return real(*arguments, **options)\n"
        "    ChunkProcessor.process = process\n"
    )
    with full.opened(workers=2) as pipeline:
        outcomes = list(pipeline.run(full.crops()[:8]))
    assert done(outcomes) == ["written"] * 8
    lines = [record.getMessage() for record in caplog.records if record.name == "ctcedge.test"]
    assert lines == ["4 crops"] * 2
    assert pipeline._workers.waits > 0


def test_workers_without_work_end_and_are_started_again(
    full: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_pool, "_MAX_IDLE_S", 0.05)
    crops = full.crops()
    with full.opened(workers=2) as pipeline:
        first = list(pipeline.run(crops[:20]))
        processes = list(pipeline._workers._workers)
        until(lambda: all(worker.has_ended for worker in processes))
        second = list(pipeline.run(crops[20:]))
    assert done(first + second) == ["written"] * CROPS
    assert caplog.text == ""


def test_on_a_gpu_workers_use_the_session_of_this_process(full: Bench) -> None:
    classifier = full.classifier
    opened = []

    def open_session(model: Any, choice: Any) -> Any:
        opened.append(choice)
        return dataclasses.replace(open_engine(model, "cpu"), provider="cuda")

    inference = FailoverEngine(classifier.model, "cuda", open_session)
    on_gpu = dataclasses.replace(classifier, inference=inference)
    with full.opened(workers=2, classifier=on_gpu) as pipeline:
        assert done(list(pipeline.run(full.crops()))) == ["written"] * CROPS
        assert len(workers_of(pipeline)) == 2
    assert opened == ["cuda"]
    found = sidecars(full.folder).values()
    assert {record["software"]["provider"] for record in found} == {"cuda"}
    assert [record["call"] for record in found] == ["leukocyte", "CTC"] * (CROPS // 2)


@pytest.mark.parametrize("error", [OSError(errno.EAGAIN, "no more processes"), RuntimeError()])
def test_where_no_worker_can_be_started_threads_do_the_work(
    full: Bench,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(worker_pool, "START_WAIT_S", 0.0)
    if isinstance(error, OSError):
        monkeypatch.setattr(worker_pool, "WorkerProcess", refuse)
    else:
        monkeypatch.setattr(worker_pool.threading.Thread, "start", refuse)
    with full.opened(workers=2) as pipeline:
        assert done(list(pipeline.run(full.crops()))) == ["written"] * CROPS
    assert caplog.text.count("a worker process cannot be started") == 1


def test_small_runs_start_no_process(full: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "MIN_FOR_WORKERS", CROPS)
    with full.opened(workers=2) as pipeline:
        list(pipeline.run(full.crops()))
        assert workers_of(pipeline) == []


def test_what_is_in_hand_is_finished_at_a_stop(full: Bench) -> None:
    seen: list[object] = []
    with full.opened(workers=2) as pipeline:
        for outcome in pipeline.run(full.crops(), should_stop=lambda: bool(seen)):
            seen.append(outcome)
    assert 4 <= len(seen) <= 16
    assert len(sidecars(full.folder)) == len(seen)


def test_a_worker_does_not_lock_a_folder_that_took_the_place_of_its_own(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    store = SidecarStore(folder, out)
    with store.open():
        lent = SidecarStore.under_lock(folder, store.out, store.lock_descriptor)
        os.close(lent._open_directory(""))
        out.rename(tmp_path / "before")
        out.mkdir()
        with pytest.raises(OutputError, match="was replaced"):
            lent._open_directory("")
        store.renew_lock()
        os.close(lent._open_directory(""))


def test_an_unreadable_image_is_the_same_after_its_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(BadImage("unsupported", "has 5 channels")))
    assert (error.status, str(error)) == ("unsupported", "has 5 channels")


@pytest.mark.parametrize(
    ("chosen", "cores", "expected"),
    [(None, 1, 0), (None, 4, 0), (None, 5, 5), (None, 500, 96), (1, 8, 0), (2, 1, 2)],
)
def test_number_of_workers(
    chosen: int | None, cores: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "available_cpus", lambda: cores)
    assert worker_count(chosen) == expected
