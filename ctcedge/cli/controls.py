"""`ctcedge controls add`, `list` and `remove`."""

from __future__ import annotations

from typing import Annotated

import typer

from ctcedge.cli.options import (
    Config,
    Folder,
    Json,
    Pattern,
    RunOptions,
    Sidecars,
    command_group,
    sidecar_root,
)
from ctcedge.cli.output import exit_if_incomplete, print_json, require_printed

controls_app = command_group(
    "Count false positives in your own runs of healthy donors.\n\n"
    "Example: ctcedge controls add /deparray/donor7"
)


@controls_app.command("add")
def controls_add(
    folder: Folder,
    sidecars: Sidecars = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the folder's only sample, if not its path."),
    ] = None,
    with_confirmed_ctcs: Annotated[
        bool,
        typer.Option(
            "--with-confirmed-ctcs",
            help="Also add samples in which reviewers confirmed CTCs.",
        ),
    ] = False,
    config: Config = None,
    pattern: Pattern = None,
    as_json: Json = False,
) -> None:
    """Count the false positives in classified runs of healthy donors.

    Each CTC call in such a run is one. The counts predict the number of false positives in other
    runs. Adding a sample again replaces its earlier count. A sample in which reviewers confirmed
    CTCs is refused.

    Example: ctcedge controls add /deparray/donor7 --sidecars /data/calls
    """
    from ctcedge.cli import render_results
    from ctcedge.results.controls import add
    from ctcedge.sidecars.scan import require_sidecars

    settings = RunOptions(config=config, out=sidecars, pattern=pattern).settings(folder)
    cells = require_sidecars(folder, sidecar_root(settings), settings.naming())
    added = add(folder, cells, name, with_confirmed_ctcs=with_confirmed_ctcs)
    if as_json:
        print_json({"schema": "ctcedge/controls-added/1", **added.as_json()})
    else:
        render_results.print_added_controls(added)
    exit_if_incomplete(cells.unreadable_dirs, cells.unreadable_sidecars)


@controls_app.command("list")
def controls_list(as_json: Json = False) -> None:
    """List the healthy-donor samples that are counted on this machine.

    Example: ctcedge controls list
    """
    from ctcedge.cli import render_results
    from ctcedge.records import plain
    from ctcedge.results.controls import controls_file, usable_controls

    path = controls_file()
    controls = usable_controls(strict=True)  # a list without a file would be taken for all
    if as_json:
        listed = [plain(control) for control in controls]
        print_json(
            {"schema": "ctcedge/controls-list/1", "file": path and str(path), "controls": listed}
        )
    else:
        render_results.print_controls(controls, path)
        require_printed()


@controls_app.command("remove")
def controls_remove(
    sample: Annotated[
        str, typer.Argument(metavar="SAMPLE", help="Name as in 'ctcedge controls list'.")
    ],
) -> None:
    """Remove a sample from the controls.

    Example: ctcedge controls remove donor7
    """
    from ctcedge.results.controls import remove

    count = remove(sample)
    print(f"Removed {count} {'entry' if count == 1 else 'entries'}")
