"""`ctcedge service install`, `uninstall`, `status` and `monitoring`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctcedge.cli.options import (
    BatchSize,
    Config,
    DecodeTimeout,
    Folder,
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
    Yes,
    command_group,
    sidecar_root,
)
from ctcedge.cli.output import require_printed
from ctcedge.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctcedge.service.systemd import Step

service_app = command_group(
    "Run watch as a systemd service on this machine.\n\n"
    "Example: ctcedge service install /deparray/out"
)


@service_app.command("install")
def service_install(
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
    force: Annotated[bool, typer.Option("--force", hidden=True)] = False,
    metrics: Metrics = None,
    log_format: LogFormat = LogFormatName.text,
    as_json: Json = False,
    user: Annotated[str, typer.Option(metavar="NAME", help="Account to run as.")] = "ctcedge",
    yes: Yes = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the whole files and commands.")
    ] = False,
) -> None:
    """Install and start the service, or show the steps.

    Nothing is done without --yes. The options of 'ctcedge watch' apply to the service. Sidecars go
    below /var/lib/ctcedge unless --out is given. Installing again updates the service; other
    ctcedge services are not touched.

    Example: sudo /opt/ctcedge/bin/ctcedge service install /deparray/out --um-per-px 0.5 --yes
    """
    from ctcedge.discovery.scan import check_folder
    from ctcedge.service.systemd import Service
    from ctcedge.settings import LAB_VARIABLE, lab_config

    folder = Path(os.path.abspath(folder))
    check_folder(folder)
    if force:
        raise SetupError("a service with --force would classify all again at each start")
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
    settings = options.settings(folder)
    root = sidecar_root(settings)
    words = options.arguments(without=("out",))
    if index is not None:
        words += ["--index", os.path.abspath(index)]
    if metrics is not None:
        words += ["--metrics", os.path.abspath(metrics)]
    if log_format != LogFormatName.text:
        words += ["--log-format", log_format.value]
    if as_json:
        words += ["--json"]
    lab = lab_config() if config is None else None
    named = Path(os.path.abspath(lab)) if lab is not None and LAB_VARIABLE in os.environ else None
    readable = [path for path in (config, lab) if path is not None]
    if settings.model is not None and os.path.isdir(settings.model):
        readable.append(Path(settings.model))
    service = Service(
        folder,
        options=tuple(words),
        out=None if root is None else Path(os.path.abspath(root)),
        writable=() if metrics is None else (Path(os.path.abspath(metrics)).parent,),
        user=user,
        cpu_only=settings.provider == "cpu",
        lab=named,
        readable=tuple(Path(os.path.abspath(path)) for path in readable),
    )
    steps = service.install()
    if not verbose:
        _show_plan(folder, steps, user)
    _show_and_apply(steps, yes, whole=verbose)


@service_app.command("uninstall")
def service_uninstall(folder: Folder, yes: Yes = False) -> None:
    """Stop and remove the service, or show the steps.

    Nothing is done without --yes. The sidecars and the account are kept.

    Example: sudo /opt/ctcedge/bin/ctcedge service uninstall /deparray/out --yes
    """
    from ctcedge.service.systemd import uninstall

    _show_and_apply(uninstall(folder), yes)


@service_app.command("status")
def service_status(folder: Folder) -> None:
    """Show whether the service of a folder is running.

    The exit code is 2 if it is not.

    Example: ctcedge service status /deparray/out
    """
    from ctcedge.service.systemd import state, unit_name

    facts = state(folder)
    print(unit_name(folder))
    for key, value in facts.items():
        print(f"  {key}: {value or '-'}")
    require_printed()
    if facts["ActiveState"] != "active":
        raise SetupError(f"Service is not running; see: journalctl --unit '{unit_name(folder)}'")


@service_app.command("monitoring")
def service_monitoring(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Existing folder.")],
) -> None:
    """Write a Grafana dashboard and alert rules.

    They use the metrics of 'ctcedge watch --metrics', which Prometheus' node exporter collects.
    Files of the same names are replaced.

    Example: ctcedge service monitoring /etc/prometheus
    """
    from ctcedge.cli.output import print_path
    from ctcedge.service.monitoring import write_files

    for path in write_files(folder):
        print_path(path)


def _show_plan(folder: Path, steps: Sequence[Step], user: str) -> None:
    from ctcedge.service.plan import brief, command
    from ctcedge.service.systemd import unit_name

    print(f"{unit_name(folder)}, as account {user}:")
    print(f"  {command(steps)}")
    for line in brief(steps):
        print(line)
    sys.stdout.flush()


def _show_and_apply(steps: Sequence[Step], yes: bool, *, whole: bool = True) -> None:
    from ctcedge.service.systemd import apply

    if whole:
        for step in steps:
            print(step, end="", flush=True)
    if yes:
        apply(steps)
        print("Done.")
        return
    more = "" if whole else " --verbose shows the files."
    print(f"Dry run; nothing was changed. Pass --yes, as root, to apply.{more}")
