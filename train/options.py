"""Options of the command line with long definitions, or used by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .util.command_line import path_argument, path_option, real_option, whole_option

PRESET = "of the preset"

BatchSize = Annotated[int | None, whole_option("Cells per step.", 2, 65_536, show_default=PRESET)]
Config = Annotated[
    Path | None, path_option("Settings file instead of EXPORT/ctcedge.toml.", "FILE")
]
CropPx = Annotated[
    float | None,
    real_option(
        "Edge of an input pixel in crop pixels, where um/px is unknown.",
        0.01,
        100,
        show_default="96 / size",
    ),
]
CropUmPerPx = Annotated[float | None, real_option("Edge length of an image pixel in um.", 0.01, 20)]
Dapi = Annotated[
    str,
    typer.Option(
        metavar="USE",
        help="Use of DAPI images: none, samples, auxiliary, teacher, dropout.",
    ),
]
Demonstration = Annotated[
    bool,
    typer.Option(
        "--demonstration", help="Trained on simulated cells; every use of the model warns."
    ),
]
Epochs = Annotated[
    int | None,
    whole_option("Passes over the training cells.", 1, 100_000, show_default=PRESET),
]
FalsePositives = Annotated[
    float,
    real_option(
        "Maximum false positives per 10,000 negatives at the operating point 'confirm'.",
        0.01,
        10_000,
    ),
]
Folds = Annotated[
    int | None,
    whole_option("Number of folds by whole groups; fits one network per fold.", 2, 1_000),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Export although the INT8 graphs exceed the accepted loss."),
]
Gate = Annotated[bool, typer.Option("--gate", help="Label by the stains and ignore labels.csv.")]
Init = Annotated[Path | None, path_option("Run or model folder with initial weights.")]
LearningRate = Annotated[
    float | None,
    real_option("Maximum, after the warm-up.", 0, 10, above=True, show_default=PRESET),
]
Manifests = Annotated[list[Path], path_argument("Manifests of labelled cells.", "MANIFEST")]
ModelName = Annotated[str, typer.Option(metavar="NAME", help="Name of the model and its folder.")]
ModelsFolder = Annotated[Path, path_option("Parent of the model folder.")]
Negative = Annotated[
    list[str] | None,
    typer.Option(metavar="STRATUM", help="Stratum to use as negative; repeatable."),
]
Network = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Network, such as resnet18.", show_default=PRESET),
]
Patients = Annotated[Path | None, path_option("CSV file with the columns sample,patient.", "FILE")]
Pattern = Annotated[
    str | None,
    typer.Option(
        metavar="TEMPLATE", help="Pattern of the file names; see 'ctcedge inspect --help'."
    ),
]
Positive = Annotated[
    list[str] | None, typer.Option(metavar="STRATUM", help="Stratum to use as CTC; repeatable.")
]
PresetName = Annotated[
    str, typer.Option(metavar="NAME", help="Default settings: cpu, gpu or tiny.")
]
ReviewFraction = Annotated[
    float,
    real_option(
        "Fraction of the held-out cells in the review band.",
        0,
        0.9,
        "--review-fraction",
        "--review-share",
    ),
]
Seed = Annotated[
    int, whole_option("Random seed; the same seed gives the same result.", 0, 2**32 - 1)
]
Sidecars = Annotated[
    Path | None,
    path_option("Folder of the reviewed sidecars.", show_default="beside the images"),
]
Size = Annotated[int | None, whole_option("Input side, pixels.", 8, 4_096, show_default=PRESET)]
TrustGates = Annotated[
    bool,
    typer.Option("--trust-gates", help="Accept CTCs that are labelled by their stains alone."),
]
Validation = Annotated[
    list[Path] | None,
    path_option("Manifest of cells to hold out instead of a tenth; repeatable.", "MANIFEST"),
]
Width = Annotated[
    float | None,
    real_option(
        "Width of a ResNet.", 1 / 16, 16, show_default="of the preset; 1 for another network"
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FAMILY",
        help="Augmentation to omit: geometry, illumination, noise; repeatable.",
    ),
]
