"""Images that crash the process while they are decoded."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ctcedge.images.sandbox import CRASHED
from ctcedge.pipeline.crash_journal import RECORD
from tests.fault.decoder import Decoder, Mark, marked
from tests.fault.service import Service, image, kill
from tests.helpers.cli_runner import Process, process, run, until
from tests.helpers.sidecar_files import sidecars, state

SIGNALS = {
    Mark.ABORTS: signal.SIGABRT,
    Mark.SEGFAULTS: signal.SIGSEGV,
    Mark.EATS_MEMORY: signal.SIGKILL,
}


@pytest.fixture
def decoder(tmp_path: Path) -> Decoder:
    return Decoder(tmp_path)


def assert_final(out: Path, unreadable: set[str], classified: set[str]) -> None:
    """Every crop has exactly one sidecar, and no crash journal remains."""
    found = sidecars(out)
    assert {name for name, record in found.items() if record["error"] == CRASHED} == unreadable
    assert {name for name, record in found.items() if record["call"]} == classified
    assert set(found) == unreadable | classified
    assert all(found[name]["status"] == "unreadable" for name in unreadable)
    assert all(record["history"] == [] for record in found.values())
    assert not (out / RECORD).exists()


@contextmanager
def watching(service: Service, decoder: Decoder) -> Iterator[Process]:
    words = (
        "watch",
        *service.words,
        "--stability-delay",
        0.2,
        "--rescan-interval",
        1,
        "--decode-timeout",
        0,
    )
    with process(*words, log=service.root / "log", under=decoder.under) as running:
        yield running


def dies(running: Process, number: int) -> None:
    assert running.popen.wait() == -number, running.stderr


@pytest.mark.parametrize("mark", SIGNALS)
@pytest.mark.parametrize("beside", [False, True], ids=["elsewhere", "beside"])
def test_classify_continues_after_a_crash(
    service: Service, decoder: Decoder, mark: Mark, beside: bool
) -> None:
    names = set(service.put_many(10))
    service.put("00005_BF.tif", marked(50, mark))
    out = service.folder if beside else service.out
    words = ("classify", service.folder, "--out", out, "--model", service.model)
    run(*words, env=decoder.env, code=-SIGNALS[mark])
    assert (out / RECORD).exists()
    run(*words, env=decoder.env, code=3)
    assert_final(out, {"00005_BF.tif"}, names)
    before = state(out)
    run(*words, env=decoder.env, code=3)
    assert state(out) == before


def test_each_of_several_is_found(service: Service, decoder: Decoder) -> None:
    """No file crashes the process twice."""
    names = set(service.put_many(10))
    bad = {f"{number:05}_BF.tif" for number in (2, 3, 7)}
    for number, name in enumerate(sorted(bad), start=50):
        service.put(name, marked(number, Mark.ABORTS))
    for _ in range(len(bad) + 1):
        with watching(service, decoder) as running:
            until(lambda: not running.alive() or sidecars(service.out).keys() >= bad | names)
            if running.alive():
                service.stop(running)
            else:
                dies(running, signal.SIGABRT)
    assert_final(service.out, bad, names)


def test_a_watch_continues_after_a_crash(service: Service, decoder: Decoder) -> None:
    names = set(service.put_many(5))
    with watching(service, decoder) as running:
        running.until(lambda: sidecars(service.out).keys() == names)
        service.put("bad_BF.tif", marked(50, Mark.SEGFAULTS))
        dies(running, signal.SIGSEGV)
    with watching(service, decoder) as running:
        running.until(lambda: service.record("bad_BF.tif"))
        names |= set(service.put_many(5, "S/", first=10))
        running.until(lambda: len(sidecars(service.out)) == len(names) + 1)
        service.stop(running)
    assert_final(service.out, {"bad_BF.tif"}, names)


def test_a_crashed_file_that_changes_is_done_as_usual(service: Service, decoder: Decoder) -> None:
    path = service.put("1_BF.tif", marked(1, Mark.ABORTS))
    with watching(service, decoder) as running:
        dies(running, signal.SIGABRT)
    with watching(service, decoder) as running:
        running.until(lambda: service.record("1_BF.tif"))
        path.write_bytes(image(2, suffix=".tif"))
        running.until(lambda: (service.record("1_BF.tif") or {})["call"])
        service.stop(running)
    assert_final(service.out, set(), {"1_BF.tif"})


def test_an_image_that_crashed_once_is_always_decoded_in_the_sandbox(
    service: Service, decoder: Decoder
) -> None:
    """Also when its sidecar is no longer current, and the crash journal is gone."""
    service.put("1_BF.tif", marked(1, Mark.ABORTS))
    words = ("classify", *service.words)
    run(*words, env=decoder.env, code=-signal.SIGABRT)
    run(*words, env=decoder.env, code=3)
    run(*words, "--force", "--um-per-px", 0.4, env=decoder.env, code=3)
    assert_final(service.out, {"1_BF.tif"}, set())


def test_a_hang_ends_at_the_timeout(service: Service, tmp_path: Path) -> None:
    decoder = Decoder(tmp_path, time_limit=2)
    names = set(service.put_many(5))
    words = ("classify", *service.words)
    run(*words, env=decoder.env)
    service.put("1_BF.tif", marked(50, Mark.HANGS))
    with process(*words, log=tmp_path / "log", under=decoder.under) as running:
        running.until(lambda: decoder.count("hangs"))
        kill(running)
    run(*words, env=decoder.env, code=3)
    assert decoder.count("hangs in sandbox") == 1
    assert_final(service.out, {"1_BF.tif"}, names)


def test_kill_9_quarantines_an_image_that_is_cleared_later(
    service: Service, decoder: Decoder
) -> None:
    names = set(service.put_many(5))
    service.put("10_BF.tif", marked(10, Mark.IS_SLOW))
    words = ("classify", *service.words)
    with process(*words, log=service.root / "log", under=decoder.under) as running:
        running.until(lambda: decoder.count("hangs") == 1)
        kill(running)
    run(*words, env=decoder.env)
    assert decoder.count("decoded in sandbox") == 1
    assert_final(service.out, set(), names | {"10_BF.tif"})
