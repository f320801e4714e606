"""`ctcedge status`, `inspect` and `doctor`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctcedge.cli.exit_codes import EXIT_SETUP, EXIT_UNCLASSIFIED
from ctcedge.cli.options import (
    Config,
    Folder,
    Index,
    Json,
    ModelOption,
    Pattern,
    RunOptions,
    Samples,
    SidecarsOrOut,
    UmPerPx,
    UsedModel,
    parse_path,
    sample_table,
    sidecar_root,
)
from ctcedge.cli.output import print_json, require_printed

if TYPE_CHECKING:
    from ctcedge.results.status import Status


def status(
    folder: Folder,
    sidecars: SidecarsOrOut = None,
    model: UsedModel = None,
    config: Config = None,
    pattern: Pattern = None,
    samples: Samples = None,
    as_json: Json = False,
) -> None:
    """Show classification status from the files on disk.

    No running watch is needed. Counts crops by call, unclassified and pending crops; shows which
    samples differ from the training data, the models used, and whether a ctcedge is writing there
    now. Exit code 3: some crops are unclassified or pending, or the names of images are not
    understood.

    Example: ctcedge status /deparray/out --sidecars /data/calls
    """
    from ctcedge.cli import console, render
    from ctcedge.model.folder import load_model
    from ctcedge.results.status import collect_status
    from ctcedge.sidecars.scan import CropScan

    options = RunOptions(config=config, out=sidecars, model=model, pattern=pattern, samples=samples)
    settings = options.settings(folder)
    table = sample_table(settings, folder)
    used_model = None if settings.model is None else load_model(settings.model)
    naming = settings.naming()
    total = sum(1 for _ in CropScan(folder, naming)) if sys.stderr.isatty() else None
    with console.progress(total, "Reading sidecars") as bar:
        scan = CropScan(folder, naming)
        crops = bar.track(scan, task_id=bar.task_ids[0])
        collected = collect_status(
            folder, sidecar_root(settings), crops, used_model, scan.unreadable_dirs, table
        )
    collected.not_understood = scan.not_understood()
    if as_json:
        print_json(collected.as_json())
    else:
        render.print_status(collected)
        require_printed()
    render.print_not_understood(collected.not_understood)
    if not as_json:
        _print_next(folder, options, collected)
    if not collected.complete:
        raise typer.Exit(EXIT_UNCLASSIFIED)


def _print_next(folder: Path, options: RunOptions, status: Status) -> None:
    """Print the next step: classify what is pending, or the report."""
    from ctcedge.cli.next_step import folder_options, print_next

    given = folder_options(config=options.config, pattern=options.pattern)
    if not status.crops:
        print_next("inspect", folder, options=given)
    elif status.pending and not status.running:
        print_next("classify", folder, options=given | {"--out": options.out})
    elif status.tally.calls.total():
        more = {"--model": options.model, "--samples": options.samples}
        print_next("report", folder, options=given | {"--sidecars": options.out} | more)


def inspect(
    folder: Folder,
    config: Config = None,
    pattern: Pattern = None,
    index: Index = None,
    um_per_px: UmPerPx = None,
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="Write the pattern that is given or proposed into FOLDER/ctcedge.toml."
        ),
    ] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=parse_path,
            help="Write an anonymised description of the export, for the maintainers.",
        ),
    ] = None,
    bundle_pixels: Annotated[
        bool, typer.Option("--bundle-pixels", help="Add the pixels of three crops to it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show how a folder is read, and what is left out and why.

    Classifies nothing. Where the names of images are not understood, it proposes a pattern.
    --bundle writes shapes of names, headers and sizes as JSON: no names, and pixels only if asked.

    Example: ctcedge inspect /deparray/out --pattern '{sample}/{cell}_{channel}.png'
    """
    import json

    from ctcedge.cli.console import messages, printable
    from ctcedge.cli.next_step import folder_options, print_next
    from ctcedge.cli.render_inspection import print_inspection
    from ctcedge.discovery.scan import check_folder
    from ctcedge.errors import SettingsError
    from ctcedge.results.anonymous import describe_export
    from ctcedge.results.inspect import inspect_folder
    from ctcedge.results.output_files import replacing
    from ctcedge.results.pattern_file import write_pattern

    check_folder(folder)
    options = RunOptions(config=config, pattern=pattern, um_per_px=um_per_px)
    sourced = options.sourced_settings(folder)
    inspection = inspect_folder(folder, sourced.settings.images, index)
    inspection.origins = {
        key: origin for key, origin in sourced.origins.items() if key.startswith("images.")
    }
    if as_json:
        print_json(inspection.as_json())
    else:
        print_inspection(inspection)
    if bundle is not None:
        description = describe_export(folder, sourced.settings.images, pixels=bundle_pixels)
        with replacing(bundle, follow=True) as file:
            file.write(json.dumps(description, indent=1).encode("ascii"))
        shown = printable(str(bundle))
        messages.print(f"Written: {shown}. Read it before you send it: it is plain JSON.")
    elif bundle_pixels:
        raise SettingsError("--bundle-pixels needs --bundle FILE")
    if write:
        if pattern is None and inspection.proposal is not None:
            pattern = inspection.proposal.template
        if pattern is None:
            raise SettingsError("there is no pattern to write; give one by --pattern")
        path = write_pattern(folder, pattern)
        messages.print(f"Written: {printable(str(path))}")
    if not as_json:
        require_printed()
        if inspection.sizes:
            names = folder_options(config=config, pattern=None if write else pattern)
            more = {"--um-per-px": um_per_px, "--index": index}
            print_next("classify", folder, options=names | more)


def doctor(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", parser=parse_path, help="Folder that sidecars will be written to."
        ),
    ] = None,
    sidecars: SidecarsOrOut = None,
    model: ModelOption = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Check this machine and show how to fix problems.

    Checks versions, settings files, GPU, model and write access.

    Example: ctcedge doctor /deparray/out
    """
    import dataclasses

    from ctcedge.cli import render
    from ctcedge.cli.next_step import print_next
    from ctcedge.doctor import examine

    checks = []
    options = RunOptions(config=config, model=model, out=sidecars)
    for check in examine(options.sourced_settings, folder):
        checks.append(check)
        if not as_json:
            render.print_check(check)
    if as_json:
        print_json({"checks": [dataclasses.asdict(check) for check in checks]})
    else:
        require_printed()
    failed = any(check.state == "failed" for check in checks)
    if folder is not None and not failed and not as_json:
        print_next("inspect", folder)
    if failed:
        raise typer.Exit(EXIT_SETUP)
