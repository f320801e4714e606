"""The commands that train: `pretrain` and `fit`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import (
    Config,
    CropPx,
    Dapi,
    Folds,
    Init,
    Negative,
    Network,
    Patients,
    Pattern,
    Positive,
    Seed,
    Size,
    Validation,
    Width,
    Without,
)
from ..util.errors import exit_on, warn

if TYPE_CHECKING:
    from ..fit.distributed import ProcessGroup


@contextmanager
def _interruptible() -> Iterator[tuple[ProcessGroup, Callable[[], bool]]]:
    """Yield the processes and a function that returns True once the command is to stop.

    A training that was interrupted ends the command with 128 and the signal's number.
    """
    from ctcedge.signals import Interruption

    from ..fit.distributed import process_group
    from ..fit.loop import Interrupted

    interruption = Interruption()
    # Under torchrun, signals are handled by torchrun.
    with process_group() as processes, interruption if processes.size == 1 else nullcontext():
        try:
            yield processes, interruption.requested
        except Interrupted:
            typer.echo("train: interrupted; the same command continues", err=True)
            raise typer.Exit(128 + interruption.number) from None


def fit(
    manifests: Annotated[list[Path], typer.Argument(help="Manifests of labelled cells.")],
    out: Annotated[
        Path, typer.Option(help="Run folder; the same command continues an interrupted fit.")
    ],
    preset: Annotated[str, typer.Option(help="Default settings: cpu, gpu or tiny.")] = "cpu",
    network: Network = None,
    width: Width = None,
    epochs: Annotated[int | None, typer.Option(min=1, show_default="of the preset")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, show_default="of the preset")] = None,
    learning_rate: Annotated[float | None, typer.Option(show_default="of the preset")] = None,
    without: Without = None,
    dapi: Dapi = "none",
    folds: Folds = None,
    validation: Validation = None,
    positive: Positive = None,
    negative: Negative = None,
    size: Size = None,
    um_per_px: Annotated[
        float | None, typer.Option(help="Edge of an input pixel, um.", show_default="of the preset")
    ] = None,
    crop_px: CropPx = None,
    init: Init = None,
    frozen: Annotated[
        bool,
        typer.Option(
            "--frozen",
            help="Keep the features of --init, and fit the last layer alone; takes seconds.",
        ),
    ] = False,
    seed: Seed = 1,
) -> None:
    """Fit a network on labelled cells; whole patients or samples are held out.

    The same command continues after Ctrl-C. On several GPUs: `torchrun --nproc-per-node 4 -m train
    fit ...` with the same arguments.

    Example: `python -m train fit cells.csv --out runs/mine`
    """
    from ctcedge.errors import CtcEdgeError

    from ..fit.fit import fit_manifests
    from ..fit.presets import preset_named

    with _interruptible() as (processes, should_stop):
        with exit_on(ValueError, CtcEdgeError, OSError):
            defaults = preset_named(preset)
            runs = fit_manifests(
                manifests,
                out,
                defaults,
                defaults.fit_settings(
                    network=network,
                    width=width,
                    epochs=epochs,
                    batch_size=batch_size,
                    learning_rate=learning_rate,
                    without=without or (),
                    dapi=dapi,
                    seed=seed,
                    frozen=frozen,
                ),
                validation=validation or (),
                positive=positive or (),
                negative=negative or (),
                folds=folds,
                size=size,
                um_per_px=um_per_px,
                crop_px=crop_px,
                init=init,
                on_warning=warn,
                should_stop=should_stop,
            )
        if processes.is_main:
            for run in runs:
                typer.echo(f"{run.folder}: {run.summary()}")
            typer.echo(f"next: python -m train export {out} --name NAME")


def pretrain(
    exports: Annotated[
        list[Path], typer.Argument(help="Folders of crops, searched recursively; no labels needed.")
    ],
    out: Annotated[
        Path, typer.Option(help="Run folder; the same command continues an interrupted one.")
    ],
    preset: Annotated[str, typer.Option(help="Default settings: cpu, gpu or tiny.")] = "cpu",
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="What is learnt: contrastive, vicreg, masked, stains or aligned; repeatable, the"
            " losses are added.",
            show_default="of the preset",
        ),
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(
            help="Manifest, or CSV file with a column patient or sample, of what is kept out, such"
            " as a test set; repeatable."
        ),
    ] = None,
    patients: Patients = None,
    network: Network = None,
    width: Width = None,
    epochs: Annotated[int | None, typer.Option(min=1, show_default="of the preset")] = None,
    batch_size: Annotated[int | None, typer.Option(min=8, show_default="of the preset")] = None,
    learning_rate: Annotated[float | None, typer.Option(show_default="of the preset")] = None,
    negatives: Annotated[
        str | None,
        typer.Option(
            help="Crops that 'contrastive' tells a crop apart from: all, or those of its sample.",
            show_default="of the preset",
        ),
    ] = None,
    config: Config = None,
    pattern: Pattern = None,
    um_per_px: Annotated[
        float | None, typer.Option(help="Edge length of an image pixel in um.")
    ] = None,
    size: Size = None,
    crop_px: CropPx = None,
    seed: Seed = 1,
) -> None:
    """Pretrain a network on unlabelled crops, for `fit --init`.

    The network learns from the crops alone; meant for fits with few labels. The same command
    continues after Ctrl-C; several GPUs as for `fit`.

    Example: `python -m train pretrain EXPORT --out runs/pretrained`
    """
    from ctcedge.errors import CtcEdgeError

    from ..pretrain.pretrain import pretrain_exports
    from ..pretrain.settings import pretrain_preset

    with _interruptible() as (processes, should_stop):
        with exit_on(ValueError, CtcEdgeError, OSError):
            defaults = pretrain_preset(preset)
            run = pretrain_exports(
                exports,
                out,
                defaults,
                defaults.settings.with_overrides(
                    objectives=tuple(objective) if objective else None,
                    network=network,
                    width=width,
                    epochs=epochs,
                    batch_size=batch_size,
                    learning_rate=learning_rate,
                    negatives=negatives,
                    seed=seed,
                ),
                exclude=exclude or (),
                patients=patients,
                config=config,
                pattern=pattern,
                um_per_px=um_per_px,
                size=size,
                crop_px=crop_px,
                on_warning=warn,
                should_stop=should_stop,
            )
        if processes.is_main:
            typer.echo(f"{run.folder}: {run.summary()}")
            typer.echo(f"next: python -m train fit MANIFEST --init {out} --out RUN")
