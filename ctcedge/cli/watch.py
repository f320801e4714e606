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
    StabilityDelay,
    UmPerPx,
)
from ctcedge.cli.output import print_json
from ctcedge.dependencies import damaged_package, outdated_package
from ctcedge.errors import SetupError

if TYPE_CHECKING:
    from ctcedge.pipeline.run import Run
    from ctcedge.results.summary import Summary


def watch(
    folder: Folder,
    out: Out = None,
    model: ModelOption = None,
    provider: Provider = None,
    config: Config = None,
    pattern: Pattern = None,
    um_per_px: UmPerPx = None,
    operating_point: OperatingPoint = None,
    prevalence: Prevalence = None,
    batch_size: BatchSize = None,
    gpu_memory: GpuMemory = None,
    stability_delay: StabilityDelay = None,
    rescan_interval: RescanInterval = None,
    decode_timeout: DecodeTimeout = None,
    report_idle: ReportIdle = None,
    force: Force = False,
    metrics: Metrics = None,
    log_format: LogFormat = LogFormatName.text,
    as_json: Json = False,
) -> None:
    """Classify crops as they arrive, until Ctrl-C or SIGTERM.

    Starts with the crops that are already in the folder.

    Example: ctcedge watch /deparray/out --out /data/calls --um-per-px 0.5
    """
    from ctcedge import log as logs
    from ctcedge.cli import render
    from ctcedge.discovery.naming import Crop
    from ctcedge.discovery.scan import check_folder, list_folder
    from ctcedge.pipeline.run import open_run
    from ctcedge.results.image_warnings import stated_um_per_px
    from ctcedge.results.summary import Summary
    from ctcedge.service.prometheus import MetricsFile
    from ctcedge.service.sd_notify import Notifier
    from ctcedge.service.watch_state import WatchState
    from ctcedge.service.watcher import Watcher
    from ctcedge.signals import Interruption

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
        stability_delay=stability_delay,
        rescan_interval=rescan_interval,
        decode_timeout=decode_timeout,
        report_idle=report_idle,
    )
    metrics_file = None if metrics is None else MetricsFile(metrics)
    notifier = Notifier.from_environment(os.environ)

    def publish(state: WatchState) -> None:
        notifier.status(str(state))
        notifier.watchdog_ping()
        if metrics_file is not None:
            metrics_file.update(state)

    def stop() -> None:
        notifier.stopping()
        watcher.stop()

    with _logging(log_format) as log, Interruption() as interruption:
        check_folder(folder)
        settings = options.settings(folder)
        with open_run(folder, settings) as run:
            summary = Summary(ood_detector=run.classifier.ood_detector)
            found = list_folder(folder, run.naming).crops
            summary.stated_um_per_px = stated_um_per_px(folder, found)
            recalled = run.pipeline.lookup_done(found)
            run.sidecars.check(entry if isinstance(entry, Crop) else None for entry in recalled)
            for level, text in render.notices(run, summary.stated_um_per_px):
                log.log(level, "%s", text, extra=logs.event("opening"))
            watcher = Watcher(run, force=force, publish=publish)
            interruption.on_request(stop)
            notifier.ready(str(watcher.state))
            for outcome in watcher.outcomes():
                if warning := summary.add(outcome):
                    log.warning("%s", warning, extra=logs.event("image"))
            summary.not_understood = watcher.scan_report.not_understood
            finished = watcher.scan_report.complete and not watcher.pending
        _log_summary(log, run, summary)
        if as_json:
            print_json(summary.as_json(run, finished=finished))
        elif sys.stdout.isatty():
            render.print_summary(run, summary, finished=finished)
            render.print_damaged_sidecars(summary)


def _log_summary(log: logging.Logger, run: Run, summary: Summary) -> None:
    from ctcedge import log as logs
    from ctcedge.results.false_positives import describe

    false_positives = summary.false_positives(run)
    log.info(
        "%s",
        describe(false_positives),
        extra=logs.event("false-positives", expected=false_positives and false_positives.as_json()),
    )
    counts = {**+summary.tally.calls, "unclassified": len(summary.unclassified)}
    log.info(
        "stopped; total: %s",
        ", ".join(f"{count} {name}" for name, count in counts.items()),
        extra=logs.event("stopped", counts=counts),
    )


@contextlib.contextmanager
def _logging(log_format: LogFormatName) -> Iterator[logging.Logger]:
    """Log to standard error, also the error that ends the command."""
    from ctcedge import log as logs
    from ctcedge.fs.problems import unexpected_problem

    log = logging.getLogger("ctcedge")
    with logs.to_stderr(log_format.value):
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
