"""`ctcedge review import`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctcedge.cli.exit_codes import EXIT_UNCLASSIFIED
from ctcedge.cli.options import (
    Config,
    Json,
    Pattern,
    RunOptions,
    Sidecars,
    command_group,
    parse_path,
    sidecar_root,
)
from ctcedge.cli.output import exit_if_incomplete, print_json

if TYPE_CHECKING:
    from ctcedge.results.agreement import Assessment

review_app = command_group(
    "Import review decisions from the report page into the sidecars.\n\n"
    "Example: ctcedge review import corrections.json /deparray/out"
)


@review_app.command("import")
def review_import(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", parser=parse_path, help="File saved by the report page."),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", parser=parse_path, help="Folder of crops.  [default: that of FILE]"
        ),
    ] = None,
    sidecars: Sidecars = None,
    config: Config = None,
    pattern: Pattern = None,
    changed_calls: Annotated[
        bool,
        typer.Option(
            "--changed-calls",
            help="Also import reviews of cells whose call has changed since.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Import a reviewer's decisions; the model's calls are kept.

    A watch may be running. Also reports how far the model and the reviewers agree, and estimates
    the number of missed CTCs. Exit code 3: some reviews were not imported, as their cells changed
    or were not found.

    Example: ctcedge review import corrections.json /deparray/out --sidecars /data/calls
    """
    from ctcedge.cli import render_results
    from ctcedge.cli.console import print_warning
    from ctcedge.discovery.naming import folder_name
    from ctcedge.results.agreement import assess
    from ctcedge.results.controls import with_new_ctcs
    from ctcedge.results.corrections import read_corrections
    from ctcedge.results.reviews import import_reviews
    from ctcedge.sidecars.scan import require_sidecars
    from ctcedge.sidecars.store import SidecarStore

    corrections = read_corrections(file)
    folder = Path(os.path.abspath(file)).parent if folder is None else folder
    options = RunOptions(config=config, out=sidecars, pattern=pattern)
    settings = options.settings(folder)
    root, naming = sidecar_root(settings), settings.naming()
    cells = require_sidecars(folder, root, naming)
    imported = import_reviews(
        corrections,
        folder,
        cells,
        SidecarStore(folder, root),
        changed_calls=changed_calls,
    )
    assessment = assess(require_sidecars(folder, root, naming))
    controls_with_ctcs = with_new_ctcs(folder, require_sidecars(folder, root, naming))
    same_name = corrections.pseudonymised or corrections.folder_name == folder_name(folder)
    if as_json:
        print_json(
            {
                "schema": "ctcedge/review-import/1",
                "folder": str(folder),
                **imported.as_json(),
                "reviews": assessment.as_json(),
                "controls_with_ctcs": controls_with_ctcs,
            }
        )
    else:
        render_results.print_import(imported, None if same_name else corrections.folder_name)
        render_results.print_assessment(assessment)
        for warning in controls_with_ctcs:
            print_warning(warning)
        _print_next(folder, options, assessment)
    exit_if_incomplete(cells.unreadable_dirs, cells.unreadable_sidecars)
    if not imported.complete:
        raise typer.Exit(EXIT_UNCLASSIFIED)


def _print_next(folder: Path, options: RunOptions, assessment: Assessment) -> None:
    """Print the next step: the pick list where persons confirmed CTCs, else the counts."""
    from ctcedge.cli.next_step import folder_options, print_next

    given = folder_options(sidecars=options.out, config=options.config, pattern=options.pattern)
    if any(word == "CTC" for _, word in assessment.words):
        print_next("export", folder, options=given | {"--picklist": True, "--out": "picklist.csv"})
    else:
        print_next("export", folder, options=given | {"--per-sample": True, "--out": "results.csv"})
