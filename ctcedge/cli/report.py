"""`ctcedge report`, `export` and `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ctcedge.cli.exit_codes import EXIT_UNCLASSIFIED
from ctcedge.cli.options import (
    Config,
    DecimalSign,
    Folder,
    Json,
    Pattern,
    RunOptions,
    Sidecars,
    TableFormat,
    UsedModel,
    parse_path,
    sidecar_root,
)
from ctcedge.cli.output import exit_if_incomplete, print_json, print_path, require_printed
from ctcedge.errors import SetupError


def report(
    folder: Folder,
    sidecars: Sidecars = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", parser=parse_path, help="Page to write.  [default: a file in FOLDER]"
        ),
    ] = None,
    pseudonymise: Annotated[
        bool,
        typer.Option("--pseudonymise", help="Replace sample and file names with pseudonyms."),
    ] = False,
    model: UsedModel = None,
    config: Config = None,
    pattern: Pattern = None,
) -> None:
    """Write one HTML page for viewing and reviewing the cells.

    The page needs no internet connection and no server. It saves the reviews in a file for 'ctcedge
    review import'.

    Example: ctcedge report /deparray/out --sidecars /data/calls --out report.html
    """
    from ctcedge.model.folder import load_model
    from ctcedge.report import write_report

    options = RunOptions(config=config, out=sidecars, model=model, pattern=pattern)
    settings = options.settings(folder)
    report = write_report(
        folder,
        sidecar_root(settings),
        out,
        settings.naming(),
        pseudonymise=pseudonymise,
        model=None if settings.model is None else load_model(settings.model),
        follow=out is not None,
    )
    print_path(report.path)
    exit_if_incomplete(report.unreadable_dirs, report.unreadable_sidecars)


def export(
    folder: Folder,
    sidecars: Sidecars = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=parse_path, help="Write to FILE, not standard output."),
    ] = None,
    table_format: Annotated[
        TableFormat | None,
        typer.Option("--format", help="Table format.  [default: from FILE's suffix, else csv]"),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="NAMES",
            help="all, brief, stains or names, separated by commas.  [default: all]",
        ),
    ] = None,
    decimal: Annotated[
        DecimalSign, typer.Option(help="Decimal sign in csv and tsv; comma: csv has semicolons.")
    ] = DecimalSign.point,
    picklist: Annotated[
        bool,
        typer.Option("--picklist", help="Only sample and cell of CTCs that a reviewer confirmed."),
    ] = False,
    config: Config = None,
    pattern: Pattern = None,
) -> None:
    """Write a table with one row per cell, its call and its review.

    Example: ctcedge export /deparray/out --sidecars /data/calls --out calls.csv
    """
    from ctcedge.cli import render_results
    from ctcedge.results import columns, table, table_files
    from ctcedge.results.crop_table import crop_table
    from ctcedge.sidecars.scan import require_sidecars

    settings = RunOptions(config=config, out=sidecars, pattern=pattern).settings(folder)
    chosen = table_files.format_of(None if table_format is None else table_format.value, out)
    decimal_comma = decimal is DecimalSign.comma
    table_files.check_place(out, chosen, decimal_comma=decimal_comma)
    if picklist and names is not None:
        raise SetupError("--picklist has the columns sample and cell; leave out --columns")
    naming = settings.naming()
    cells = require_sidecars(folder, sidecar_root(settings), naming)
    if picklist:
        picked = table.picklist(folder, cells)
        kinds = columns.PICKLIST_KINDS
        table_files.write_table(out, picked.rows(), kinds, chosen, decimal_comma=decimal_comma)
        render_results.print_picklist_notes(picked)
        unread = picked.unread
    else:
        crops = crop_table(folder, naming, cells, names, chosen)
        table_files.write_table(out, crops.rows, crops.kinds, chosen, decimal_comma=decimal_comma)
        render_results.print_unmeasured(crops.problems)
        unread = crops.problems
    exit_if_incomplete(cells.unreadable_dirs, cells.unreadable_sidecars)
    if unread:
        raise typer.Exit(EXIT_UNCLASSIFIED)


def verify(
    folder: Folder,
    sidecars: Sidecars = None,
    recompute_all: Annotated[
        bool, typer.Option("--all", help="Recompute all calls, not a sample.")
    ] = False,
    sample: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Recompute N calls.  [default: 200]"),
    ] = None,
    model: UsedModel = None,
    config: Config = None,
    pattern: Pattern = None,
    as_json: Json = False,
) -> None:
    """Verify that sidecars match images and that calls reproduce.

    Hashes every image, checks for every sidecar that its call follows from its score and that no
    review or earlier call was edited or removed, and recomputes a sample of the calls, the same
    sample each time. Exit code 3: something differs or cannot be recomputed, for instance because
    its model is missing.

    Example: ctcedge verify /deparray/out --sidecars /data/calls --all
    """
    from ctcedge.cli import render_results
    from ctcedge.results.verify import SAMPLE
    from ctcedge.results.verify import verify as verify_folder

    if recompute_all and sample is not None:
        raise SetupError("give --all or --sample N, not both")
    options = RunOptions(config=config, out=sidecars, model=model, pattern=pattern)
    settings = options.settings(folder)
    verified = verify_folder(
        folder,
        sidecar_root(settings),
        settings.naming(),
        model=settings.model,
        sample=None if recompute_all else SAMPLE if sample is None else sample,
    )
    if as_json:
        print_json(verified.as_json())
    else:
        render_results.print_verification(verified)
        require_printed()
    if not verified.good:
        raise typer.Exit(EXIT_UNCLASSIFIED)
