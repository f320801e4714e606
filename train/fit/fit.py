"""Fit networks in run folders: hold whole groups out, check all, then one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ctcedge.images.preprocess import InputSpec

from ..data import splits as split
from ..data.dataset import Cells, TrainingProvenance, read_cells
from ..data.manifest import Row, choose, read_manifests
from ..metrics.calibration import too_few_problem
from ..util.progress import progress
from .distributed import ProcessGroup, process_group
from .networks import Classifier
from .objectives import STRATEGIES, BrightField, Student, Teacher
from .presets import Preset, input_for
from .pretrained import InitialWeights
from .run import RUN_NAME, WEIGHTS_NAME, FitSettings, Run, RunError, open_runs
from .trainer import FitError, Interrupted, load_weights, train_network

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
    note: Callable[[str], object] = lambda text: None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Run]:
    """Fit on the cells of manifests.

    Args:
        manifests: of cells to train on, a tenth of which is held out for validation.
        folder: of the run, or of the runs of its folds.
        preset: what the network sees, where the next arguments do not say.
        settings: what decides the weights.
        validation: manifests of cells to hold out instead of that tenth.
        positive: as of `train.data.manifest.choose`.
        negative: as of `train.data.manifest.choose`.
        folds: number of folds; None for a single run.
        size: as of `train.fit.presets.input_for`.
        um_per_px: as of `train.fit.presets.input_for`.
        crop_px: as of `train.fit.presets.input_for`.
        init: folder of a run or a model to start from.
        note: is told what a person should know before a long fit.
        stop: asked between images and between steps.

    Returns:
        The finished runs.

    Raises:
        ManifestError: a manifest or an image cannot be used.
        LeakError: a patient is held out of whom the first weights have seen cells.
        ValueError: as of `fit` and `fit_folds`.
        ModelError: the model folder to start from is damaged.
        Interrupted: it was asked to stop.
    """
    if folds and validation:
        raise ValueError("--folds holds out by itself; leave --folds or --validation away")
    initial = InitialWeights.of(init) if init else None
    rows = choose(read_manifests(manifests), positive, negative)
    held = choose(read_manifests(validation), positive, negative) if validation else []
    input = input_for([*rows, *held], preset, size, um_per_px, crop_px)
    with (
        process_group() as processes,
        progress("Read", len(rows) + len(held), quiet=not processes.is_main) as advance,
    ):

        def each() -> None:
            advance()
            if stop():
                raise Interrupted

        cells = read_cells([*rows, *held], input, each)
    if folds:
        sides = _splits_of_folds(cells, folds, settings.seed)
    elif held:
        sides = [np.where(np.arange(len(cells)) < len(rows), "training", "validation")]
    else:
        sides = [assign_splits(cells, settings.seed)]
    for side in sides:
        dealt = zip([*rows, *held], side, strict=True)
        _check_patients_unseen([row for row, place in dealt if place != "training"], initial)
        few = too_few_problem(cells.positive[side == "validation"])
        if few and processes.is_main:
            note(f"'export' will refuse this run: {few}")
    if folds:
        fit_folds(cells, folds, settings, input, folder, initial=initial, stop=stop)
    else:
        fit(cells, sides[0], settings, input, folder, initial=initial, stop=stop)
    return open_runs(folder)


def assign_splits(
    cells: Cells, seed: int, test: NDArray[np.bool_] | None = None
) -> NDArray[np.str_]:
    """Hold out about a tenth of the training cells for validation, by whole groups.

    Args:
        cells: all.
        seed: of the choice.
        test: (n,) bool, cells of groups that are held out for the test.

    Returns:
        (n,) the `train.fit.run.Side` of each cell.

    Raises:
        ValueError: too few groups.
    """
    side = np.full(len(cells), "training", dtype="<U10")
    if test is not None:
        side[test] = "test"
    rest = np.flatnonzero(side == "training")
    side[rest[split.hold_out(cells.select(rest), VALIDATION_FRACTION, seed)]] = "validation"
    return side


def _splits_of_folds(cells: Cells, count: int, seed: int) -> list[NDArray[np.str_]]:
    fold = split.assign_folds(cells, count, seed)
    return [assign_splits(cells, seed, fold == number) for number in range(count)]


def fit(
    cells: Cells,
    side: NDArray[np.str_],
    settings: FitSettings,
    input: InputSpec,
    folder: Path,
    *,
    initial: InitialWeights | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Classifier:
    """Fit a network in a run folder, or go on where an earlier call was cut off.

    Trains on the training side and watches the AUC of the validation side, one view. The weights
    are the moving average at the end, when the learning rate has come to rest: choosing the best
    epoch would tilt the validation figures. The same seed, cells and number of processes give the
    same weights on the same CPU. Both classes count the same in the loss.

    Args:
        cells: of all sides.
        side: (n,) the `train.fit.run.Side` of each cell.
        settings: what decides the weights.
        input: what the cells were brought to.
        folder: the run, new, unfinished or finished.
        initial: the first weights; drawn at random where None.
        stop: asked between steps; once it says so, a checkpoint is written.

    Returns:
        The fitted network, in evaluation mode.

    Raises:
        LeakError: a group or an image stands on two sides, or is held out although the first
            weights were trained on it.
        FitError: a side lacks a class, there is no DAPI image to use, or the loss is not finite.
        RunError: the folder holds another run, or another process fits there.
        InitialError: the first weights are of another network.
        OSError: the folder cannot be written.
        Interrupted: it was asked to stop.
    """
    run = _run(folder, settings, input, cells, side, initial)
    _fit([run], initial, stop)
    return run.network()


def fit_folds(
    cells: Cells,
    count: int,
    settings: FitSettings,
    input: InputSpec,
    folder: Path,
    *,
    initial: InitialWeights | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Classifier]:
    """Fit one network for each of `count` folds, so that each cell is a test cell once.

    Args:
        cells: all.
        count: number of folds.
        settings: as of `fit`.
        input: as of `fit`.
        folder: parent of the runs `fold-1` and so on.
        initial: as of `fit`.
        stop: as of `fit`.

    Returns:
        The fitted networks.

    Raises:
        ValueError: too few groups; otherwise as `fit`.
    """
    if (folder / RUN_NAME).exists():
        raise RunError(f"{folder} holds a run without folds; choose another --out, or remove it")
    runs = [
        _run(folder / FOLD_NAME.format(number), settings, input, cells, side, initial)
        for number, side in enumerate(_splits_of_folds(cells, count, settings.seed), 1)
    ]
    _fit(runs, initial, stop)
    return [run.network() for run in runs]


def _run(
    folder: Path,
    settings: FitSettings,
    input: InputSpec,
    cells: Cells,
    side: NDArray[np.str_],
    initial: InitialWeights | None,
) -> Run:
    if initial is None:
        return Run(folder, settings, input, cells, side)
    return Run(folder, settings, input, cells, side, initial.sha256, initial.provenance)


def _fit(runs: list[Run], initial: InitialWeights | None, stop: Callable[[], bool]) -> None:
    for run in runs:
        _check(run)
    with process_group() as processes, _reproducible(processes.device), ExitStack() as held:
        if initial is not None:
            initial.network(runs[0])  # refuses another network's weights before anything is written
        if processes.is_main:
            # All of them first: a fold that is missing must not pass for a run with fewer.
            for run in runs:
                held.enter_context(run.locked())
                run.save()
        processes.barrier()
        for run in runs:
            if not run.finished:
                train_network(
                    _strategy(run, initial, processes, stop), run, run.folder, processes, stop
                )


def _strategy(
    run: Run, initial: InitialWeights | None, processes: ProcessGroup, stop: Callable[[], bool]
) -> BrightField:
    """Make what is to be fitted; for a student that is to fit its teacher first."""
    settings = run.settings
    torch.manual_seed(settings.seed)
    if settings.dapi != "teacher":
        strategy = STRATEGIES[settings.dapi](settings)
    else:
        folder = run.folder / TEACHER_NAME
        if not (folder / WEIGHTS_NAME).is_file():
            train_network(Teacher(settings), run, folder, processes, stop)
        # Made anew: one fitted in this process lies otherwise in memory, and rounds otherwise.
        teacher = Teacher(settings)
        teacher.network.load_state_dict(load_weights(folder / WEIGHTS_NAME, processes.device))
        torch.manual_seed(settings.seed)
        strategy = Student(settings, teacher.network)
    if initial is not None:
        strategy.start_from(initial.network(run))
    return strategy


def _check(run: Run) -> None:
    """Refuse cells that cannot be fitted on."""
    sides = {name: run.subset(name) for name in ("training", "validation", "test")}
    for one, other in (("training", "validation"), ("training", "test"), ("validation", "test")):
        split.check_no_leakage(sides[one], sides[other])
    for name in ("validation", "test"):
        _check_images_unseen(sides[name], run.earlier)
    for name in ("training", "validation"):
        if problem := split.one_class_problem(sides[name], name):
            raise FitError(problem)
    if run.settings.dapi != "none" and not sides["training"].has_nucleus.any():
        raise FitError(
            f"no training cell has a DAPI image, which '--dapi {run.settings.dapi}' needs"
        )


def _check_images_unseen(held: Cells, earlier: TrainingProvenance) -> None:
    _check_none_seen(np.unique(held.group[np.isin(held.digest, earlier.digest)]).tolist())


def _check_patients_unseen(held: Sequence[Row], initial: InitialWeights | None) -> None:
    """Refuse to hold out other images of patients; samples of one name may be different ones."""
    if initial is not None:
        _check_none_seen(
            initial.provenance.matching_groups(sorted({row.patient for row in held} - {""}))
        )


def _check_none_seen(seen: list[str]) -> None:
    if seen:
        raise split.LeakageError(
            f"the first weights were trained on cells of {len(seen):,} of the patients or samples"
            f" that are to be held out, such as '{seen[0]}'; hold out others with --validation,"
            " or leave --init away"
        )


@contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Ask for reproducible kernels on a CPU, for TF32 on a GPU; leave PyTorch as it was."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    precision = torch.get_float32_matmul_precision()
    with torch.random.fork_rng():
        torch.use_deterministic_algorithms(device.type == "cpu")
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            torch.set_float32_matmul_precision(precision)
