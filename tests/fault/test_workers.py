"""Faults of runs whose work is done by worker processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ctcedge.images.sandbox import CRASHED
from ctcedge.pipeline.crash_journal import RECORD
from tests.fault.decoder import Decoder, Mark, marked
from tests.fault.service import Service, kill
from tests.helpers.cli_runner import TEST_WORKERS, process, run, until
from tests.helpers.sidecar_files import sidecars, state


@pytest.fixture(autouse=True)
def by_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TEST_WORKERS, "2")


def workers_of(parent: int) -> set[int]:
    """Worker processes of a process."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            status = (folder / "status").read_text()
        except OSError:
            continue
        if b"ctcedge.pipeline.worker" in words and f"\nPPid:\t{parent}\n" in status:
            found.add(int(folder.name))
    return found


def alive(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("mark", [Mark.ABORTS, Mark.SEGFAULTS, Mark.EATS_MEMORY])
def test_images_that_crash_the_decoder_do_not_end_the_run(
    service: Service, tmp_path: Path, mark: Mark
) -> None:
    decoder = Decoder(tmp_path)
    names = set(service.put_many(20))
    bad = {f"{number:05}_BF.tif" for number in (5, 6)}
    for number, name in enumerate(sorted(bad), start=50):
        service.put(name, marked(number, mark))
    words = ("classify", *service.words, "--batch-size", 4)
    done = run(*words, env=decoder.env, code=3)
    assert "is quarantined" in done.stderr
    found = sidecars(service.out)
    assert {name for name, record in found.items() if record["error"] == CRASHED} == bad
    assert {name for name, record in found.items() if record["call"]} == names
    assert all(record["history"] == [] for record in found.values())
    assert not (service.out / RECORD).exists()
    before = state(service.out)
    run(*words, env=decoder.env, code=3)
    assert state(service.out) == before


def test_workers_end_with_a_killed_run_and_the_next_one_goes_on(
    service: Service, tmp_path: Path
) -> None:
    names = set(service.put_many(400))
    words = ("classify", *service.words, "--batch-size", 4)
    with process(*words, log=tmp_path / "log") as running:
        running.until(lambda: len(sidecars(service.out)) > 20)
        workers = workers_of(running.popen.pid)
        assert len(workers) == 2
        kill(running)
    until(lambda: not any(map(alive, workers)))
    before = state(service.out)
    run(*words)
    found = sidecars(service.out)
    assert set(found) == names
    assert all(record["history"] == [] for record in found.values())
    after = state(service.out)
    assert {name: after[name] for name in before if name.endswith(".json")} == {
        name: content for name, content in before.items() if name.endswith(".json")
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_all_processes_stop_the_run_as_one(
    service: Service, tmp_path: Path, number: signal.Signals
) -> None:
    service.put_many(400)
    words = ("classify", *service.words, "--batch-size", 4)
    with process(*words, log=tmp_path / "log") as running:
        running.until(lambda: len(sidecars(service.out)) > 20)
        workers = workers_of(running.popen.pid)
        for worker in workers:
            os.kill(worker, number)
        code, _ = running.stop(number)
    assert code == 128 + number
    assert "worker process has ended" not in running.stderr
    assert not any(map(alive, workers))
    assert 20 < len(sidecars(service.out)) < 400
    run(*words)
    found = sidecars(service.out)
    assert len(found) == 400
    assert all(record["history"] == [] for record in found.values())


def test_a_watch_one_of_whose_workers_is_killed_goes_on(service: Service) -> None:
    with service.watching("--batch-size", 4) as running:
        names = set(service.put_many(60))
        running.until(lambda: sidecars(service.out))
        os.kill(min(workers_of(running.popen.pid)), signal.SIGKILL)
        names |= set(service.put_many(60, first=60))
        running.until(lambda: set(sidecars(service.out)) == names)
        service.stop(running)
    found = sidecars(service.out)
    assert {record["status"] for record in found.values()} == {"classified"}
    assert all(record["history"] == [] for record in found.values())
