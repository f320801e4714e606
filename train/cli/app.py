"""The app, and the commands before and after training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..options import (
    Config,
    Demonstration,
    FalsePositives,
    Force,
    Gate,
    Init,
    Negative,
    Patients,
    Pattern,
    Positive,
    ReviewFraction,
    Seed,
    Sidecars,
    TrustGates,
)
from ..util.errors import exit_on, fail, warn
from .training import fit, pretrain

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")


@app.callback()
def main() -> None:
    """Train model folders for ctcedge; needs PyTorch and MONAI."""


app.command()(pretrain)
app.command()(fit)


@app.command()
def build(
    name: Annotated[str, typer.Option(help="Name of the model and its folder.")],
    version: Annotated[str, typer.Option(help="Version of the model, such as 0.1.0.")],
    seed: Seed = 1,
    out: Annotated[Path, typer.Option(help="Parent of the model folder.")] = Path("models"),
    runs: Annotated[
        Path, typer.Option(help="Parent of the run folder, which is not shipped.")
    ] = Path("runs"),
    init: Init = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, show_default="of the build's settings")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(show_default="of the build's settings")
    ] = None,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Takes a minute; tests the process only.")
    ] = False,
) -> None:
    """Simulate, fit and export a model folder, optionally from an earlier model's weights.

    Example: `python -m train build --name sim-resnet18 --version 0.1.0 --seed 1 --out models`
    """
    from ctcedge.errors import CtcEdgeError

    from ..build import TINY, BuildSettings
    from ..build import build as build_model
    from ..export.parity import ParityError

    settings = TINY if tiny else BuildSettings()
    given = {"init": init, "epochs": epochs, "learning-rate": learning_rate}
    options = [f" --{option} {value}" for option, value in given.items() if value is not None]
    preset = "".join(options) + (" --tiny" if tiny else "")
    command = f"python -m train build --name {name} --version {version} --seed {seed}{preset}"
    with exit_on(ValueError, CtcEdgeError, ParityError, OSError):
        fit = settings.fit.with_overrides(seed=seed, epochs=epochs, learning_rate=learning_rate)
        model = build_model(
            name,
            version,
            replace(settings, fit=fit),
            command=command,
            out=out,
            runs=runs,
            init=init,
        )
    typer.echo(f"{out / name}: {model.sha256}")


@app.command()
def export(
    run: Annotated[
        Path, typer.Argument(help="Finished run, or the parent of the runs of its folds.")
    ],
    name: Annotated[str, typer.Option(help="Name of the model and its folder.")],
    version: Annotated[str, typer.Option(help="Version of the model, such as 0.1.0.")] = "0.1.0",
    out: Annotated[Path, typer.Option(help="Parent of the model folder.")] = Path("models"),
    about: Annotated[str, typer.Option(help="One line on the origin of the cells.")] = "",
    review_fraction: ReviewFraction = 0.1,
    false_positives: FalsePositives = 10,
    demonstration: Demonstration = False,
    force: Force = False,
    seed: Seed = 1,
) -> None:
    """Write a model folder: quantized graphs, calibrated on held-out cells, and a model card.

    INT8 graphs are quantized in several ways before they are refused. A run of k folds becomes k
    model folders, with which `evaluate` scores each cell by the one not trained on its sample.

    Example: `python -m train export runs/mine --name mine --review-fraction 0.3`
    """
    from ctcedge.errors import CtcEdgeError

    from ..export.export import ExportSettings
    from ..export.export import export as export_models
    from ..export.parity import ParityError

    with exit_on(ValueError, ParityError, CtcEdgeError, OSError):
        settings = ExportSettings(
            name=name,
            version=version,
            about=about,
            demonstration=demonstration,
            review_fraction=review_fraction,
            false_positives_per_10000=false_positives,
            force=force,
            seed=seed,
        )
        models = export_models(run, settings, out, warn)
    for model in models:
        typer.echo(f"{model.folder}: {model.sha256}")


@app.command()
def evaluate(
    model: Annotated[
        Path,
        typer.Argument(help="Model folder, or the parent of the model folders of a run's folds."),
    ],
    manifests: Annotated[list[Path], typer.Argument(help="Manifests of labelled cells.")],
    out: Annotated[Path, typer.Option(help="Folder for the report.")],
    positive: Positive = None,
    negative: Negative = None,
    trust_gates: TrustGates = False,
    seed: Seed = 1,
) -> None:
    """Evaluate a model on cells that it was not trained on, beside two baselines.

    Writes report.html, report.md, report.json and scores.csv.

    Example: `python -m train evaluate models/mine cells.csv --out reports/mine`
    """
    from ctcedge.errors import SetupError

    from ..baselines.baselines import TrainingTableError
    from ..data.manifest import ManifestError
    from ..data.splits import LeakageError
    from ..evaluate import evaluate as measure
    from ..evaluate import write

    try:
        with exit_on(ManifestError, LeakageError, TrainingTableError, SetupError):
            evaluation = measure(
                model,
                manifests,
                positive=positive or (),
                negative=negative or (),
                trust_gates=trust_gates,
                seed=seed,
            )
            write(evaluation, out)
    except OSError as error:
        raise fail(f"{error.filename or out}: {error.strerror}") from None
    typer.echo(out / "report.html")


@app.command()
def label(
    export: Annotated[Path, typer.Argument(help="Folder of crops, searched recursively.")],
    out: Annotated[Path, typer.Option(help="The manifest, a new CSV file.")],
    sidecars: Sidecars = None,
    gate: Gate = False,
    patients: Patients = None,
    run: Annotated[
        str,
        typer.Option(
            help="Name of the run, to distinguish samples of the same name in several exports."
        ),
    ] = "",
    config: Config = None,
    pattern: Pattern = None,
    um_per_px: Annotated[
        float | None, typer.Option(help="Edge length of an image pixel in um.")
    ] = None,
) -> None:
    """Write a manifest of an export: labels from reviews, labels.csv or the stains, in that order.

    Gates are set from each sample's own leukocytes and drawn in a picture beside the manifest.

    Example: `python -m train label /deparray/out --out cells.csv`
    """
    from ctcedge.errors import SetupError

    from ..label import LabelError, label_folder

    try:
        with exit_on(LabelError, SetupError):
            label_folder(
                export,
                out,
                sidecars=sidecars,
                gate=gate,
                patients=patients,
                run=run,
                config=config,
                pattern=pattern,
                um_per_px=um_per_px,
            )
    except OSError as error:
        raise fail(f"{error.filename}: {error.strerror}") from None


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Parent of one folder per hospital.")],
    hospitals: Annotated[int, typer.Option(min=1)] = 2,
    samples: Annotated[int, typer.Option(min=1, help="Number per hospital.")] = 2,
    cells: Annotated[int, typer.Option(min=1, help="Number per sample.")] = 50,
    ctc_fraction: Annotated[
        float,
        typer.Option("--ctc-fraction", "--ctc-share", min=0, max=1, help="Fraction of CTCs."),
    ] = 0.4,
    seed: Seed = 1,
) -> None:
    """Write simulated exports: images of all channels, a settings file and labels.csv per hospital.

    Example: `python -m train simulate runs/exports --hospitals 2 --cells 20`
    """
    from ..simulate import simulate_cells, write_export
    from ..util.progress import progress

    simulated = simulate_cells(
        hospitals=hospitals, samples=samples, cells=cells, ctc_fraction=ctc_fraction, seed=seed
    )
    try:
        with progress("Simulate", hospitals * samples * cells) as advance:
            written = write_export(out, simulated, progress=lambda _: advance())
    except FileExistsError as error:
        raise fail(f"{error.filename} exists; move it away") from None
    except OSError as error:
        raise fail(f"{error.filename}: {error.strerror}") from None
    typer.echo(f"{out}: {written:,} cells")
