"""The commands that train: `pretrain` and `fit`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import (
    PRESET,
    BatchSize,
    Config,
    CropPx,
    CropUmPerPx,
    Dapi,
    Epochs,
    Folds,
    Init,
    LearningRate,
    Manifests,
    Negative,
    Network,
    Patients,
    Pattern,
    Positive,
    PresetName,
    Seed,
    Size,
    Validation,
    Width,
    Without,
)
from ..util.command_line import path_argument, path_option, real_option, whole_option
from ..util.errors import exit_on, warn
from ..util.next_step import name_for, print_next

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
            typer.echo("Interrupted; the same command continues", err=True)
            raise typer.Exit(128 + interruption.number) from None


def fit(
    manifests: Manifests,
    out: Annotated[Path, path_option("Run folder; the same command continues an interrupted fit.")],
    preset: PresetName = "cpu",
    network: Network = None,
    width: Width = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    without: Without = None,
    dapi: Dapi = "none",
    folds: Folds = None,
    validation: Validation = None,
    positive: Positive = None,
    negative: Negative = None,
    size: Size = None,
    um_per_px: Annotated[
        float | None, real_option("Edge of an input pixel, um.", 0.01, 20, show_default=PRESET)
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
    """Fit a network on labelled cells.

    Whole patients or samples are held out for validation. The same command continues after
    Ctrl-C. On several GPUs: torchrun --nproc-per-node 4 -m ctcedge_train fit ... with the same
    arguments.

    Example: ctcedge-train fit cells.csv --out runs/mine
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
            print_next("export", out, "--name", name_for(out))


def pretrain(
    exports: Annotated[
        list[Path],
        path_argument("Folders of crops, searched recursively; no labels needed.", "EXPORT"),
    ],
    out: Annotated[Path, path_option("Run folder; the same command continues an interrupted one.")],
    preset: PresetName = "cpu",
    objective: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What is learnt: contrastive, vicreg, masked, stains or aligned; repeatable, the"
            " losses are added.",
            show_default=PRESET,
        ),
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        path_option(
            "Manifest, or CSV file with a column patient or sample, of what is kept out, such"
            " as a test set; repeatable.",
            "FILE",
        ),
    ] = None,
    patients: Patients = None,
    network: Network = None,
    width: Width = None,
    epochs: Epochs = None,
    batch_size: Annotated[
        int | None, whole_option("Crops per step.", 8, 65_536, show_default=PRESET)
    ] = None,
    learning_rate: LearningRate = None,
    negatives: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH",
            help="Crops that 'contrastive' tells a crop apart from: all, or those of its sample.",
            show_default=PRESET,
        ),
    ] = None,
    config: Config = None,
    pattern: Pattern = None,
    um_per_px: CropUmPerPx = None,
    size: Size = None,
    crop_px: CropPx = None,
    seed: Seed = 1,
) -> None:
    """Pretrain a network on unlabelled crops, for fit --init.

    The network learns from the crops alone; meant for fits with few labels. The same command
    continues after Ctrl-C; several GPUs as for fit.

    Example: ctcedge-train pretrain EXPORT --out runs/pretrained
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
            print_next("fit", "MANIFEST", "--init", out, "--out", "runs/NAME")
