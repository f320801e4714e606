"""Writes a report on each sample of a watch, once it has had no new crops for a while.

Each report is written by a process of its own, `python -m ctcedge.service.sample_reports`, so that
neither its duration nor its failure stops the watch. The log does not name the sample.
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
from ctcedge.fs.files import file_signature, modified_ns
from ctcedge.log import event
from ctcedge.model.folder import load_model
from ctcedge.pipeline.outcome import Outcome
from ctcedge.pipeline.run import Run
from ctcedge.processes import child_process
from ctcedge.records import convert, plain
from ctcedge.settings import ImageSettings

log = logging.getLogger("ctcedge.service.sample_reports")

_POLL_INTERVAL = 1.0  # seconds between checks of a report that is being written
_TIMEOUT = 3600.0  # seconds for one report
_STOP_TIMEOUT = 5.0  # seconds in which a report that is cancelled may clean up
_NICENESS = 10
_EXIT_REFUSED = 2
_SPECIAL_CHARACTER = re.compile(r"[^A-Za-z0-9._-]")
_MAX_NAME = 100  # characters of a sample in a file name


@dataclass(slots=True)
class _Sample:
    """A sample with new crops.

    Attributes:
        last_outcome: time of its last outcome, on the clock.
        newest_sidecar: modification time of its newest sidecar, Unix time in ns.
    """

    last_outcome: float
    newest_sidecar: int


class SampleReports:
    """Writes reports, one at a time; `step` must be called often, and `stop` at the end.

    Args:
        run: the opened folder.
        idle: seconds without new crops after which a sample's report is written.
        clock: monotonic clock, seconds.
    """

    def __init__(self, run: Run, idle: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._idle = idle
        self._clock = clock
        self._samples: dict[str, _Sample] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._deadline = 0.0

    def add(self, outcome: Outcome) -> None:
        """Record that the sample of a crop has an outcome."""
        if outcome.record is None and outcome.index_entry is None:
            return
        try:
            written = os.lstat(self._run.sidecars.path(outcome.crop)).st_mtime_ns
        except OSError:
            return
        sample = self._samples.get(outcome.crop.sample)
        newest = max(written, sample.newest_sidecar if sample else 0)
        self._samples[outcome.crop.sample] = _Sample(self._clock(), newest)

    def next_due(self) -> float | None:
        """Time at which `step` has something to do, on the clock; None where it has nothing."""
        if self._process is not None:
            return self._clock() + _POLL_INTERVAL
        samples = self._samples.values()
        return min((sample.last_outcome + self._idle for sample in samples), default=None)

    def step(self) -> None:
        """Check the report that is being written, and start the next one."""
        if self._process is not None and not self._has_ended(self._process):
            return
        self._process = None
        for name, sample in list(self._samples.items()):
            if self._clock() - sample.last_outcome < self._idle:
                continue
            del self._samples[name]
            path = self._run.sidecars.root / report_name(name)
            # It may be up to date since before a restart.
            if modified_ns(file_signature(str(path))) < sample.newest_sidecar:
                self._start(name, path)
                return

    def stop(self) -> None:
        """Cancel the report that is being written."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _start(self, sample: str, path: Path) -> None:
        task = {
            "folder": str(self._run.folder),
            "sidecars": str(self._run.sidecars.root),
            "out": str(path),
            "images": plain(self._run.settings.images),
            "sample": sample,
            "samples": self._run.settings.samples,
            "model": str(self._run.classifier.model.folder),
        }
        words, environment = child_process("-m", "ctcedge.service.sample_reports")
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # Ctrl-C must not reach it
            )
            assert self._process.stdin is not None
            with self._process.stdin as pipe:
                pipe.write(json.dumps(task).encode())
        except OSError as error:
            self.stop()
            self._log_failure(error.strerror or "no process can be started")
        self._deadline = self._clock() + _TIMEOUT

    def _has_ended(self, process: subprocess.Popen[bytes]) -> bool:
        code = process.poll()
        if code is None:
            if self._clock() > self._deadline:
                self.stop()
                self._log_failure(f"it took longer than {_TIMEOUT:g} s")
                return True
            return False
        if code == 0:
            log.info("the report on a finished sample was written", extra=event("report"))
        else:
            self._log_failure("it was refused" if code == _EXIT_REFUSED else f"exit code {code}")
        return True

    def _log_failure(self, reason: str) -> None:
        log.warning(
            "the report on a finished sample cannot be written (%s): 'ctcedge report' shows why",
            reason,
            extra=event("report-failed"),
        )


def report_name(sample: str) -> str:
    """File name of a sample's report; it is unique to the sample."""
    name = _SPECIAL_CHARACTER.sub("_", sample)[:_MAX_NAME]
    if name != sample:
        digest = hashlib.sha256(sample.encode("utf-8", "surrogateescape")).hexdigest()
        name = f"{name}-{digest[:12]}"
    return f"ctcedge-report-{name}.html"


def main() -> None:
    """Write the report that standard input describes."""
    from ctcedge.report import write_report
    from ctcedge.results.sample_table import load_sample_table

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it cleans up
    os.nice(_NICENESS)
    task = json.load(sys.stdin)
    try:
        folder, path = Path(task["folder"]), task["samples"]
        write_report(
            folder,
            Path(task["sidecars"]),
            Path(task["out"]),
            convert(task["images"], ImageSettings).naming(Path(task["sidecars"])),
            sample=task["sample"],
            table=load_sample_table(folder, None if path is None else Path(path)),
            model=load_model(task["model"]),
        )
    except SetupError:
        sys.exit(_EXIT_REFUSED)


if __name__ == "__main__":
    main()
