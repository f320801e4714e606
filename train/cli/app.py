"""The app, and the commands before and after training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..options import (
    Config,
    CropUmPerPx,
    Demonstration,
    FalsePositives,
    Force,
    Gate,
    Init,
    Manifests,
    ModelName,
    ModelsFolder,
    Negative,
    Patients,
    Pattern,
    Positive,
    ReviewFraction,
    Seed,
    Sidecars,
    TrustGates,
)
from ..util.command_line import (
    application,
    path_argument,
    path_option,
    real_option,
    whole_option,
)
from ..util.errors import exit_on, fail, warn
from ..util.extra import COMMAND
from ..util.next_step import print_classify, print_command, print_next
from .training import fit, pretrain


def build(
    name: ModelName,
    version: Annotated[str, typer.Option(metavar="X.Y.Z", help="Version of the model.")],
    seed: Seed = 1,
    out: ModelsFolder = Path("models"),
    runs: Annotated[Path, path_option("Parent of the run folder, which is not shipped.")] = Path(
        "runs"
    ),
    init: Init = None,
    epochs: Annotated[
        int | None,
        whole_option("Passes over the training cells.", 1, 100_000, show_default="of the build"),
    ] = None,
    learning_rate: Annotated[
        float | None,
        real_option("Maximum, after the warm-up.", 0, 10, above=True, show_default="of the build"),
    ] = None,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Takes a minute; tests the process only.")
    ] = False,
) -> None:
    """Simulate, fit and export a model folder.

    With --init, the fit starts from an earlier model's weights.

    Example: ctcedge-train build --name sim-resnet18 --version 0.1.0 --seed 1 --out models
    """
    from ctcedge.errors import CtcEdgeError

    from ..build import TINY, BuildSettings
    from ..build import build as build_model
    from ..export.parity import ParityError

    settings = TINY if tiny else BuildSettings()
    given = {"init": init, "epochs": epochs, "learning-rate": learning_rate}
    options = [f" --{option} {value}" for option, value in given.items() if value is not None]
    preset = "".join(options) + (" --tiny" if tiny else "")
    command = f"{COMMAND} build --name {name} --version {version} --seed {seed}{preset}"
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
    print_classify(model.folder)


def export(
    run: Annotated[
        Path, path_argument("Finished run, or the parent of the runs of its folds.", "RUN")
    ],
    name: ModelName,
    version: Annotated[str, typer.Option(metavar="X.Y.Z", help="Version of the model.")] = "0.1.0",
    out: ModelsFolder = Path("models"),
    about: Annotated[
        str, typer.Option(metavar="TEXT", help="One line on the origin of the cells.")
    ] = "",
    review_fraction: ReviewFraction = 0.1,
    false_positives: FalsePositives = 10,
    demonstration: Demonstration = False,
    force: Force = False,
    seed: Seed = 1,
) -> None:
    """Write a model folder: graphs, thresholds and a model card.

    The graphs are quantized, and calibrated on held-out cells. INT8 graphs are quantized in several
    ways before they are refused. A run of k folds becomes k model folders, with which evaluate
    scores each cell by the one not trained on its sample.

    Example: ctcedge-train export runs/mine --name mine --review-fraction 0.3
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
    report = Path("reports") / name
    print_next(
        "evaluate", out / name, "MANIFEST", "--out", report, when="to test it on other cells"
    )
    if len(models) == 1:
        print_classify(out / name, when="to use it")


def evaluate(
    model: Annotated[
        Path,
        path_argument("Model folder, or the parent of those of a run's folds.", "MODEL"),
    ],
    manifests: Manifests,
    out: Annotated[Path, path_option("Folder for the report.")],
    positive: Positive = None,
    negative: Negative = None,
    trust_gates: TrustGates = False,
    seed: Seed = 1,
) -> None:
    """Evaluate a model on cells that it was not trained on.

    Two baselines are measured beside it. Writes report.html, report.md, report.json and scores.csv.

    Example: ctcedge-train evaluate models/mine cells.csv --out reports/mine
    """
    from ctcedge.errors import SetupError
    from ctcedge.model.spec import SPEC_NAME

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
    if (model / SPEC_NAME).is_file():
        print_classify(model)
    else:
        print_next(
            "fit", *manifests, "--out", "runs/NAME", when="to train one model on all these cells"
        )


def label(
    export: Annotated[Path, path_argument("Folder of crops, searched recursively.", "EXPORT")],
    out: Annotated[Path, path_option("The manifest, a new CSV file.", "FILE")],
    sidecars: Sidecars = None,
    gate: Gate = False,
    patients: Patients = None,
    run: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Name of the run, to distinguish samples of the same name in several exports.",
        ),
    ] = "",
    config: Config = None,
    pattern: Pattern = None,
    um_per_px: CropUmPerPx = None,
) -> None:
    """Write a manifest of an export: one row per cell with its label.

    Labels come from reviews, labels.csv or the stains, in that order. Gates are set from each
    sample's own leukocytes and drawn in a picture beside the manifest.

    Example: ctcedge-train label /deparray/out --out cells.csv
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


def package(
    model: Annotated[Path, path_argument("Model folder, or name of a shipped model.", "MODEL")],
    out: Annotated[Path, path_option("The package, a zip file.", "FILE")],
    author: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Author of the model; repeatable.",
            show_default="of a shipped model",
        ),
    ] = None,
    licence: Annotated[
        str,
        typer.Option(
            "--licence",
            "--license",
            metavar="SPDX",
            help="Licence of the model, such as CC-BY-4.0.",
            show_default="of a shipped model",
        ),
    ] = "",
    doi: Annotated[
        list[str] | None,
        typer.Option(metavar="DOI", help="Article on the model, to be cited; repeatable."),
    ] = None,
) -> None:
    """Write a bioimage.io package of a model, for other programs.

    The package holds a graph from grey levels to the probability of CTC, with crops and
    probabilities to test it, the model card, licence and limits. Nothing is uploaded.

    Example: ctcedge-train package models/mine --out mine.zip --author 'Jane Doe'
    --licence CC-BY-4.0
    """
    from ctcedge.errors import CtcEdgeError
    from ctcedge.model.folder import load_model

    from ..export.bioimageio import TEST_TOOL, PackageSettings
    from ..export.bioimageio import package as write_package

    with exit_on(CtcEdgeError):
        settings = PackageSettings(tuple(author or ()), licence, tuple(doi or ()))
        try:
            settings = write_package(load_model(model), out, settings)
        except OSError as error:
            raise fail(f"{error.filename or out}: {error.strerror}") from None
    typer.echo(f"{out}: {settings.licence}, by {', '.join(settings.authors)}")
    typer.echo(f"Test it in an environment of its own: pip install {TEST_TOOL}")
    print_command("bioimageio", "test", out)


def simulate(
    out: Annotated[Path, path_argument("Parent of one folder per hospital.", "OUT")],
    hospitals: Annotated[int, whole_option("Number of hospitals.", 1, 100_000)] = 2,
    samples: Annotated[int, whole_option("Number per hospital.", 1, 10_000)] = 2,
    cells: Annotated[int, whole_option("Number per sample.", 1, 1_000_000)] = 50,
    ctc_fraction: Annotated[
        float, real_option("Fraction of CTCs.", 0, 1, "--ctc-fraction", "--ctc-share")
    ] = 0.4,
    seed: Seed = 1,
) -> None:
    """Write simulated exports of several hospitals, with labels.

    Each has images of all channels, a settings file and labels.csv.

    Example: ctcedge-train simulate runs/exports --hospitals 2 --cells 20
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
    print_next("label", out / "h00", "--out", "h00.csv")


app = application(
    label,
    pretrain,
    fit,
    export,
    evaluate,
    package,
    simulate,
    build,
    about=(
        "Train and evaluate model folders for ctcedge, on your own labelled cells.\n\n"
        "Research software, not a diagnostic.\n\n"
        "Exit codes: 0 done; 1 internal error; 2 wrong usage or set-up; 130 or 143 interrupted by"
        " Ctrl-C or SIGTERM."
    ),
)
