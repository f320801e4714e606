"""The commands of the command line, as one Typer application.

Commands import what they need when they run, so that `ctcedge --help` is fast.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ctcedge.cli.bench import bench
from ctcedge.cli.classify import classify
from ctcedge.cli.controls import controls_app
from ctcedge.cli.inspect import doctor, inspect, status
from ctcedge.cli.models import models_app
from ctcedge.cli.options import HELP_OPTIONS, version_option
from ctcedge.cli.report import export, report, verify
from ctcedge.cli.review import review_app
from ctcedge.cli.service import service_app
from ctcedge.cli.suggestions import SuggestingGroup
from ctcedge.cli.watch import watch

app = typer.Typer(
    name="ctcedge",
    cls=SuggestingGroup,
    help=(
        "Detect circulating tumour cells (CTCs) in bright-field crops of a DEPArray.\n\n"
        "Research software, not a diagnostic.\n\n"
        "Exit codes: 0 all crops are classified; 1 internal error; 2 wrong usage or set-up;"
        " 3 some crops are unclassified or, for status, pending; 130 or 143 classify was"
        " interrupted by Ctrl-C or SIGTERM."
    ),
    no_args_is_help=True,
    add_completion=True,
    context_settings=HELP_OPTIONS,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (classify, watch, status, inspect, report, export, verify, doctor, bench):
    app.command()(command)
app.add_typer(review_app, name="review")
app.add_typer(controls_app, name="controls")
app.add_typer(models_app, name="models")
app.add_typer(service_app, name="service")


@app.callback()
def _root(version: Annotated[bool, version_option("ctcedge")] = False) -> None:
    pass
