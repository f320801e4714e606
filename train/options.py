"""Options of the command line with long definitions, or used by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path | None, typer.Option(help="Settings file instead of EXPORT/ctcedge.toml.")]
CropPx = Annotated[
    float | None,
    typer.Option(
        help="Edge of an input pixel in crop pixels, where um/px is unknown.",
        show_default="96 / size",
    ),
]
Dapi = Annotated[
    str, typer.Option(help="Use of DAPI images: none, samples, auxiliary, teacher, dropout.")
]
Demonstration = Annotated[
    bool,
    typer.Option(
        "--demonstration", help="Trained on simulated cells; every use of the model warns."
    ),
]
FalsePositives = Annotated[
    float,
    typer.Option(
        min=0.01,
        max=10_000,
        help="Maximum false positives per 10,000 negatives at the operating point 'confirm'.",
    ),
]
Folds = Annotated[
    int | None,
    typer.Option(min=2, help="Number of folds by whole groups; fits one network per fold."),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Export although the INT8 graphs exceed the accepted loss."),
]
Gate = Annotated[bool, typer.Option("--gate", help="Label by the stains and ignore labels.csv.")]
Init = Annotated[Path | None, typer.Option(help="Run or model folder with initial weights.")]
Negative = Annotated[list[str] | None, typer.Option(help="Stratum to use as negative; repeatable.")]
Network = Annotated[
    str | None, typer.Option(help="Network, such as resnet18.", show_default="of the preset")
]
Patients = Annotated[Path | None, typer.Option(help="CSV file with the columns sample,patient.")]
Pattern = Annotated[
    str | None, typer.Option(help="Pattern of the file names; see `ctcedge inspect --help`.")
]
Positive = Annotated[list[str] | None, typer.Option(help="Stratum to use as CTC; repeatable.")]
ReviewFraction = Annotated[
    float,
    typer.Option(
        "--review-fraction",
        "--review-share",
        min=0,
        max=0.9,
        help="Fraction of the held-out cells in the review band.",
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed; the same seed gives the same result.")]
Sidecars = Annotated[
    Path | None,
    typer.Option(help="Folder of the reviewed sidecars.", show_default="beside the images"),
]
Size = Annotated[int | None, typer.Option(help="Input side, pixels.", show_default="of the preset")]
TrustGates = Annotated[
    bool,
    typer.Option("--trust-gates", help="Accept CTCs that are labelled by their stains alone."),
]
Validation = Annotated[
    list[Path] | None,
    typer.Option(help="Manifest of cells to hold out instead of a tenth; repeatable."),
]
Width = Annotated[
    float | None,
    typer.Option(help="Width of a ResNet.", show_default="of the preset; 1 for another network"),
]
Without = Annotated[
    list[str] | None,
    typer.Option(help="Augmentation to omit: geometry, illumination, noise; repeatable."),
]
