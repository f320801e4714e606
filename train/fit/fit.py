"""Fit networks in run folders: assign splits by whole groups, check them, then train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ctcedge.images.preprocess import InputSpec
from ctcedge.records import plain

from ..data import splits as split
from ..data.dataset import Cells, TrainingProvenance, read_cells
from ..data.manifest import Row, abbreviate, choose, read_manifests
from ..metrics.calibration import too_few_problem
from ..util.progress import progress
from .distributed import ProcessGroup, process_group
from .folder import RUN_NAME, WEIGHTS_NAME, RunError, load_weights
from .head import train_head
from .loop import Interrupted, reproducible
from .networks import Classifier
from .objectives import STRATEGIES, BrightField, Student, Teacher
from .presets import Preset, input_for
from .pretrained import InitialWeights
from .run import FitSettings, Run, open_runs
from .trainer import FitError, train_network

TEACHER_NAME = "teacher"
FOLD_NAME = "fold-{}"

VALIDATION_FRACTION = 0.1


def fit_manifests(
    manifests: Sequence[Path],
    folder: Path,
    preset: Preset,
    settings: FitSettings,
    *,
    validation: Sequence[Path] = (),
    positive: Sequence[str] = (),
    negative: Sequence[str] = (),
    folds: int | None = None,
    size: int | None = None,
    um_per_px: float | None = None,
    crop_px: float | None = None,
    init: Path | None = None,
    on_warning: Callable[[str], object] = lambda text: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Run]:
    """Fit on the cells of manifests.

    Args:
        manifests: of cells to train on, a tenth of which is held out for validation.
        folder: of the run, or of the runs of its folds.
        preset: for the network input, where the arguments below are not given.
        settings: of the fit.
        validation: manifests of cells to hold out instead of a tenth.
        positive: as of `train.data.manifest.choose`.
        negative: as of `train.data.manifest.choose`.
        folds: number of folds; None for a single run.
        size: as of `train.fit.presets.input_for`.
        um_per_px: as of `train.fit.presets.input_for`.
        crop_px: as of `train.fit.presets.input_for`.
        init: folder of a run or model with initial weights.
        on_warning: callback for user-facing warnings before a long fit.
        should_stop: called between images and between steps; return True to stop.

    Returns:
        The finished runs.

    Raises:
        ManifestError: a manifest or an image cannot be used.
        LeakageError: the initial weights were trained on labelled cells of a held-out patient.
        ValueError: as of `fit` and `fit_folds`.
        ModelError: the model folder to start from is damaged.
        Interrupted: `should_stop` returned True.
    """
    if folds and validation:
        raise ValueError("--folds holds out cells by itself; omit --folds or --validation")
    initial = InitialWeights.of(init) if init else None
    rows = choose(read_manifests(manifests), positive, negative)
    held_out = choose(read_manifests(validation), positive, negative) if validation else []
    input = input_for([*rows, *held_out], preset, size, um_per_px, crop_px)
    with (
        process_group() as processes,
        progress("Read", len(rows) + len(held_out), quiet=not processes.is_main) as advance,
    ):

        def on_cell() -> None:
            advance()
            if should_stop():
                raise Interrupted

        cells = read_cells([*rows, *held_out], input, on_cell)
    if folds:
        all_splits = _splits_of_folds(cells, folds, settings.seed)
    elif held_out:
        all_splits = [np.where(np.arange(len(cells)) < len(rows), "training", "validation")]
    else:
        all_splits = [assign_splits(cells, settings.seed)]
    warn = on_warning if processes.is_main else lambda text: None
    if initial is not None and initial.pretraining is not None:
        _warn_of_other_input(initial.pretraining.input, input, warn)
    for splits in all_splits:
        if initial is not None:
            _warn_of_unlabelled(cells.select(splits != "training"), initial.unlabelled, warn)
        assigned = zip([*rows, *held_out], splits, strict=True)
        _check_patients_unseen([row for row, name in assigned if name != "training"], initial)
        few = too_few_problem(cells.positive[splits == "validation"])
        if few:
            warn(f"'export' will refuse this run: {few}")
    if folds:
        fit_folds(cells, folds, settings, input, folder, initial=initial, should_stop=should_stop)
    else:
        fit(cells, all_splits[0], settings, input, folder, initial=initial, should_stop=should_stop)
    return open_runs(folder)


def assign_splits(
    cells: Cells, seed: int, test: NDArray[np.bool_] | None = None
) -> NDArray[np.str_]:
    """Assign cells to splits: about a tenth for validation, by whole groups.

    Args:
        cells: all.
        seed: of the choice.
        test: (n,) bool, cells of the test split.

    Returns:
        (n,) the `train.fit.run.Split` of each cell.

    Raises:
        ValueError: too few groups.
    """
    splits = np.full(len(cells), "training", dtype="<U10")
    if test is not None:
        splits[test] = "test"
    training = np.flatnonzero(splits == "training")
    held_out = split.hold_out(cells.select(training), VALIDATION_FRACTION, seed)
    splits[training[held_out]] = "validation"
    return splits


def _splits_of_folds(cells: Cells, count: int, seed: int) -> list[NDArray[np.str_]]:
    fold = split.assign_folds(cells, count, seed)
    return [assign_splits(cells, seed, fold == number) for number in range(count)]


def fit(
    cells: Cells,
    splits: NDArray[np.str_],
    settings: FitSettings,
    input: InputSpec,
    folder: Path,
    *,
    initial: InitialWeights | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Classifier:
    """Fit a network in a run folder, or continue an interrupted fit.

    Trains on the training split and reports the AUC of the validation split, with one view. The
    weights are the moving average after the learning-rate schedule has decayed to zero: choosing
    the best epoch would bias the validation figures. The same seed, cells and number of processes
    give the same weights on the same CPU. Both classes have equal weight in the loss.

    Args:
        cells: of all splits.
        splits: (n,) the `train.fit.run.Split` of each cell.
        settings: of the fit.
        input: network input of the cells.
        folder: of the run, new, unfinished or finished.
        initial: initial weights; random where None.
        should_stop: called between steps; where it returns True, a checkpoint is written.

    Returns:
        The fitted network, in evaluation mode.

    Raises:
        LeakageError: a group or an image is in two splits, or is held out although the initial
            weights were trained on it.
        FitError: a split lacks a class, there is no DAPI image to use, or the loss is not finite.
        RunError: the folder contains another run, or another process fits there.
        InitialWeightsError: the initial weights are of another network.
        OSError: the folder cannot be written.
        Interrupted: `should_stop` returned True.
    """
    run = _run(folder, settings, input, cells, splits, initial)
    _fit([run], initial, should_stop)
    return run.network()


def fit_folds(
    cells: Cells,
    count: int,
    settings: FitSettings,
    input: InputSpec,
    folder: Path,
    *,
    initial: InitialWeights | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Classifier]:
    """Fit one network per fold, so that each cell is a test cell once.

    Args:
        cells: all.
        count: number of folds.
        settings: as of `fit`.
        input: as of `fit`.
        folder: parent of the runs `fold-1` and so on.
        initial: as of `fit`.
        should_stop: as of `fit`.

    Returns:
        The fitted networks.

    Raises:
        ValueError: too few groups; otherwise as `fit`.
    """
    if (folder / RUN_NAME).exists():
        raise RunError(f"{folder} contains a run without folds; choose another --out, or remove it")
    runs = [
        _run(folder / FOLD_NAME.format(number), settings, input, cells, splits, initial)
        for number, splits in enumerate(_splits_of_folds(cells, count, settings.seed), 1)
    ]
    _fit(runs, initial, should_stop)
    return [run.network() for run in runs]


def _run(
    folder: Path,
    settings: FitSettings,
    input: InputSpec,
    cells: Cells,
    splits: NDArray[np.str_],
    initial: InitialWeights | None,
) -> Run:
    if initial is None:
        return Run(folder, settings, input, cells, splits)
    return Run(
        folder,
        settings,
        input,
        cells,
        splits,
        initial.sha256,
        initial.provenance,
        initial.unlabelled,
    )


def _fit(runs: list[Run], initial: InitialWeights | None, should_stop: Callable[[], bool]) -> None:
    if initial is None and runs[0].settings.frozen:
        raise FitError("--frozen needs initial weights; give --init")
    for run in runs:
        _check(run)
    with process_group() as processes, reproducible(processes.device), ExitStack() as locks:
        if initial is not None:
            initial.network(
                runs[0]
            )  # raises for weights of another network before anything is written
        if processes.is_main:
            # All of them first: an interrupted start must not be taken for a run of fewer folds.
            for run in runs:
                locks.enter_context(run.locked())
                run.save()
        processes.barrier()
        for run in runs:
            if not run.finished and run.settings.frozen:
                if processes.is_main:
                    assert initial is not None
                    train_head(initial.network(run), run)
                processes.barrier()
            elif not run.finished:
                train_network(
                    _strategy(run, initial, processes, should_stop),
                    run,
                    run.folder,
                    processes,
                    should_stop,
                )


def _strategy(
    run: Run,
    initial: InitialWeights | None,
    processes: ProcessGroup,
    should_stop: Callable[[], bool],
) -> BrightField:
    """Make the strategy to fit; for a student, fit its teacher first."""
    settings = run.settings
    torch.manual_seed(settings.seed)
    if settings.dapi != "teacher":
        strategy = STRATEGIES[settings.dapi](settings)
    else:
        folder = run.folder / TEACHER_NAME
        if not (folder / WEIGHTS_NAME).is_file():
            train_network(Teacher(settings), run, folder, processes, should_stop)
        # Loaded from its file: one fitted in this process has another memory layout and rounding.
        teacher = Teacher(settings)
        teacher.network.load_state_dict(load_weights(folder / WEIGHTS_NAME, processes.device))
        torch.manual_seed(settings.seed)
        strategy = Student(settings, teacher.network)
    if initial is not None:
        strategy.start_from(initial.network(run))
    return strategy


def _check(run: Run) -> None:
    """Check that the cells of a run can be fitted on."""
    splits = {name: run.subset(name) for name in ("training", "validation", "test")}
    for one, other in (("training", "validation"), ("training", "test"), ("validation", "test")):
        split.check_no_leakage(splits[one], splits[other])
    for name in ("validation", "test"):
        _check_images_unseen(splits[name], run.earlier)
    for name in ("training", "validation"):
        if problem := split.one_class_problem(splits[name], name):
            raise FitError(problem)
    if run.settings.dapi != "none" and not splits["training"].has_nucleus.any():
        raise FitError(
            f"no training cell has a DAPI image, which '--dapi {run.settings.dapi}' needs"
        )


def _check_images_unseen(held_out: Cells, earlier: TrainingProvenance) -> None:
    _check_none_seen(np.unique(held_out.group[np.isin(held_out.digest, earlier.digest)]).tolist())


def _check_patients_unseen(held_out: Sequence[Row], initial: InitialWeights | None) -> None:
    """Check by patient, too; samples of the same name may be different samples."""
    if initial is not None:
        _check_none_seen(
            initial.provenance.matching_groups(sorted({row.patient for row in held_out} - {""}))
        )


def _check_none_seen(seen: list[str]) -> None:
    if seen:
        raise split.LeakageError(
            f"the initial weights were trained on cells of {len(seen):,} of the patients or samples"
            f" to hold out, such as '{seen[0]}'; hold out others with --validation, or omit --init"
        )


def _warn_of_other_input(
    pretrained: InputSpec, input: InputSpec, on_warning: Callable[[str], object]
) -> None:
    names = [name for name, value in plain(input).items() if value != plain(pretrained).get(name)]
    if names:
        on_warning(
            "the initial weights were pretrained for another network input"
            f" ({', '.join(names)}): they are worth less so"
        )


def _warn_of_unlabelled(
    held_out: Cells, unlabelled: TrainingProvenance, on_warning: Callable[[str], object]
) -> None:
    used = unlabelled.used_groups(held_out)
    if used:
        on_warning(
            f"{len(used):,} of the patients or samples held out were used without labels by the"
            f" pretraining, so that figures of them may be too good: {abbreviate(used, ', ')}"
        )
