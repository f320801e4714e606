"""Command line: `python -m train --help`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")

Seed = Annotated[int, typer.Option(help="Of all randomness; the same seed gives the same result.")]


@app.callback()
def main() -> None:
    """Make model folders for ctcedge. For development; needs PyTorch and MONAI."""


@app.command()
def build(
    name: Annotated[str, typer.Option(help="Of the model and its folder.")],
    version: Annotated[str, typer.Option(help="Of the model, such as 0.1.0.")],
    seed: Seed = 1,
    out: Annotated[Path, typer.Option(help="Parent of the model folder.")] = Path("models"),
    runs: Annotated[Path, typer.Option(help="Parent of what is kept but not shipped.")] = Path(
        "runs"
    ),
    tiny: Annotated[bool, typer.Option("--tiny", help="Half a minute; proves the path.")] = False,
) -> None:
    """Simulate, fit, export, calibrate, evaluate, and write a model folder with its card.

    Example: `python -m train build --name sim-resnet18 --version 0.1.0 --seed 1 --out models`
    """
    from train.build import TINY, BuildSettings
    from train.build import build as build_model
    from train.parity import ParityError

    settings = replace(TINY if tiny else BuildSettings(), seed=seed)
    preset = " --tiny" if tiny else ""
    command = f"python -m train build --name {name} --version {version} --seed {seed}{preset}"
    try:
        model = build_model(name, version, settings, command=command, out=out, runs=runs)
    except (FileExistsError, ParityError) as error:
        typer.echo(f"train: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{out / name}: {model.sha256}")


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Parent of one folder for each hospital.")],
    hospitals: Annotated[int, typer.Option(min=1)] = 2,
    samples: Annotated[int, typer.Option(min=1, help="Of each hospital.")] = 2,
    cells: Annotated[int, typer.Option(min=1, help="Of each sample.")] = 50,
    ctc_share: Annotated[float, typer.Option(min=0, max=1, help="Share of CTCs.")] = 0.4,
    seed: Seed = 1,
) -> None:
    """Write simulated exports: all channels, the settings file and labels.csv of each hospital.

    Example: `python -m train simulate runs/exports --hospitals 2 --cells 20`
    """
    from train.progress import progress
    from train.simulate import simulate_cells, write_export

    made = simulate_cells(
        hospitals=hospitals, samples=samples, cells=cells, ctc_share=ctc_share, seed=seed
    )
    try:
        with progress("Simulate", hospitals * samples * cells) as advance:
            written = write_export(out, made, progress=lambda _: advance())
    except FileExistsError as error:
        typer.echo(f"train: {error.filename} exists; move it away", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{out}: {written:,} cells")


if __name__ == "__main__":
    app()
