"""The command line: registers the commands and maps errors to exit codes.

Commands import what they need when they run, so that `ctcedge --help` is fast.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, NoReturn

import typer

from ctcedge.cli.bench import bench
from ctcedge.cli.classify import classify
from ctcedge.cli.controls import controls_app
from ctcedge.cli.inspect import doctor, inspect, status
from ctcedge.cli.models import models_app
from ctcedge.cli.output import EXIT_CRASH, EXIT_SETUP
from ctcedge.cli.report import export, report, verify
from ctcedge.cli.review import review_app
from ctcedge.cli.service import service_app
from ctcedge.cli.watch import watch
from ctcedge.errors import SetupError
from ctcedge.version import __version__

# All matrices here are small: the threads of NumPy's OpenBLAS cost more than they gain.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

app = typer.Typer(
    name="ctcedge",
    help=(
        "Detect circulating tumour cells (CTCs) in bright-field crops of a DEPArray.\n\n"
        "Research software, not a diagnostic.\n\n"
        "Exit codes: 0 all crops are classified; 1 internal error; 2 wrong usage or set-up;"
        " 3 some crops are unclassified or, for status, pending; 130 or 143 classify was"
        " interrupted by Ctrl-C or SIGTERM."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (classify, watch, status, inspect, report, export, verify, doctor, bench):
    app.command()(command)
app.add_typer(review_app, name="review")
app.add_typer(controls_app, name="controls")
app.add_typer(models_app, name="models")
app.add_typer(service_app, name="service")


def main() -> NoReturn:
    """Run the command line and exit with the documented code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names may hold any character
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SetupError as error:
        from ctcedge.cli.console import print_error

        print_error(str(error))
        sys.exit(EXIT_SETUP)
    except Exception as error:
        from ctcedge import log

        with log.to_stderr("text"):
            log.crash(error)
        sys.exit(EXIT_CRASH)
    sys.exit(0)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"ctcedge {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass
