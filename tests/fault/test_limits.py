"""Limits on threads, memory and inodes: few threads are enough, a run that dies loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.fault.kernel import memory_limit, small_disk, with_threads
from tests.fault.service import Service
from tests.helpers.cli_runner import command, run
from tests.helpers.sidecar_files import sidecars, stray

MIB = 2**20


def classify(service: Service) -> tuple[object, ...]:
    return "classify", *service.words, "--um-per-px", 0.5


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_classify_with_few_threads(
    service: Service, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTCEDGE_STATE", str(service.root / "state"))
    service.put_many(100)
    open_to_all(service.root)
    done = run(*classify(service), under=with_threads(threads))
    assert ("threads can be started here" in done.stderr) == (threads < 3)
    assert service.invariant.holds()
    assert run(*classify(service)).stdout.count("100") >= 1
    assert all(record["history"] == [] for record in sidecars(service.out).values())


@pytest.mark.parametrize("threads", [1, 3])
def test_watch_with_few_threads_polls_and_opens_no_more_files(
    service: Service, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTCEDGE_STATE", str(service.root / "state"))
    service.put_many(3)
    open_to_all(service.root)
    with service.watching(under=with_threads(threads)) as running:
        service.wait_until_done(running)
        running.until(lambda: "threads cannot be started" in running.stderr, "the message")
        descriptors = Path("/proc", str(running.popen.pid), "fd")
        assert not any("inotify" in os.readlink(path) for path in descriptors.iterdir())
        service.stop(running)


def open_to_all(root: Path) -> None:
    """Let another account reach and write these folders."""
    for folder in (root, *root.parents):
        if os.stat(folder).st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o711)
    root.chmod(0o777)


@pytest.mark.parametrize("mib", [40, 60, 80, 120])
def test_a_run_that_has_too_little_memory_loses_nothing(service: Service, mib: int) -> None:
    service.put_many(60)
    with memory_limit(mib * MIB) as under:
        done = subprocess.run([*under, *command(*classify(service))], capture_output=True)
    assert done.returncode in (0, 2, 3, -signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
    service.invariant.missing()  # fails where a sidecar is not complete
    run(*classify(service))
    assert service.invariant.holds()
    assert all(record["history"] == [] for record in sidecars(service.out).values())


def test_classify_without_inodes(service: Service) -> None:
    service.put_many(30)
    with small_disk(service.out, "size=4m,nr_inodes=20"):
        refused = run(*classify(service), code=2)
        assert "No space left" in refused.stderr
        assert stray(service.out) == []
        assert 0 < len(sidecars(service.out)) < 30
        subprocess.run(["mount", "-o", "remount,nr_inodes=400", service.out], check=True)
        run(*classify(service))
        assert service.invariant.holds()
