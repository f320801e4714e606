from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.unit.sidecars.index_place import KNOWN, Place, listed, plain, started

pytestmark = pytest.mark.usefixtures("eager")


def test_two_processes_may_use_it_at_once(place: Place) -> None:
    place.many(600)
    crops = listed(place)
    both = [started(place, 0, 300, "once"), started(place, 300, 600, "once")]
    for each in both:
        assert each.stdout is not None
        assert each.stdout.readline() == b"ready\n"
    for each in both:
        _, complaints = each.communicate(b"x")
        assert (each.returncode, complaints) == (0, b"")
    assert place.known(*crops) == [KNOWN] * 600


def test_a_process_that_is_killed_leaves_nothing_wrong(place: Place) -> None:
    place.many(300)
    crops = listed(place)
    for delay in (0.0, 0.003, 0.01, 0.03, 0.1):
        process = started(place, 0, 300)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        while b"noted" not in process.stdout.readline():
            pass
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()
        assert set(place.known(*crops)) <= {None, KNOWN}
    place.note(*crops)
    assert place.known(*crops) == [KNOWN] * 300


def test_the_locks_of_a_reader_survive_another_connection_of_its_process(place: Place) -> None:
    """Otherwise the next process takes itself for the last one and removes the write-ahead log."""
    (crop,) = place.many(1)
    log = Path(f"{place.file()}-wal")
    with place.open() as opened:
        opened.lookup([crop])
        place.note(crop)  # opens and closes the file, as each write in the background does
        started(place, 0, 1, "once").communicate(b"x")
        assert log.exists()
        assert plain(opened.lookup([crop])[0]) == KNOWN
