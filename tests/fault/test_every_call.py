"""Let each call of each command fail: nothing is lost, exit codes are honest, a run heals."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.fault.calls import KILL, Call, Ended, Fault, Forker, library
from tests.fault.effects import faults
from tests.fault.tried import COMMANDS, Command, Place, check_nothing_lost, prepare

_TRIES = 12  # of each command in the short form
_WATCH_S = 1.5  # seconds after which a watch that cannot finish is stopped
_HONEST = {0, 2, 3}


class Tried(NamedTuple):
    """What all tries use: the place, the process, and the sidecars that commands find."""

    place: Place
    forker: Forker
    called: dict[str, dict[str, Any]]


class Trial:
    """Tries of one command."""

    def __init__(self, tried: Tried, command: Command) -> None:
        self.place, self._forker, called = tried
        self.command, place = command, self.place
        place.restore(command.start)
        self.before = {} if command.start == "fresh" else called
        undisturbed = self.run(None)
        assert undisturbed.code == 0, undisturbed
        command.check(place, undisturbed)
        self.counts, self.goal = undisturbed.counts, place.outcome()

    def run(self, fault: Fault | None) -> Ended:
        words = self.place.words(*self.command.words)
        if not self.command.watches:
            return self._forker.run(words, fault)
        end = time.monotonic() + _WATCH_S

        def done() -> bool:
            if time.monotonic() > end:
                return True
            # Before it has logged its model, nothing handles SIGTERM, and nothing was looked at.
            return "Model disks" in self._forker.errors() and self._all_current()

        return self._forker.run(words, fault, stop_when=done)

    def _all_current(self) -> bool:
        um_per_px = 0.6 if "0.6" in self.command.words else 0.5
        return self.place.all_classified() and all(
            record["image"]["um_per_px"] == um_per_px for record in self.place.records().values()
        )

    def problem(self, fault: Fault) -> str | None:
        """What is wrong after a fault; None for nothing."""
        self.place.restore(self.command.start)
        ended = self.run(fault)
        at = f"{fault} at {ended.where}".replace(str(self.place.root), "")
        if ended.where is None:  # threads make other calls in each run
            at = f"{fault} (not reached)"
        try:
            self._check(fault, ended)
        except AssertionError as error:
            lines = [line for line in ended.errors.splitlines() if line.strip()][-3:]
            why = str(error).splitlines()[0]
            return f"{at}: exit {ended.code}: {why} | {' / '.join(lines)[-400:]}"
        return None

    def _check(self, fault: Fault, ended: Ended) -> None:
        killed = fault.effect == KILL and ended.code == -9
        assert ended.code is not None, "it hangs"
        assert killed or ended.code in _HONEST, "not an honest exit code"
        assert "Traceback" not in ended.errors, "a traceback"
        assert "nternal error" not in ended.errors, "an internal error"
        check_nothing_lost(self.place, self.command, self.before)
        if ended.code == 0:
            self.command.check(self.place, ended)
        may_remain = killed or fault.call == Call.UNLINK or fault.sticky
        left = self.place.temporary()
        assert may_remain or not left, f"left over: {[path.name for path in left]}"
        if ended.code == 0 and self.place.outcome() == self.goal:
            return
        healed = self.run(None)
        if (
            healed.code == 2
            and self.command.start == "called"
            and "no control sample" in healed.errors
        ):
            healed = healed._replace(code=0)  # removed by the first run
        assert healed.code == 0, f"the second run: exit {healed.code} {healed.errors[-300:]}"
        check_nothing_lost(self.place, self.command, self.before)
        self.command.check(self.place, healed)
        now = self.place.outcome()
        assert now == self.goal, f"the second run leads elsewhere: {_difference(now, self.goal)}"


def _difference(now: dict[str, object], goal: dict[str, object]) -> str:
    return "; ".join(
        f"{key}: {now[key]} != {goal[key]}"[:600] for key in goal if now[key] != goal[key]
    )


@pytest.fixture(scope="module")
def tried(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    """The place, in memory where that is possible, and the process that runs the commands."""
    scratch = tmp_path_factory.mktemp("calls")
    memory = Path("/dev/shm")
    base = memory if os.access(memory, os.W_OK) else None
    root = Path(tempfile.mkdtemp(dir=base))
    try:
        (root / "place").mkdir()
        place = Place(root / "place", model_folder)
        environment = {"CTCEDGE_STATE": str(place.state), "HOME": str(scratch)}
        forker = Forker(place.root, library(scratch), scratch, environment)
        try:
            yield Tried(place, forker, prepare(place, forker))
        finally:
            forker.close()
    finally:
        shutil.rmtree(root)


@pytest.mark.parametrize("name", COMMANDS)
def test_some_calls_of_each_command(tried: Tried, name: str) -> None:
    seed = int(os.environ.get("CTCEDGE_FAULT_SEED", "1"))
    print(f"CTCEDGE_FAULT_SEED={seed}")
    trial = Trial(tried, COMMANDS[name])
    chosen = list(faults(trial.counts))
    random.Random(seed).shuffle(chosen)
    _try(trial, chosen[:_TRIES])


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_call_of_each_command(tried: Tried, name: str) -> None:
    trial = Trial(tried, COMMANDS[name])
    _try(trial, list(faults(trial.counts)))


def _try(trial: Trial, chosen: list[Fault]) -> None:
    start, problems = time.monotonic(), []
    for fault in chosen:
        if problem := trial.problem(fault):
            problems.append(problem)
            print(problem, flush=True)
    print(f"{len(chosen)} faults in {time.monotonic() - start:.0f} s")
    assert not problems, "\n".join(problems)
