"""The command line. Commands import what they need when they run, so that help answers at once."""

from __future__ import annotations

import contextlib
import enum
import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ctcedge.errors import SetupError
from ctcedge.version import __version__

# Small matrices alone are multiplied here, where NumPy's threads cost more than they gain.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

EXIT_CRASH = 1
EXIT_SETUP = 2
EXIT_UNCLASSIFIED = 3
EXIT_INTERRUPTED = 128  # plus the signal's number, as a shell has it

app = typer.Typer(
    name="ctcedge",
    help=(
        "Tell circulating tumour cells (CTCs) from leukocytes in DEPArray bright-field crops.\n\n"
        "Research software, not a diagnostic.\n\n"
        "Exit codes: 0 every crop is classified; 3 finished, but some crops stand unclassified"
        " or, of status, pending; 2 wrong use or set-up; 1 internal error; 130 or 143 classify was"
        " interrupted by Ctrl-C or SIGTERM."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(
    help="List, show and verify models.\n\nExample: ctcedge models verify",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(models_app, name="models")
service_app = typer.Typer(
    help=(
        "Run watch as a systemd service of this machine.\n\n"
        "Example: ctcedge service install /deparray/out"
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(service_app, name="service")
review_app = typer.Typer(
    help=(
        "Bring what a person said on the report page into the sidecars.\n\n"
        "Example: ctcedge review import corrections.json /deparray/out"
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(review_app, name="review")
controls_app = typer.Typer(
    help=(
        "Keep the laboratory's own false CTC calls, from runs of healthy donors.\n\n"
        "Example: ctcedge controls add /deparray/donor7"
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(controls_app, name="controls")


class ProviderName(enum.StrEnum):
    """Choices of --provider."""

    auto = "auto"
    cuda = "cuda"
    tensorrt = "tensorrt"
    cpu = "cpu"


class OperatingPointName(enum.StrEnum):
    """Choices of --operating-point."""

    screening = "screening"
    balanced = "balanced"
    confirm = "confirm"


class TableFormat(enum.StrEnum):
    """Choices of --format."""

    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


class LogFormatName(enum.StrEnum):
    """Choices of --log-format."""

    text = "text"
    json = "json"


def _path(text: str) -> Path:
    """A path; an empty text, such as an unset variable in a script, would mean this folder."""
    if not text:
        raise typer.BadParameter("must not be empty")
    return Path(text)


Folder = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", parser=_path, help="Folder of crops, searched recursively."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", parser=_path, help="Write sidecars below DIR, not beside the images."
    ),
]
Sidecars = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", parser=_path, help="Where the sidecars lie, if not beside the images."
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME_OR_DIR", help="Model; the shipped one if left out."),
]
MadeBy = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME_OR_DIR",
        help="Model that made the calls, if it is not a shipped one.",
    ),
]
Provider = Annotated[
    ProviderName | None,
    typer.Option(help="Where the network runs; auto: CUDA where it really runs, else CPU."),
]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", parser=_path, help="Settings in TOML, instead of FOLDER/ctcedge.toml."
    ),
]
Pattern = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help=(
            "How names are built, with groups cell, channel, sample:"
            r" '(?P<cell>\d+)_(?P<channel>\w+)\.png'."
        ),
    ),
]
UmPerPx = Annotated[
    float | None,
    typer.Option("--um-per-px", metavar="X", help="Edge length of an image pixel in um."),
]
OperatingPoint = Annotated[
    OperatingPointName | None,
    typer.Option(help="Threshold for a purpose, as 'ctcedge models show' has measured it."),
]
Prevalence = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Share of CTCs among your cells, such as 0.0002: moves probabilities, and no call.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(metavar="N", help="Crops a call of the network.  [default: 32; on a GPU 256]"),
]
GpuMemory = Annotated[
    int | None,
    typer.Option(metavar="MB", help="Most memory of the GPU to take.  [default: no limit]"),
]
Force = Annotated[bool, typer.Option("--force", help="Classify again what is already classified.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it, instead of showing what would be done.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON summary on standard output.")]


def main() -> NoReturn:
    """Run the command line and exit with the documented code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names from outside may hold any character
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SetupError as error:
        from ctcedge.cli.render import failure

        failure(str(error))
        sys.exit(EXIT_SETUP)
    except Exception as error:
        from ctcedge import log as logs

        with logs.to_stderr("text"):
            logs.crash(error)
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


@app.command()
def classify(
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
    force: Force = False,
    with_report: Annotated[
        bool, typer.Option("--report", help="Then write the page of 'ctcedge report'.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Classify the crops of a folder, once; what is already classified is left alone.

    Example: ctcedge classify /deparray/out --out /data/calls --um-per-px 0.5
    """
    from ctcedge.cli import render as console
    from ctcedge.discovery.naming import Crop
    from ctcedge.discovery.scan import check_folder, list_folder, require_crops
    from ctcedge.pipeline.run import open_run
    from ctcedge.results.summary import Summary
    from ctcedge.signals import Interruption

    with Interruption() as interruption:
        check_folder(folder)
        settings = _settings(
            folder,
            config,
            out,
            model,
            provider,
            pattern,
            um_per_px,
            batch_size,
            gpu_memory,
            decision=_decision(operating_point, prevalence),
        )
        listing = list_folder(folder, settings.images.naming())
        require_crops(folder, listing)
        with open_run(folder, settings) as run:
            result = Summary(ood_detector=run.classifier.ood_detector)
            for skipped in listing.skipped:
                if skipped.kind == "unreadable":
                    result.unclassified[skipped.path] = skipped.reason
            if not result.unclassified:
                run.pipeline.tidy(len(listing.crops))
            crops = listing.crops
            if not force:
                crops = []
                for each in run.pipeline.recall(listing.crops):
                    if isinstance(each, Crop):
                        crops.append(each)
                    else:
                        result.add(each)
            run.sidecars.check(crops)
            console.opening(run)
            console.doubts(listing)
            with console.progress(len(crops)) as bar:
                for outcome in run.pipeline.run(crops, force=force, stop=interruption.requested):
                    result.add(outcome)
                    bar.advance(bar.task_ids[0])
        finished = sum(result.done.values()) == len(listing.crops)
        reporting = with_report and finished
        if as_json:
            report = str(run.write_report()) if reporting else None
            _print_json({**result.as_json(run, finished=finished), "report": report})
        else:
            console.summary(run, result, finished=finished)
        console.unclassified(result)
        if reporting and not as_json:
            console.report(run.write_report())
    if not finished:
        raise typer.Exit(EXIT_INTERRUPTED + interruption.number)
    if result.unclassified:
        raise typer.Exit(EXIT_UNCLASSIFIED)


@app.command()
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
    stability_delay: Annotated[
        float | None,
        typer.Option(metavar="S", help="Take a file that stays still for S seconds.  [default: 1]"),
    ] = None,
    rescan_interval: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="Look through the whole folder every S seconds.  [default: 60]"
        ),
    ] = None,
    decode_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="Try an image that does not decode for S seconds.  [default: 30]"
        ),
    ] = None,
    report_idle: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="Write a report on each sample of which nothing new came for S seconds.",
        ),
    ] = None,
    force: Force = False,
    metrics: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", parser=_path, help="Keep metrics for Prometheus in FILE (name.prom)."
        ),
    ] = None,
    log_format: Annotated[
        LogFormatName,
        typer.Option(help="Log lines on standard error; json: one object a line."),
    ] = LogFormatName.text,
    as_json: Json = False,
) -> None:
    """Classify what is in a folder, then each crop that arrives, until Ctrl-C or SIGTERM.

    Example: ctcedge watch /deparray/out --out /data/calls --um-per-px 0.5
    """
    from ctcedge import log as logs
    from ctcedge.cli import render as console
    from ctcedge.discovery.naming import Crop
    from ctcedge.discovery.scan import check_folder, list_folder
    from ctcedge.pipeline.run import open_run
    from ctcedge.results.controls import describe
    from ctcedge.results.summary import Summary
    from ctcedge.service.prometheus import MetricsFile
    from ctcedge.service.sd_notify import Notifier
    from ctcedge.service.watch_state import WatchState
    from ctcedge.service.watcher import Watcher
    from ctcedge.signals import Interruption

    metrics_file = None if metrics is None else MetricsFile(metrics)
    notifier = Notifier.from_environment(os.environ)

    def tell(state: WatchState) -> None:
        notifier.status(str(state))
        notifier.watchdog_ping()
        if metrics_file is not None:
            metrics_file.update(state)

    def stop() -> None:
        notifier.stopping()
        watcher.stop()

    with _logging(log_format) as log, Interruption() as interruption:
        check_folder(folder)
        settings = _settings(
            folder,
            config,
            out,
            model,
            provider,
            pattern,
            um_per_px,
            batch_size,
            gpu_memory,
            decision=_decision(operating_point, prevalence),
            watch={
                "stability_delay": stability_delay,
                "rescan_interval": rescan_interval,
                "decode_timeout": decode_timeout,
                "report_idle": report_idle,
            },
        )
        with open_run(folder, settings) as run:
            result = Summary(ood_detector=run.classifier.ood_detector)
            recalled = run.pipeline.recall(list_folder(folder, run.naming).crops)
            run.sidecars.check(each for each in recalled if isinstance(each, Crop))
            for level, text in console.notices(run):
                log.log(level, "%s", text, extra=logs.event("opening"))
            watcher = Watcher(run, force=force, tell=tell)
            interruption.then(stop)
            notifier.ready(str(watcher.state))
            for outcome in watcher.outcomes():
                result.add(outcome)
        false_positives = result.false_positives(run)
        log.info(
            "%s",
            describe(false_positives),
            extra=logs.event(
                "false-positives", expected=false_positives and false_positives.as_json()
            ),
        )
        counts = {**+result.tally.calls, "unclassified": len(result.unclassified)}
        log.info(
            "stopped; in all: %s",
            ", ".join(f"{count} {name}" for name, count in counts.items()),
            extra=logs.event("stopped", counts=counts),
        )
        if as_json:
            _print_json(result.as_json(run, finished=True))
        elif sys.stdout.isatty():
            console.summary(run, result, finished=True)


@app.command()
def status(
    folder: Folder,
    out: Out = None,
    model: MadeBy = None,
    config: Config = None,
    pattern: Pattern = None,
    as_json: Json = False,
) -> None:
    """Show how things stand, from disk alone, whether or not a watch runs.

    Crops by call, unclassified or pending; whether samples are like the training data; models seen;
    and whether a ctcedge is writing there now.

    Exit code 3: some crops are unclassified or pending.

    Example: ctcedge status /deparray/out --out /data/calls
    """
    from ctcedge.cli import render as console
    from ctcedge.model.folder import load_model
    from ctcedge.results.status import collect_status
    from ctcedge.sidecars.scan import Closed, bright_field

    settings = _settings(folder, config, out, model, pattern=pattern)
    closed: Closed = {}
    made_by = None if settings.model is None else load_model(settings.model)
    naming = settings.images.naming()
    total = sum(1 for _ in bright_field(folder, naming)) if sys.stderr.isatty() else None
    with console.progress(total, "Reading sidecars") as bar:
        crops = bar.track(bright_field(folder, naming, closed), task_id=bar.task_ids[0])
        place = None if settings.out is None else Path(settings.out)
        found = collect_status(folder, place, crops, made_by, closed)
    if as_json:
        _print_json(found.as_json())
    else:
        console.status(found)
    if not found.complete:
        raise typer.Exit(EXIT_UNCLASSIFIED)


@app.command()
def inspect(
    folder: Folder,
    config: Config = None,
    pattern: Pattern = None,
    um_per_px: UmPerPx = None,
    as_json: Json = False,
) -> None:
    r"""Show what would be read, and what not and why; classifies nothing.

    Example: ctcedge inspect /deparray/out --pattern '(?P<cell>\d+)_(?P<channel>\w+)\.png'
    """
    from ctcedge.cli import render as console
    from ctcedge.discovery.scan import check_folder
    from ctcedge.results.inspect import inspect_folder

    check_folder(folder)
    settings = _settings(folder, config, pattern=pattern, um_per_px=um_per_px)
    inspection = inspect_folder(folder, settings.images)
    if as_json:
        _print_json(inspection.as_json())
    else:
        console.inspection(inspection)


@app.command()
def doctor(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", parser=_path, help="Folder in which sidecars shall be written."
        ),
    ] = None,
    model: ModelOption = None,
    as_json: Json = False,
) -> None:
    """Check this machine: versions, what really runs, the model, write access; and how to mend it.

    Example: ctcedge doctor /deparray/out
    """
    import dataclasses

    from ctcedge.cli import render as console
    from ctcedge.doctor import examine

    checks = []
    for check in examine(model, folder):
        checks.append(check)
        if not as_json:
            console.check(check)
    if as_json:
        _print_json({"checks": [dataclasses.asdict(check) for check in checks]})
    if any(check.state == "failed" for check in checks):
        raise typer.Exit(EXIT_SETUP)


@app.command()
def bench(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", parser=_path, help="Folder of crops, only read; drawn if left out."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=_path,
            help="Write to a temporary folder in DIR, to measure its disk.",
        ),
    ] = None,
    model: ModelOption = None,
    provider: Provider = None,
    count: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Crops a round.  [default: 2000; on a GPU 10240]"),
    ] = None,
    config: Config = None,
    pattern: Pattern = None,
    um_per_px: UmPerPx = None,
    as_json: Json = False,
) -> None:
    """Measure how fast this PC is, from file to sidecar, and how fast the network alone would be.

    Takes about a minute, best on a machine that does nothing else. Leaves nothing behind.

    Example: ctcedge bench /deparray/out --out /data/calls --um-per-px 0.5
    """
    from ctcedge import bench as measuring
    from ctcedge.cli.render import messages, printable
    from ctcedge.cli.render_bench import show
    from ctcedge.signals import Interruption

    with Interruption() as interruption:
        try:
            found = measuring.bench(
                folder,
                lambda crops: _settings(crops, config, None, model, provider, pattern, um_per_px),
                out=out,
                count=count,
                tell=lambda text: messages.print(printable(text)),
                stop=interruption.requested,
            )
        except measuring.Interrupted:
            raise typer.Exit(EXIT_INTERRUPTED + interruption.number) from None
    if as_json:
        _print_json(found.as_json())
    else:
        show(found)


@app.command()
def report(
    folder: Folder,
    sidecars: Sidecars = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", parser=_path, help="Page to write.  [default: a file in FOLDER]"
        ),
    ] = None,
    pseudonymise: Annotated[
        bool,
        typer.Option("--pseudonymise", help="Pseudonyms in place of samples' and files' names."),
    ] = False,
    model: MadeBy = None,
    config: Config = None,
    pattern: Pattern = None,
) -> None:
    """Write a page, one file, on which a person looks at the cells and reviews them.

    It needs no network and no server, and saves the reviews as a file for 'review import'.

    Example: ctcedge report /deparray/out --sidecars /data/calls --out report.html
    """
    from ctcedge.model.folder import load_model
    from ctcedge.report import write_report
    from ctcedge.sidecars.scan import Closed

    closed: Closed = {}
    settings = _settings(folder, config, sidecars, model, pattern=pattern)
    written = write_report(
        folder,
        None if settings.out is None else Path(settings.out),
        out,
        settings.images.naming(),
        pseudonymise=pseudonymise,
        model=None if settings.model is None else load_model(settings.model),
        closed=closed,
    )
    print(written)
    _tell_left_out(closed)


@review_app.command("import")
def review_import(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", parser=_path, help="Saved by the report page."),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", parser=_path, help="Folder of the crops; that of FILE if left out."
        ),
    ] = None,
    sidecars: Sidecars = None,
    config: Config = None,
    pattern: Pattern = None,
    changed_calls: Annotated[
        bool,
        typer.Option(
            "--changed-calls",
            help="Take also reviews of cells that the model calls something else by now.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Add a person's reviews to the sidecars; the model's own calls stay. Safe beside a watch.

    Then tells how far model and persons agree, and how many CTCs were missed. Exit code 3: some
    reviews were not taken, as their cells changed or were not found.

    Example: ctcedge review import corrections.json /deparray/out --sidecars /data/calls
    """
    from ctcedge.cli import render_results as answers
    from ctcedge.discovery.naming import folder_name
    from ctcedge.results.agreement import assess
    from ctcedge.results.reviews import import_reviews, read_corrections
    from ctcedge.sidecars.scan import Closed, need_stored
    from ctcedge.sidecars.store import SidecarFolder

    closed: Closed = {}
    corrections = read_corrections(file)
    folder = Path(os.path.abspath(file)).parent if folder is None else folder
    settings = _settings(folder, config, sidecars, pattern=pattern)
    place = None if settings.out is None else Path(settings.out)
    naming = settings.images.naming()
    done = import_reviews(
        corrections,
        folder,
        need_stored(folder, place, naming, closed),
        SidecarFolder(folder, place),
        changed_calls=changed_calls,
    )
    found = assess(need_stored(folder, place, naming))
    head = corrections.head
    same_name = head.pseudonymised or head.folder_name == folder_name(folder)
    if as_json:
        _print_json(
            {
                "schema": "ctcedge/review-import/1",
                "folder": str(folder),
                **done.as_json(),
                "reviews": found.as_json(),
            }
        )
    else:
        answers.imported(done, None if same_name else head.folder_name)
        answers.assessment(found)
    _tell_left_out(closed)
    if not done.complete:
        raise typer.Exit(EXIT_UNCLASSIFIED)


@app.command()
def export(
    folder: Folder,
    sidecars: Sidecars = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=_path, help="Write FILE, not standard output."),
    ] = None,
    table_format: Annotated[
        TableFormat | None,
        typer.Option("--format", help="Of the table; what FILE ends in if left out, or else CSV."),
    ] = None,
    pick: Annotated[
        bool,
        typer.Option("--picklist", help="Only sample and cell of CTCs that a person confirmed."),
    ] = False,
    config: Config = None,
    pattern: Pattern = None,
) -> None:
    """Write one row a cell, with its call and its review, for spreadsheets and scripts.

    Example: ctcedge export /deparray/out --sidecars /data/calls --out calls.csv
    """
    from ctcedge.cli import render_results as answers
    from ctcedge.results import table
    from ctcedge.sidecars.scan import Closed, need_stored

    closed: Closed = {}
    settings = _settings(folder, config, sidecars, pattern=pattern)
    place = None if settings.out is None else Path(settings.out)
    chosen = table.format_of(None if table_format is None else table_format.value, out)
    table.check_place(out, chosen)
    cells = need_stored(folder, place, settings.images.naming(), closed)
    listed = table.picklist(folder, cells) if pick else None
    rows = table.rows(cells) if listed is None else listed.rows()
    kinds = table.KINDS if listed is None else table.PICKLIST_KINDS
    if out is None:
        with table.standard_output() as file:
            table.write(rows, kinds, chosen, file, bom=False)
    else:
        with table.replacing(out) as file:
            table.write(rows, kinds, chosen, file, bom=True)
    if listed is not None:
        answers.picked(listed)
    _tell_left_out(closed)


@app.command()
def verify(
    folder: Folder,
    sidecars: Sidecars = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Make all calls again, not a sample.")
    ] = False,
    sample: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Make N calls again.  [default: 200]"),
    ] = None,
    model: MadeBy = None,
    config: Config = None,
    pattern: Pattern = None,
    as_json: Json = False,
) -> None:
    """Check sidecars: is each of the image that lies there now, and are calls made so again?

    Hashes every image and makes a sample of the calls again, the same ones each time. Exit code 3:
    something differs or cannot be made again, for instance because its model is not at hand.

    Example: ctcedge verify /deparray/out --sidecars /data/calls --all
    """
    from ctcedge.cli import render_results as answers
    from ctcedge.results.verify import SAMPLE
    from ctcedge.results.verify import verify as verify_folder

    if everything and sample is not None:
        raise SetupError("give --all or --sample N, not both")
    settings = _settings(folder, config, sidecars, model, pattern=pattern)
    found = verify_folder(
        folder,
        None if settings.out is None else Path(settings.out),
        settings.images.naming(),
        model=settings.model,
        sample=None if everything else SAMPLE if sample is None else sample,
    )
    if as_json:
        _print_json(found.as_json())
    else:
        answers.verified(found)
    if not found.good:
        raise typer.Exit(EXIT_UNCLASSIFIED)


@controls_app.command("add")
def controls_add(
    folder: Folder,
    sidecars: Sidecars = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of the folder's only sample, not as its path says."),
    ] = None,
    config: Config = None,
    pattern: Pattern = None,
    as_json: Json = False,
) -> None:
    """Count the false CTC calls in classified runs of healthy donors, and keep the counts.

    From them follows how many to expect in other runs. Adding a sample again replaces it.

    Example: ctcedge controls add /deparray/donor7 --sidecars /data/calls
    """
    from ctcedge.cli import render_results as answers
    from ctcedge.results.controls import add
    from ctcedge.sidecars.scan import Closed, need_stored

    closed: Closed = {}
    settings = _settings(folder, config, sidecars, pattern=pattern)
    place = None if settings.out is None else Path(settings.out)
    found = add(folder, need_stored(folder, place, settings.images.naming(), closed), name)
    if as_json:
        _print_json({"schema": "ctcedge/controls-added/1", **found.as_json()})
    else:
        answers.added(found)
    _tell_left_out(closed)


@controls_app.command("list")
def controls_list(as_json: Json = False) -> None:
    """List the healthy-donor samples that count on this machine.

    Example: ctcedge controls list
    """
    import dataclasses

    from ctcedge.cli import render_results as answers
    from ctcedge.fs.paths import state_folder
    from ctcedge.results.controls import FILE_NAME, known

    place = str(state_folder() / FILE_NAME)
    if as_json:
        found = [dataclasses.asdict(each) for each in known()]
        _print_json({"schema": "ctcedge/controls-list/1", "file": place, "controls": found})
    else:
        answers.controls(known(), place)


@controls_app.command("remove")
def controls_remove(
    sample: Annotated[str, typer.Argument(metavar="SAMPLE", help="As 'controls list' names it.")],
) -> None:
    """Forget a sample.

    Example: ctcedge controls remove donor7
    """
    from ctcedge.results.controls import remove

    gone = remove(sample)
    print(f"Forgotten: {gone} count{'s' * (gone != 1)}")


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """List the models that come with ctcedge; the first is the default.

    Example: ctcedge models list
    """
    from ctcedge.cli import render as console
    from ctcedge.model.folder import load_model, shipped_models

    models = [load_model(name) for name in shipped_models()]
    if as_json:
        _print_json([console.model_facts(model) for model in models])
    else:
        console.models(models)


@models_app.command("show")
def models_show(
    name: Annotated[str | None, typer.Argument(metavar="NAME_OR_DIR", help="Model.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a model is, how it decides, and its card.

    Example: ctcedge models show
    """
    from ctcedge.cli import render as console
    from ctcedge.model.folder import load_model

    model = load_model(name)
    if as_json:
        _print_json(console.model_facts(model))
    else:
        console.model(model)


@models_app.command("verify")
def models_verify(
    name: Annotated[str | None, typer.Argument(metavar="NAME_OR_DIR", help="Model.")] = None,
    as_json: Json = False,
) -> None:
    """Recompute a model's hashes and golden outputs.

    Example: ctcedge models verify
    """
    from ctcedge.classification.golden import verify
    from ctcedge.cli import render as console
    from ctcedge.model.folder import load_model

    model = load_model(name)
    difference = verify(model)
    if as_json:
        _print_json(
            {**console.model_facts(model), "verified": True, "largest_difference": difference}
        )
    else:
        console.verified(model, difference)


@service_app.command(
    "install",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    options_metavar="[--user NAME] [--yes] FOLDER [OPTIONS OF WATCH]",
)
def service_install(
    context: typer.Context,
    user: Annotated[str, typer.Option(metavar="NAME", help="Account to run as.")] = "ctcedge",
    yes: Yes = False,
) -> None:
    """Set up and start the service of a folder; without --yes only show how.

    All other options, such as --out and --um-per-px, are those of 'ctcedge watch'. Sidecars go
    below /var/lib/ctcedge if --out does not tell otherwise. Other services of ctcedge are not
    touched, and running it again brings a service up to date.

    Example: sudo /opt/ctcedge/bin/ctcedge service install /deparray/out --um-per-px 0.5 --yes
    """
    import os

    from ctcedge.discovery.scan import check_folder
    from ctcedge.service.systemd import Service

    group = typer.main.get_group(app)
    watching = group.commands["watch"].make_context("ctcedge watch", context.args)
    given = watching.params
    folder = Path(os.path.abspath(given["folder"]))
    check_folder(folder)
    if given["force"]:
        raise SetupError("a service with --force would classify all again at each start")
    settings = _settings(
        folder,
        given["config"],
        given["out"],
        given["model"],
        given["provider"],
        given["pattern"],
        given["um_per_px"],
        given["batch_size"],
        given["gpu_memory"],
        decision=_decision(given["operating_point"], given["prevalence"]),
        watch={
            name: given[name]
            for name in ("stability_delay", "rescan_interval", "decode_timeout", "report_idle")
        },
    )
    options: list[str] = []
    for option in watching.command.params:
        name = option.name or ""
        value = given[name]
        if name in ("folder", "out") or value == option.default:
            continue
        if isinstance(value, Path) or (name == "model" and os.path.isdir(value)):
            value = os.path.abspath(value)
        options += [option.opts[0]] if value is True else [option.opts[0], str(value)]
    metrics = given["metrics"]
    service = Service(
        folder,
        options=tuple(options),
        out=None if settings.out is None else Path(os.path.abspath(settings.out)),
        writes=() if metrics is None else (Path(os.path.abspath(metrics)).parent,),
        user=user,
        cpu_only=settings.provider == "cpu",
    )
    _carry_out(service.install(), yes)


@service_app.command("uninstall")
def service_uninstall(folder: Folder, yes: Yes = False) -> None:
    """Stop the service of a folder and take it away; without --yes only show how.

    Sidecars and the account stay.

    Example: sudo /opt/ctcedge/bin/ctcedge service uninstall /deparray/out --yes
    """
    from ctcedge.service.systemd import uninstall

    _carry_out(uninstall(folder), yes)


@service_app.command("status")
def service_status(folder: Folder) -> None:
    """Show whether the service of a folder runs; exit code 2 where it does not.

    Example: ctcedge service status /deparray/out
    """
    from ctcedge.service.systemd import state, unit_name

    facts = state(folder)
    print(unit_name(folder))
    for key, value in facts.items():
        print(f"  {key}: {value or '-'}")
    if facts["ActiveState"] != "active":
        raise SetupError(f"it does not run; see: journalctl --unit '{unit_name(folder)}'")


def _carry_out(steps: list[Any], yes: bool) -> None:
    from ctcedge.service.systemd import carry_out

    for step in steps:
        print(step, end="", flush=True)
    if yes:
        carry_out(steps)
    print("Done." if yes else "Nothing was done yet: add --yes to do this, as root.")


@contextlib.contextmanager
def _logging(log_format: LogFormatName) -> Iterator[logging.Logger]:
    """Log to standard error, also what ends the command."""
    from ctcedge import log as logs

    log = logging.getLogger("ctcedge")
    with logs.to_stderr(log_format.value):
        try:
            yield log
        except SetupError as error:
            log.error("%s", error, extra=logs.event("refused"))
            raise typer.Exit(EXIT_SETUP) from None
        except Exception as error:
            logs.crash(error)
            raise typer.Exit(EXIT_CRASH) from None


def _decision(
    operating_point: OperatingPointName | None, prevalence: float | None
) -> dict[str, object]:
    return {
        "operating_point": None if operating_point is None else operating_point.value,
        "prevalence": prevalence,
    }


def _settings(
    folder: Path,
    config: Path | None,
    out: Path | None = None,
    model: str | None = None,
    provider: ProviderName | None = None,
    pattern: str | None = None,
    um_per_px: float | None = None,
    batch_size: int | None = None,
    gpu_memory: int | None = None,
    decision: dict[str, object] | None = None,
    watch: dict[str, object] | None = None,
) -> Any:
    from ctcedge.settings import load_settings

    return load_settings(
        folder,
        config,
        images={"pattern": pattern, "um_per_px": um_per_px},
        decision=decision,
        watch=watch,
        out=None if out is None else str(out),
        model=model,
        provider=None if provider is None else provider.value,
        batch_size=batch_size,
        gpu_memory_mb=gpu_memory,
    )


def _tell_left_out(closed: dict[str, str]) -> None:
    """Warn of folders that could not be read, and end with the code for what stands undone."""
    from ctcedge.cli import render as console

    if closed:
        console.left_out(closed)
        raise typer.Exit(EXIT_UNCLASSIFIED)


def _print_json(content: object) -> None:
    import json

    from ctcedge.results.table import standard_output

    text = json.dumps(content, ensure_ascii=False, indent=2)
    with standard_output() as file:
        file.write(text.encode("utf-8", "backslashreplace") + b"\n")
