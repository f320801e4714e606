"""`ctcedge report`, `export` and `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctcedge.cli.exit_codes import EXIT_UNCLASSIFIED
from ctcedge.cli.options import (
    Config,
    DecimalSign,
    Folder,
    Json,
    Pattern,
    RunOptions,
    Samples,
    Sidecars,
    TableFormat,
    UsedModel,
    parse_path,
    sample_table,
    sidecar_root,
)
from ctcedge.cli.output import exit_if_incomplete, print_json, print_path, require_printed
from ctcedge.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ctcedge.results.columns import Kind, Row
    from ctcedge.settings import Settings
    from ctcedge.sidecars.scan import ScanResult


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
    samples: Samples = None,
) -> None:
    """Write one HTML page for viewing and reviewing the cells.

    The page needs no internet connection and no server. It saves the reviews in a file for 'ctcedge
    review import'.

    Example: ctcedge report /deparray/out --sidecars /data/calls --out report.html
    """
    from ctcedge.cli.next_step import folder_options, print_next_import
    from ctcedge.model.folder import load_model
    from ctcedge.report import write_report

    options = RunOptions(config=config, out=sidecars, model=model, pattern=pattern, samples=samples)
    settings = options.settings(folder)
    report = write_report(
        folder,
        sidecar_root(settings),
        out,
        settings.naming(),
        pseudonymise=pseudonymise,
        model=None if settings.model is None else load_model(settings.model),
        table=sample_table(settings, folder),
        follow=out is not None,
    )
    print_path(report.path)
    print_next_import(folder, folder_options(sidecars=sidecars, config=config, pattern=pattern))
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
    per_sample: Annotated[
        bool, typer.Option("--per-sample", help="One row per sample, without a row of totals.")
    ] = False,
    per_patient: Annotated[
        bool,
        typer.Option("--per-patient", help="One row per patient that the table of samples names."),
    ] = False,
    model: UsedModel = None,
    samples: Samples = None,
    config: Config = None,
    pattern: Pattern = None,
) -> None:
    """Write a table with one row per cell, its call and its review.

    With --per-sample or --per-patient, it has their counts. 'samples.csv' in FOLDER names patient
    and volume of each sample.

    Example: ctcedge export /deparray/out --sidecars /data/calls --out calls.csv
    """
    from ctcedge.cli import render_results
    from ctcedge.results import columns, table, table_files
    from ctcedge.results.crop_table import crop_table
    from ctcedge.sidecars.scan import require_sidecars

    if sum((picklist, per_sample, per_patient)) > 1:
        raise SetupError("give one of --picklist, --per-sample and --per-patient")
    options = RunOptions(config=config, out=sidecars, model=model, pattern=pattern, samples=samples)
    settings = options.settings(folder)
    chosen = table_files.format_of(None if table_format is None else table_format.value, out)
    decimal_comma = decimal is DecimalSign.comma
    table_files.check_place(out, chosen, decimal_comma=decimal_comma)
    if picklist and names is not None:
        raise SetupError("--picklist has the columns sample and cell; leave out --columns")
    if (per_sample or per_patient) and names is not None:
        raise SetupError(
            "tables of samples and patients have columns of their own; leave out --columns"
        )
    naming = settings.naming()
    cells = require_sidecars(folder, sidecar_root(settings), naming)
    patients = False
    if per_sample or per_patient:
        rows, kinds, patients = _counted_rows(folder, settings, cells, per_patient=per_patient)
        table_files.write_table(out, rows, kinds, chosen, decimal_comma=decimal_comma)
        unread: Mapping[str, str] = {}
    elif picklist:
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
    _print_next_of_export(folder, options, patients=patients and per_sample)
    exit_if_incomplete(cells.unreadable_dirs, cells.unreadable_sidecars)
    if unread:
        raise typer.Exit(EXIT_UNCLASSIFIED)


def _counted_rows(
    folder: Path, settings: Settings, cells: ScanResult, *, per_patient: bool
) -> tuple[Iterator[Row], Mapping[str, Kind], bool]:
    """Return rows and columns per sample or patient, and whether any patient is named.

    Raises:
        SetupError: there are no patients to show, or the table of samples cannot be used.
    """
    from ctcedge.cli.console import messages, print_list
    from ctcedge.model.folder import available_models, load_model
    from ctcedge.results import sample_columns
    from ctcedge.results.samples import collect_results

    table = sample_table(settings, folder)
    used_model = None if settings.model is None else load_model(settings.model)
    results = collect_results(cells, table, available_models(used_model))
    if per_patient and not results.patients:
        where = table.path or f"there is no {folder / 'samples.csv'}"
        raise SetupError(
            f"no patient of a sample in {folder} is known: {where}; write a CSV file with the"
            " columns sample,patient,volume_ml,kind"
        )
    print_list(
        "sample of the table of samples is not in the folder",
        "samples of the table of samples are not in the folder",
        results.missing,
        messages,
        more="",
    )
    if per_patient:
        rows = sample_columns.patient_rows(results.patients)
        return rows, sample_columns.PATIENT_KINDS, True
    rows = sample_columns.sample_rows(results.samples)
    return rows, sample_columns.SAMPLE_KINDS, bool(results.patients)


def _print_next_of_export(folder: Path, options: RunOptions, *, patients: bool) -> None:
    """Print the next step: the table of patients, or the verification."""
    from ctcedge.cli.next_step import folder_options, print_next

    given = folder_options(sidecars=options.out, config=options.config, pattern=options.pattern)
    given["--model"] = options.model
    if patients:
        table = {"--samples": options.samples, "--per-patient": True, "--out": "patients.csv"}
        print_next("export", folder, options=given | table)
    else:
        print_next("verify", folder, options=given)


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
