"""Pretrain a network in a run folder, on unlabelled crops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ctcedge.images.preprocess import InputSpec

from ..data.manifest import ManifestError, Row, abbreviate
from ..fit.distributed import ProcessGroup, process_group
from ..fit.folder import LOG_NAME, WEIGHTS_NAME, locked, save_tensors, write_json
from ..fit.head import network_features
from ..fit.loop import Interrupted, NotFiniteError, Training, reproducible, train
from ..fit.networks import Classifier, memory_format
from ..fit.presets import input_for
from ..util.progress import progress
from .crops import Crops, Exclusion, find_crops, read_crops, stain_names
from .features import feature_spread
from .objectives import Pretraining
from .run import PretrainingRun
from .settings import PretrainPreset, PretrainSettings
from .views import ViewLoader

MIN_CROPS = 32
_MONITORED = 256
"""Number of crops whose features are watched."""


class PretrainError(ValueError):
    """A network cannot be pretrained on these crops."""


def pretrain_exports(
    exports: Sequence[Path],
    folder: Path,
    preset: PretrainPreset,
    settings: PretrainSettings,
    *,
    exclude: Sequence[Path] = (),
    patients: Path | None = None,
    config: Path | None = None,
    pattern: str | None = None,
    um_per_px: float | None = None,
    size: int | None = None,
    crop_px: float | None = None,
    on_warning: Callable[[str], object] = lambda text: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> PretrainingRun:
    """Pretrain on the crops of exports.

    Args:
        exports: folders of crops, searched recursively.
        folder: of the run.
        preset: for the network input.
        settings: of the pretraining.
        exclude: manifests, or other CSV files with a column `patient` or `sample`, of what is kept
            out.
        patients: CSV file with the columns sample and patient.
        config: settings file instead of each folder's own.
        pattern: instead of the settings'.
        um_per_px: edge length of an image pixel, instead of the settings'.
        size: side of the input, pixels, instead of the preset's.
        crop_px: edge length of an input pixel in crop pixels, where um/px is unknown.
        on_warning: callback for user-facing warnings.
        should_stop: called between images and between steps; return True to stop.

    Returns:
        The finished run.

    Raises:
        SetupError: an export or its settings cannot be used.
        ValueError: no crop is left, or an option cannot be used with these crops.
        RunError: the folder contains another run, or another process trains there.
        Interrupted: `should_stop` returned True.
    """
    with process_group() as processes:
        warn = on_warning if processes.is_main else lambda text: None
        rows = find_crops(
            exports,
            config=config,
            pattern=pattern,
            um_per_px=um_per_px,
            patients=patients,
            on_warning=warn,
        )
        exclusion = Exclusion.of(exclude)
        named = exclusion.select(rows)
        kept = [row for row, excluded in zip(rows, named, strict=True) if not excluded]
        if not kept:
            raise ManifestError("--exclude leaves no crop")
        input = input_for(kept, preset.fit, size, None, crop_px)
        stains = stain_names(kept) if settings.needs_stains else []
        if settings.needs_stains and not stains:
            raise PretrainError(
                f"the objectives '{' '.join(settings.objectives)}' need images of stains beside"
                " bright field, and there are none"
            )

        def on_crop() -> None:
            advance()
            if should_stop():
                raise Interrupted

        with progress("Read", len(kept), quiet=not processes.is_main) as advance:
            crops = read_crops(kept, input, stains, on_crop, warn)
        count = len(crops)
        crops = exclusion.apply(crops)
        if exclude:
            warn(_kept_out(rows, named, count - len(crops)))
    return pretrain(crops, stains, settings, input, folder, should_stop=should_stop)


def _kept_out(rows: Sequence[Row], named: np.ndarray, by_image: int) -> str:
    names = sorted({row.group for row, excluded in zip(rows, named, strict=True) if excluded})
    return (
        f"kept out: {int(named.sum()):,} crops by the name of patient or sample"
        f" ({abbreviate(names, ', ') or 'none'}), {by_image:,} more because the same image, or"
        " another of its sample, is in the manifest"
    )


def pretrain(
    crops: Crops,
    stains: Sequence[str],
    settings: PretrainSettings,
    input: InputSpec,
    folder: Path,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> PretrainingRun:
    """Pretrain a network in a run folder, or continue an interrupted pretraining.

    The result is the moving average of the weights at the end of the schedule. The same seed, crops
    and number of processes give the same weights on the same CPU.

    Args:
        crops: unlabelled.
        stains: names of their stains.
        settings: of the pretraining.
        input: network input of the crops.
        folder: of the run, new, unfinished or finished.
        should_stop: called between steps; where it returns True, a checkpoint is written.

    Returns:
        The finished run.

    Raises:
        PretrainError: there are too few crops, or the loss is not finite.
        RunError: the folder contains another run, or another process trains there.
        OSError: the folder cannot be written.
        Interrupted: `should_stop` returned True.
    """
    if len(crops) < MIN_CROPS:
        raise PretrainError(f"{len(crops)} crops are too few; at least {MIN_CROPS} are needed")
    if len(crops) < settings.batch_size:
        settings = replace(settings, batch_size=len(crops))
    run = PretrainingRun(folder, settings, input, tuple(stains), crops)
    with process_group() as processes, reproducible(processes.device):
        if processes.is_main:
            with locked(folder):
                run.save()
                processes.barrier()
                _train(run, processes, should_stop)
        else:
            processes.barrier()
            _train(run, processes, should_stop)
    return run


def _train(run: PretrainingRun, processes: ProcessGroup, should_stop: Callable[[], bool]) -> None:
    if run.finished:
        return
    settings, crops, folder = run.settings, run.crops, run.folder
    torch.manual_seed(settings.seed)
    model = Pretraining(settings, len(run.stains))
    layout = memory_format(model.network)
    batches = ViewLoader(crops, settings, run.input.gain, processes, layout)
    model.to(processes.device).to(memory_format=layout)  # type: ignore[call-overload]
    training = Training(model, model.network, batches, settings, folder, f"Pretrain {folder.name}")
    chance = np.random.default_rng(settings.seed)
    monitored = crops.bright[np.sort(chance.permutation(len(crops))[:_MONITORED])]

    def on_epoch(network: Classifier) -> dict[str, float]:
        features = network_features(network, monitored, run.input.gain, views=1)
        return {"feature_spread": feature_spread(features)}

    try:
        network, log = train(training, processes, on_epoch, should_stop)
    except NotFiniteError as error:
        raise PretrainError(str(error)) from None
    if processes.is_main:
        write_json(folder / LOG_NAME, {"cells_per_epoch": len(batches), "epochs": log})
        network.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        # Last, so that a folder with weights is complete.
        save_tensors(folder / WEIGHTS_NAME, network.headless_state())
        training.checkpoint.unlink(missing_ok=True)
    processes.barrier()
