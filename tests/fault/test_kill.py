"""Kill -9 at random instants while crops arrive."""

from __future__ import annotations

import functools
import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ctcedge.pipeline.crash_journal import RECORD
from tests.fault.kernel import as_process_1
from tests.fault.service import Service, image, kill
from tests.helpers.cli_runner import Process, process, run, until
from tests.helpers.drawn_cells import cell, save
from tests.helpers.sidecar_files import age, sidecars, state, stray

COUNT = 300


class Instrument:
    """Writes crops as instruments and copy tools do."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._folder = folder
        self._chance = chance
        self._count = 0
        self._rewritable: list[Path] = []

    def deliver(self, below: str, count: int) -> None:
        """Add crops, and change an existing one."""
        ways: list[Callable[[Path, bytes], None]] = [
            self._at_once,
            self._in_pieces,
            self._renamed,
            self._in_a_moved_folder,
        ]
        (self._folder / below).mkdir()
        for _ in range(count):
            self._count += 1
            suffix = self._chance.choice([".png", ".tif"])
            path = self._folder / below / f"{self._count:05}_BF{suffix}"
            self._chance.choice(ways)(path, image(self._count, suffix=suffix))
            if suffix == ".tif" and path.exists():
                self._rewritable.append(path)
        if self._rewritable:
            self._count += 1
            path = self._chance.choice(self._rewritable)
            with path.open("r+b") as file:  # the size stays
                file.write(image(self._count, suffix=".tif"))

    def _at_once(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)

    def _in_pieces(self, path: Path, data: bytes) -> None:
        with path.open("wb", buffering=0) as file:
            for start in range(0, len(data), 999):
                file.write(data[start : start + 999])

    def _renamed(self, path: Path, data: bytes) -> None:
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(data)
        part.rename(path)

    def _in_a_moved_folder(self, path: Path, data: bytes) -> None:
        making = path.parent / f".{path.stem}"
        making.mkdir()
        (making / path.name).write_bytes(data)
        making.rename(path.parent / path.stem)


def kill_at_a_random_instant(
    running: Process, chance: random.Random, count_done: Callable[[], int], expected: int
) -> None:
    """Kill at any time from before the first sidecar to about the last."""
    threshold = chance.randrange(expected)
    running.until(lambda: count_done() >= threshold)
    time.sleep(chance.uniform(0, 0.02))
    kill(running)


def run_until_killed(
    service: Service, instrument: Instrument, chance: random.Random, below: str, count: int
) -> None:
    """Start, check that the invariant holds, and kill the watch while crops arrive."""
    words = (
        "watch",
        *service.words,
        "--stability-delay",
        0.05,
        "--rescan-interval",
        0.5,
        "--batch-size",
        2,
    )
    with ThreadPoolExecutor(1) as thread, process(*words, log=service.root / "log") as running:
        service.wait_until_done(running)
        arrival = thread.submit(instrument.deliver, below, count)
        kill_at_a_random_instant(running, chance, lambda: len(found(service.out / below)), count)
        arrival.result()


@pytest.mark.parametrize(
    ("kills", "crops"),
    [
        pytest.param(10, 15, id="short"),
        pytest.param(300, 17, id="whole", marks=[pytest.mark.soak, pytest.mark.timeout(2 * 3600)]),
    ],
)
def test_kill_9_at_random_instants_while_crops_arrive(
    service: Service, kills: int, crops: int
) -> None:
    seed = int(os.environ.get("CTCEDGE_FAULT_SEED", "0")) or random.randrange(1, 10**6)
    print(f"CTCEDGE_FAULT_SEED={seed}")
    chance = random.Random(seed)
    instrument = Instrument(service.folder, random.Random(seed))
    for life in range(kills):
        run_until_killed(service, instrument, chance, f"S{life:03}", crops)
    service.check_after_restart()
    assert len(sidecars(service.out)) == crops * kills


def found(folder: Path) -> list[Path]:
    return list(folder.rglob("*.ctc.json"))


def more_than(count: int, out: Path) -> bool:
    return len(found(out)) > count


def test_what_classify_wrote_before_a_kill_is_never_written_again(
    tmp_path: Path, model_folder: Path
) -> None:
    folder, out = tmp_path / "S", tmp_path / "out"
    for number in range(COUNT):
        save(folder / f"{number:05}_BF.png", cell())
    words = (folder, "--out", out, "--model", model_folder, "--batch-size", 2)
    kept: dict[str, tuple[int, int]] = {}
    for _ in range(3):
        with process("classify", *words, log=tmp_path / "log", slowly=True) as running:
            running.until(functools.partial(more_than, len(kept), out))
            kill(running)
        whole = {f"{name}.ctc.json": record for name, record in sidecars(out).items()}
        now = {name: state(out)[name] for name in whole}
        assert {name: now[name] for name in kept} == kept
        kept = now
    assert 0 < len(kept) < COUNT
    run("classify", *words)
    assert set(sidecars(out)) == {f"{number:05}_BF.png" for number in range(COUNT)}
    assert all(record["history"] == [] for record in sidecars(out).values())
    assert {name: state(out)[name] for name in kept} == kept
    assert stray(out) == []
    assert len([path for path in out.rglob("*") if path.is_file()]) == COUNT


def test_kill_9_at_random_instants_of_the_start(service: Service) -> None:
    service.put_many(50)
    chance = random.Random(1)
    for _ in range(5):
        with process("watch", *service.words, log=service.root / "log") as running:
            time.sleep(chance.uniform(0, 1))
            kill(running)
        service.invariant.missing()  # fails where a sidecar is not complete
    service.check_after_restart()


def test_the_lock_ends_with_the_process_and_leaves_no_file(service: Service) -> None:
    service.put_many(1)
    with service.watching() as running:
        service.wait_until_done(running)
        kill(running)
    left = {path.name for path in service.out.rglob("*") if path.is_file()}
    assert left == {"00000_BF.png.ctc.json", RECORD}
    service.check_after_restart()


def test_temporary_files_of_a_container_that_crashed_are_removed(service: Service) -> None:
    """All runs are process 1, so the process id does not distinguish them."""
    service.put_many(1)
    service.out.mkdir()
    left, in_use = service.out / ".ctcedge-1-77.tmp", service.out / ".ctcedge-1-78.tmp"
    left.write_bytes(b"{")
    in_use.write_bytes(b"{")
    age(left)
    with service.watching(under=as_process_1(), later=False) as running:
        running.until(lambda: not service.invariant.missing(), "the sidecar")
    assert not left.exists()
    assert in_use.exists()


def test_sigterm_with_a_full_queue(service: Service) -> None:
    service.put_many(1500)
    with service.watching() as running:
        running.until(lambda: found(service.out))
        running.popen.send_signal(signal.SIGTERM)
        until(lambda: not running.alive(), "the end")
        assert running.popen.returncode == 0, running.stderr
    assert service.invariant.missing(), "the queue was not full"
    assert service.invariant.leftovers() == []
    service.check_after_restart()


_SIGTERM_AT_THE_FIRST_SIDECAR = """
import os
import signal

from ctcedge.sidecars.store import SidecarStore

replace = SidecarStore._replace


def first(self, crop, *others):
    SidecarStore._replace = replace
    os.kill(os.getpid(), signal.SIGTERM)
    return replace(self, crop, *others)


SidecarStore._replace = first
"""


def test_sigterm_finishes_the_current_batches_and_starts_no_other(service: Service) -> None:
    service.put_many(200)
    (service.root / "sitecustomize.py").write_text(_SIGTERM_AT_THE_FIRST_SIDECAR, "utf-8")
    under = ("env", f"PYTHONPATH={service.root}")
    words = ("watch", *service.words, "--batch-size", 4)
    with process(*words, log=service.root / "log", under=under) as running:
        until(lambda: not running.alive(), "the end")
        assert running.popen.returncode == 0, running.stderr
    finished = len(found(service.out))
    assert finished % 4 == 0
    assert 4 <= finished <= 36  # a batch each of at most eight workers, and one that waits
    assert service.invariant.leftovers() == []
