"""`ctcedge bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ctcedge.cli.exit_codes import EXIT_INTERRUPTED
from ctcedge.cli.options import (
    Config,
    Json,
    ModelOption,
    Pattern,
    Provider,
    RunOptions,
    UmPerPx,
    parse_path,
)
from ctcedge.cli.output import print_json, require_printed


def bench(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER",
            parser=parse_path,
            help="Folder of crops, only read.  [default: synthetic crops]",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=parse_path,
            help="Write to a temporary folder in DIR, to measure its disk.",
        ),
    ] = None,
    model: ModelOption = None,
    provider: Provider = None,
    count: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Crops per round.  [default: 2000; on a GPU 10240]"),
    ] = None,
    config: Config = None,
    pattern: Pattern = None,
    um_per_px: UmPerPx = None,
    as_json: Json = False,
) -> None:
    """Measure the speed of this PC, from file to sidecar.

    Compares it with the speed of inference alone. Takes about a minute; results are best on an idle
    machine. All files it writes are removed.

    Example: ctcedge bench /deparray/out --out /data/calls --um-per-px 0.5
    """
    from ctcedge.bench import bench as measuring
    from ctcedge.cli import console, render_bench
    from ctcedge.signals import Interruption

    options = RunOptions(
        config=config, model=model, provider=provider, pattern=pattern, um_per_px=um_per_px
    )
    with Interruption() as interruption:
        try:
            result = measuring.bench(
                folder,
                options.settings,
                out=out,
                count=count,
                on_progress=lambda text: console.messages.print(console.printable(text)),
                should_stop=interruption.requested,
            )
        except measuring.Interrupted:
            raise typer.Exit(EXIT_INTERRUPTED + interruption.number) from None
    if as_json:
        print_json(result.as_json())
    else:
        render_bench.print_bench(result)
        require_printed()
