"""`ctcedge watch`."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from ctcedge.cli.exit_codes import EXIT_CRASH, EXIT_SETUP
from ctcedge.cli.options import (
    BatchSize,
    Config,
    DecodeTimeout,
    Folder,
    Force,
    GpuMemory,
    Index,
    Json,
    LogFormat,
    LogFormatName,
    Metrics,
    ModelOption,
    OperatingPoint,
    Out,
    Pattern,
    Prevalence,
    Provider,
    ReportIdle,
    RescanInterval,
    RunOptions,
    Samples,
    StabilityDelay,
    UmPerPx,
    Workers,
    sample_table,
)
from ctcedge.cli.output import print_json
from ctcedge.dependencies import damaged_package, outdated_package
from ctcedge.errors import SettingsError, SetupError

if TYPE_CHECKING:
    from pathlib import Path

    from ctcedge.cli.status_line import StatusLine
    from ctcedge.pipeline.outcome import Outcome
    from ctcedge.pipeline.run import Run
    from ctcedge.results.sample_table import SampleTable
    from ctcedge.results.summary import Summary
    from ctcedge.service.watch_state import WatchState
    from ctcedge.settings import Settings

_MAX_NAMED = 20  # images without a call that are named while a watch runs


def watch(
    folder: Folder,
    out: Out = None,
    model: ModelOption = None,
    provider: Provider = None,
    config: Config = None,
    pattern: Pattern = None,
    index: Index = None,
    um_per_px: UmPerPx = None,
    operating_point: OperatingPoint = None,
    prevalence: Prevalence = None,
    batch_size: BatchSize = None,
    gpu_memory: GpuMemory = None,
    workers: Workers = None,
    stability_delay: StabilityDelay = None,
    rescan_interval: RescanInterval = None,
    decode_timeout: DecodeTimeout = None,
    report_idle: ReportIdle = None,
    samples: Samples = None,
    force: Force = False,
    metrics: Metrics = None,
    log_format: LogFormat = LogFormatName.text,
    as_json: Json = False,
) -> None:
    """Classify crops as they arrive, until Ctrl-C or SIGTERM.

    Starts with the crops that are already in the folder. A terminal shows one line with the state
    and the counts of new and of all crops, and the names of images that cannot be read.

    Example: ctcedge watch /deparray/out --out /data/calls --um-per-px 0.5
    """
    from ctcedge import log as logs
    from ctcedge.cli import render
    from ctcedge.cli.status_line import describe, on_resize, on_terminal, status_line
    from ctcedge.discovery.naming import Crop
    from ctcedge.discovery.scan import check_folder, list_folder
    from ctcedge.pipeline.run import open_run
    from ctcedge.results.image_warnings import stated_um_per_px
    from ctcedge.results.summary import Summary
    from ctcedge.service.prometheus import MetricsFile
    from ctcedge.service.sd_notify import Notifier
    from ctcedge.service.watcher import Watcher
    from ctcedge.signals import Interruption
    from ctcedge.sources.cutter import Cutter

    options = RunOptions(
        out=out,
        model=model,
        provider=provider,
        config=config,
        pattern=pattern,
        um_per_px=um_per_px,
        operating_point=operating_point,
        prevalence=prevalence,
        batch_size=batch_size,
        gpu_memory=gpu_memory,
        workers=workers,
        stability_delay=stability_delay,
        rescan_interval=rescan_interval,
        decode_timeout=decode_timeout,
        report_idle=report_idle,
        samples=samples,
    )
    metrics_file = None if metrics is None else MetricsFile(metrics)
    notifier = Notifier.from_environment(os.environ)

    def publish(state: WatchState) -> None:
        notifier.status(str(state))
        notifier.watchdog_ping()
        if metrics_file is not None:
            metrics_file.update(state)
        if line is not None:
            scanned = watcher.scan_report.complete
            line.show(describe(state, summary, scanned=scanned, width=line.width()))

    def stop() -> None:
        notifier.stopping()
        watcher.stop()

    with (
        status_line(shown=log_format == LogFormatName.text) as line,
        _logging(log_format, line) as log,
        Interruption() as interruption,
    ):
        check_folder(folder)
        settings = options.settings(folder)
        if settings.samples is not None:
            sample_table(settings, folder)  # what is wrong with it is said at the start
        with open_run(folder, settings) as run:
            summary = Summary(ood_detector=run.classifier.ood_detector)
            found = list_folder(folder, run.naming).crops
            summary.stated_um_per_px = stated_um_per_px(folder, found)
            recalled = run.pipeline.lookup_done(found)
            run.sidecars.check(entry if isinstance(entry, Crop) else None for entry in recalled)
            for level, text in render.notices(run, summary.stated_um_per_px):
                log.log(level, "%s", text, extra=logs.event("opening"))
            folders = f"Watching {run.folder}; sidecars are written to {run.sidecars.root}"
            log.info("%s", folders, extra=logs.event("watching"))
            named = _Named(log) if log_format == LogFormatName.text and on_terminal() else None
            cutter = Cutter(folder, run.naming, index, lambda: watcher.must_stop())
            watcher = Watcher(run, force=force, cutter=cutter, publish=publish)
            interruption.on_request(stop)
            notifier.ready(str(watcher.state))
            with on_resize(watcher.refresh):
                for outcome in watcher.outcomes():
                    if warning := summary.add(outcome):
                        log.warning("%s", warning, extra=logs.event("image"))
                    if named is not None:
                        named.add(outcome)
            summary.not_understood = watcher.scan_report.not_understood
            summary.unclassified.update(cutter.problems)
            finished = watcher.scan_report.complete and not watcher.pending
        summary.sample_table = _final_table(log, settings, folder)
        if line is not None:
            line.clear()
        _log_summary(log, run, summary, watcher.state)
        if as_json:
            print_json(summary.as_json(run, finished=finished))
        elif sys.stdout.isatty():
            render.print_summary(run, summary, finished=finished)
            render.print_damaged_sidecars(summary)


class _Named:
    """Names new images without a call on a terminal; a journal never gets their names.

    Args:
        log: where to.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._count = 0

    def add(self, outcome: Outcome) -> None:
        """Name the image of an outcome, if it is new and has no call."""
        from ctcedge import log as logs

        if outcome.done != "written" or outcome.error is None:
            return
        self._count += 1
        if self._count <= _MAX_NAMED:
            text = f"no call: {outcome.crop.path}: {outcome.error}"
        elif self._count == _MAX_NAMED + 1:
            text = "further images without a call are not named here; 'ctcedge status' names all"
        else:
            return
        self._log.warning("%s", text, extra=logs.event("no-call"))


def _final_table(log: logging.Logger, settings: Settings, folder: Path) -> SampleTable:
    """Return the table of samples at the end; an empty one, with a warning, where it is wrong."""
    from ctcedge import log as logs
    from ctcedge.results.sample_table import SampleTable

    try:
        return sample_table(settings, folder)
    except SettingsError:
        log.warning(
            "the table of samples cannot be used; 'ctcedge status' shows why",
            extra=logs.event("samples"),
        )
        return SampleTable()


def _log_summary(log: logging.Logger, run: Run, summary: Summary, state: WatchState) -> None:
    from ctcedge import log as logs
    from ctcedge.results.false_positives import describe

    false_positives = summary.false_positives(run)
    log.info(
        "%s",
        describe(false_positives),
        extra=logs.event("false-positives", expected=false_positives and false_positives.as_json()),
    )
    counts = {**+summary.tally.calls, "unclassified": len(summary.unclassified)}
    new = {**+state.tally.calls, "unclassified": state.unclassified}
    total, of_these = (
        ", ".join(f"{count} {name}" for name, count in each.items()) for each in (counts, new)
    )
    log.info(
        "stopped; total: %s; newly written: %s",
        total,
        of_these,
        extra=logs.event("stopped", counts=counts, new=new),
    )


@contextlib.contextmanager
def _logging(log_format: LogFormatName, line: StatusLine | None) -> Iterator[logging.Logger]:
    """Log to standard error, also the error that ends the command.

    Args:
        log_format: format of the lines.
        line: the line below them, which shows the counts; None where they are logged.
    """
    from ctcedge import log as logs
    from ctcedge.fs.problems import unexpected_problem

    log = logging.getLogger("ctcedge")
    without = () if line is None else ("progress",)
    with logs.to_stderr(log_format.value, line, without):
        try:
            yield log
        except SetupError as error:
            log.error("%s", error, extra=logs.event("refused"))
            raise typer.Exit(EXIT_SETUP) from None
        except Exception as error:
            if problem := damaged_package(error):
                log.error("%s", problem, extra=logs.event("refused"))
                raise typer.Exit(EXIT_SETUP) from None
            if problem := unexpected_problem(error) or outdated_package():
                log.error("%s", problem, extra=logs.event("refused"))
                raise typer.Exit(EXIT_SETUP) from None
            logs.crash(error)
            raise typer.Exit(EXIT_CRASH) from None
