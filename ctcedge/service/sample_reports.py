"""A report on each sample of a watch, once nothing new has come of it for a while.

`python -m ctcedge.service.sample_reports` writes one: in a process of its own, so that neither the
time nor
a failure of it stops the watch. What is told of it in the log names no sample.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ctcedge.errors import SetupError
from ctcedge.log import event
from ctcedge.model.folder import load_model
from ctcedge.pipeline.outcome import Outcome
from ctcedge.pipeline.run import Run
from ctcedge.records import convert, plain
from ctcedge.settings import ImageSettings

log = logging.getLogger("ctcedge.report")

_LOOK_AGAIN = 1.0  # seconds between looks at a report that is being written
_LONGEST = 3600.0  # seconds
_PATIENCE = 5.0  # seconds for which a report that is given up may tidy up
_NICENESS = 10
_REFUSED = 2  # exit code
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_NAME = 100


@dataclass(slots=True)
class _Sample:
    """A sample of which something came.

    Attributes:
        last: when something last came of it, by the clock.
        newest: when its newest sidecar was written, Unix time in ns.
    """

    last: float
    newest: int


class SampleReports:
    """Writes reports, one at a time; call `step` often, and `stop` at the end.

    Args:
        run: the opened folder.
        after: seconds without anything new after which a sample is finished.
        clock: seconds that only go forward.
    """

    def __init__(self, run: Run, after: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._after = after
        self._clock = clock
        self._waiting: dict[str, _Sample] = {}
        self._now: subprocess.Popen[bytes] | None = None
        self._give_up_at = 0.0

    def note(self, outcome: Outcome) -> None:
        """Take down that something came of a crop's sample, or was there."""
        if outcome.record is None and outcome.index_entry is None:
            return
        try:
            written = os.lstat(self._run.sidecars.path(outcome.crop)).st_mtime_ns
        except OSError:
            return
        known = self._waiting.get(outcome.crop.sample)
        newest = max(written, known.newest if known else 0)
        self._waiting[outcome.crop.sample] = _Sample(self._clock(), newest)

    def next_due(self) -> float | None:
        """When `step` has something to do, by the clock; None where nothing waits."""
        if self._now is not None:
            return self._clock() + _LOOK_AGAIN
        return min((each.last + self._after for each in self._waiting.values()), default=None)

    def step(self) -> None:
        """See what became of a report, and begin the next."""
        if self._now is not None and not self._ended(self._now):
            return
        self._now = None
        for sample, each in list(self._waiting.items()):
            if self._clock() - each.last < self._after:
                continue
            del self._waiting[sample]
            place = self._run.sidecars.root / report_name(sample)
            if _written(place) < each.newest:  # a report may be there from before a restart
                self._begin(sample, place)
                return

    def stop(self) -> None:
        """Give up the report that is being written."""
        if self._now is None:
            return
        self._now.send_signal(signal.SIGINT)
        try:
            self._now.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._now.kill()
            self._now.wait()
        self._now = None

    def _begin(self, sample: str, place: Path) -> None:
        task = {
            "folder": str(self._run.folder),
            "sidecars": str(self._run.sidecars.root),
            "out": str(place),
            "images": plain(self._run.settings.images),
            "sample": sample,
            "model": str(self._run.classifier.model.folder),
        }
        # The same modules as here, and none from the working directory.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            self._now = subprocess.Popen(
                [sys.executable, "-P", "-m", "ctcedge.service.sample_reports"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # a Ctrl-C is for this process alone
            )
            assert self._now.stdin is not None
            with self._now.stdin as pipe:
                pipe.write(json.dumps(task).encode())
        except OSError as error:
            self.stop()
            self._failed(error.strerror or "no process can be started")
        self._give_up_at = self._clock() + _LONGEST

    def _ended(self, process: subprocess.Popen[bytes]) -> bool:
        code = process.poll()
        if code is None:
            if self._clock() > self._give_up_at:
                self.stop()
                self._failed(f"it took longer than {_LONGEST:g} s")
                return True
            return False
        if code == 0:
            log.info("a report on a finished sample is written", extra=event("report"))
        else:
            self._failed("it was refused" if code == _REFUSED else f"exit code {code}")
        return True

    def _failed(self, why: str) -> None:
        log.warning(
            "a report on a finished sample cannot be written (%s): 'ctcedge report' says why",
            why,
            extra=event("report-failed"),
        )


def report_name(sample: str) -> str:
    """Name of the file of a sample's report; of two samples it is never the same."""
    plain = _NOT_PLAIN.sub("_", sample)[:_LONGEST_NAME]
    if plain != sample:
        digest = hashlib.sha256(sample.encode("utf-8", "surrogateescape")).hexdigest()
        plain = f"{plain}-{digest[:12]}"
    return f"ctcedge-report-{plain}.html"


def main() -> None:
    """Write the report that standard input describes."""
    from ctcedge.report import write_report

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it tidies up
    os.nice(_NICENESS)
    task = json.load(sys.stdin)
    try:
        write_report(
            Path(task["folder"]),
            Path(task["sidecars"]),
            Path(task["out"]),
            convert(task["images"], ImageSettings).naming(),
            sample=task["sample"],
            model=load_model(task["model"]),
        )
    except SetupError:
        sys.exit(_REFUSED)


def _written(path: Path) -> int:
    """When a file was last written, Unix time in ns; 0 where there is none."""
    try:
        return os.lstat(path).st_mtime_ns
    except OSError:
        return 0


if __name__ == "__main__":
    main()
