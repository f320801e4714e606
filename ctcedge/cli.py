"""The command line. Commands import what they need when they run, so that help answers at once."""

from __future__ import annotations

import enum
import io
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ctcedge import __version__
from ctcedge.errors import SetupError

EXIT_SETUP = 2
EXIT_UNCLASSIFIED = 3
EXIT_INTERRUPTED = 128  # plus the signal's number, as a shell has it

app = typer.Typer(
    name="ctcedge",
    help=(
        "Tell circulating tumour cells (CTCs) from leukocytes in DEPArray bright-field crops.\n\n"
        "Research software, not a diagnostic.\n\n"
        "Exit codes: 0 every crop is classified; 3 finished, but some crops stand unclassified;"
        " 2 wrong use or set-up; 130 classify was interrupted."
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


class ProviderName(enum.StrEnum):
    """Choices of --provider."""

    auto = "auto"
    cuda = "cuda"
    tensorrt = "tensorrt"
    cpu = "cpu"


Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Folder of crops, searched recursively.")
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write sidecars below DIR, not beside the images."),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME_OR_DIR", help="Model; the shipped one if left out."),
]
Provider = Annotated[
    ProviderName | None,
    typer.Option(help="Where the network runs; auto: CUDA where it really runs, else CPU."),
]
Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Settings in TOML, instead of FOLDER/ctcedge.toml."),
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
BatchSize = Annotated[
    int | None, typer.Option(metavar="N", help="Crops a call of the network.  [default: 64]")
]
Force = Annotated[bool, typer.Option("--force", help="Classify again what is already classified.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON summary on standard output.")]


def main() -> NoReturn:
    """Run the command line and exit with the documented code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names from outside may hold any character
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SetupError as error:
        from ctcedge.console import failure

        failure(str(error))
        sys.exit(EXIT_SETUP)
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
    batch_size: BatchSize = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Classify the crops of a folder, once; what is already classified is left alone.

    Example: ctcedge classify /deparray/out --out /data/calls --um-per-px 0.5
    """
    from ctcedge import console
    from ctcedge.runs import Summary, check_folder, list_folder, need_crops, open_run
    from ctcedge.signals import Interruption

    with Interruption() as interruption:
        check_folder(folder)
        settings = _settings(folder, config, out, model, provider, pattern, um_per_px, batch_size)
        listing = list_folder(folder, settings.images.naming())
        need_crops(folder, listing)
        result = Summary()
        with open_run(folder, settings) as run:
            run.sidecars.check(listing.crops)
            console.opening(run)
            console.doubts(listing)
            with console.progress(len(listing.crops)) as bar:
                for outcome in run.pipeline.run(
                    listing.crops, force=force, stop=interruption.requested
                ):
                    result.add(outcome)
                    bar.advance(bar.task_ids[0])
        finished = sum(result.done.values()) == len(listing.crops)
        if as_json:
            _print_json(result.as_json(run, finished=finished))
            console.unclassified(result)
        else:
            console.summary(run, result, finished=finished)
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
    batch_size: BatchSize = None,
    settle: Annotated[
        float | None,
        typer.Option(metavar="S", help="Take a file that stays still for S seconds.  [default: 1]"),
    ] = None,
    rescan: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="Look through the whole folder every S seconds.  [default: 60]"
        ),
    ] = None,
    give_up: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="Try an image that does not decode for S seconds.  [default: 30]"
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Classify what is in a folder, then each crop that arrives, until Ctrl-C or SIGTERM.

    Example: ctcedge watch /deparray/out --out /data/calls --um-per-px 0.5
    """
    from ctcedge import console
    from ctcedge.runs import Summary, check_folder, list_folder, open_run
    from ctcedge.signals import Interruption
    from ctcedge.watch import Watcher

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
            watch={"settle": settle, "rescan": rescan, "give_up": give_up},
        )
        console.log_to_stderr()
        result = Summary()
        with open_run(folder, settings) as run:
            run.sidecars.check(list_folder(folder, run.naming).crops)
            console.opening(run)
            watcher = Watcher(run, force=force)
            interruption.then(watcher.stop)
            for outcome in watcher.outcomes():
                result.add(outcome)
        if as_json:
            _print_json(result.as_json(run, finished=True))
        else:
            console.summary(run, result, finished=True)


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
    from ctcedge import console
    from ctcedge.inspection import inspect_folder
    from ctcedge.runs import check_folder

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
        typer.Argument(metavar="FOLDER", help="Folder in which sidecars shall be written."),
    ] = None,
    model: ModelOption = None,
    as_json: Json = False,
) -> None:
    """Check this machine: versions, what really runs, the model, write access; and how to mend it.

    Example: ctcedge doctor /deparray/out
    """
    import dataclasses

    from ctcedge import console
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


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """List the models that come with ctcedge; the first is the default.

    Example: ctcedge models list
    """
    from ctcedge import console
    from ctcedge.model import load_model, shipped_models

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
    from ctcedge import console
    from ctcedge.model import load_model

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
    from ctcedge import console
    from ctcedge.golden import verify
    from ctcedge.model import load_model

    model = load_model(name)
    difference = verify(model)
    if as_json:
        _print_json(
            {**console.model_facts(model), "verified": True, "largest_difference": difference}
        )
    else:
        console.verified(model, difference)


def _settings(
    folder: Path,
    config: Path | None,
    out: Path | None = None,
    model: str | None = None,
    provider: ProviderName | None = None,
    pattern: str | None = None,
    um_per_px: float | None = None,
    batch_size: int | None = None,
    watch: dict[str, object] | None = None,
) -> Any:
    from ctcedge.settings import load_settings

    return load_settings(
        folder,
        config,
        images={"pattern": pattern, "um_per_px": um_per_px},
        watch=watch,
        out=None if out is None else str(out),
        model=model,
        provider=None if provider is None else provider.value,
        batch_size=batch_size,
    )


def _print_json(content: object) -> None:
    import json

    text = json.dumps(content, ensure_ascii=False, indent=2)
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.buffer.flush()
