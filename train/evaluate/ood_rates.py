"""Rates of domain-shift alerts for in-distribution and out-of-distribution runs.

There are two commands. `simulated` applies a model of simulated cells to new hospitals and to
folders of real crops; `held-out` applies the model of a fold to pools of its held-out acquisitions,
unchanged, blurred and at a wrong scale, and to other folders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from msgspec import structs
from numpy.typing import NDArray

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.ood import MIN_CROPS, OodDetector, RunFeatures, is_out_of_distribution
from ctcedge.errors import SetupError
from ctcedge.images.decode import GreyImage
from ctcedge.images.preprocess import InputSpec

from ..data.dataset import cells_from_simulation, image_digest
from ..data.folder import CropFolder
from ..fit.run import open_runs
from ..simulate import simulate_cells
from ..util.batching import batches
from ..util.command_line import application, path_argument, real_option, whole_option
from ..util.errors import exit_on, fail
from .external_negatives import UNSEEN_SEED

WRONG_SCALE = 1.5
_BATCH = 64
_POOLS = 400
_CTC_FRACTIONS = (0.0, 0.1, 0.5)

Change = Callable[[GreyImage], GreyImage]


@dataclass(frozen=True, slots=True)
class OodMeasurements:
    """Out-of-distribution features of cells.

    Attributes:
        features: (n, k).
        out_of_distribution: (n,), whether each crop alone would be flagged for review.
    """

    features: NDArray[np.float64]
    out_of_distribution: NDArray[np.bool_]


class OodProbe:
    """A model and its out-of-distribution detector.

    Raises:
        SetupError: the model cannot be used.
        ValueError: it has no run statistics.
    """

    def __init__(self, model: Path) -> None:
        self.classifier = Classifier.load(model, provider="cpu")
        detector = self.classifier.ood_detector
        if detector is None or detector.network is None:
            raise ValueError(f"{model} has no run statistics; export it again")
        self.detector: OodDetector = detector
        self.spec: InputSpec = self.classifier.model.spec.input

    def measure(self, inputs: NDArray[np.uint8]) -> OodMeasurements:
        """Measure (n, size, size) inputs."""
        scores = []
        for part in batches(inputs, _BATCH):
            features = self.classifier.engine.infer(part).features
            assert features is not None
            scores += self.detector.score(part, features)
        return OodMeasurements(
            np.array([score.features for score in scores]),
            np.array([is_out_of_distribution(score.p_value) for score in scores]),
        )

    def report_runs(
        self, what: str, measured: OodMeasurements, runs: Iterable[NDArray[np.intp]]
    ) -> None:
        """Print the fraction of runs, given as rows of cells, with an alert."""
        distances = []
        for rows in runs:
            run = RunFeatures()
            for row in measured.features[rows]:
                run.add(row)
            distance = self.detector.domain_shift(run).distance
            assert distance is not None
            distances.append(distance)
        flagged = measured.out_of_distribution
        lowest, median, highest = np.quantile(distances, [0, 0.5, 1])
        typer.echo(
            f"{what}: alert for {np.mean(np.array(distances) > 1):.1%} of {len(distances)} runs;"
            f" distance {median:.2f} ({lowest:.2f} to {highest:.2f});"
            f" {flagged.mean():.2%} of {len(flagged):,} crops out of distribution"
        )

    def report_folder(self, crops: CropFolder) -> None:
        """Print the alerts for a folder as one run, and for draws of `MIN_CROPS` crops."""
        folder = crops.folder
        typer.echo(f"{folder}: {crops.scale(self.spec)}")
        measured = self.measure(crops.inputs(self.spec))
        rng = np.random.default_rng(1)
        n = len(measured.features)
        drawn = (rng.choice(n, MIN_CROPS, replace=False) for _ in range(_POOLS))
        self.report_runs(f"{folder}, {MIN_CROPS} crops at a time", measured, drawn)
        self.report_runs(f"{folder}, all in one", measured, [np.arange(n)])


def simulated(
    model: Annotated[Path, path_argument("Model folder, trained on simulated cells.", "MODEL")],
    folders: Annotated[list[Path], path_argument("Folders of real crops.", "FOLDER")],
    um_per_px: Annotated[
        float | None,
        real_option("Of the real crops.", 0.01, 20, show_default="of each folder"),
    ] = None,
    hospitals: Annotated[int, whole_option("Number of simulated hospitals.", 1, 100_000)] = 300,
) -> None:
    """Print the alert rates of a model of simulated cells.

    Example: python -m train.evaluate.ood_rates simulated models/sim-resnet18 ../breast
    --um-per-px 0.5
    """
    with exit_on(SetupError, ValueError):
        probe = OodProbe(model)
        real = [_require_min_crops(CropFolder.read(folder, um_per_px)) for folder in folders]
    cells = cells_from_simulation(
        simulate_cells(
            hospitals=hospitals, samples=1, cells=200, seed=UNSEEN_SEED, channels=("BF",)
        ),
        probe.spec,
    )
    measured = probe.measure(cells.bright)
    for fraction in _CTC_FRACTIONS:
        runs = list(_runs_with_fraction(cells.group, cells.positive, fraction))
        if not runs:
            raise fail(f"no hospital has cells for a run of {fraction:.0%} CTCs; --hospitals more")
        probe.report_runs(f"simulated hospitals, {fraction:.0%} CTCs", measured, runs)
    for crops in real:
        probe.report_folder(crops)


def held_out(
    run: Annotated[Path, path_argument("Run of a fold.", "RUN")],
    model: Annotated[Path, path_argument("Model folder exported from it.", "MODEL")],
    data: Annotated[Path, path_argument("Folder of all its crops.", "FOLDER")],
    others: Annotated[list[Path], path_argument("Folders of other crops.", "OTHER")],
) -> None:
    """Print the alert rates of the model of a fold.

    Example: python -m train.evaluate.ood_rates held-out runs/mine/fold-1 models/fold-1 ../mine
    ../other
    """
    with exit_on(SetupError, ValueError):
        probe = OodProbe(model)
        mine, sample = _held_out(run, CropFolder.read(data))
        strange = [_require_min_crops(CropFolder.read(folder)) for folder in others]
    typer.echo(f"{data}: {len(sample):,} held-out cells, {mine.scale(probe.spec)}")
    pools = list(_pools(sample))
    for name, change in _CHANGES.items():
        changed = replace(mine, pixels=[change(each) for each in mine.pixels])
        measured = probe.measure(changed.inputs(probe.spec))
        probe.report_runs(f"held-out acquisitions, {name}", measured, pools)
    for factor in (WRONG_SCALE, 1 / WRONG_SCALE):
        measured = probe.measure(mine.inputs(_scaled(probe.spec, factor)))
        probe.report_runs(f"held-out acquisitions, um/px wrong by {factor:.2f}", measured, pools)
    for crops in strange:
        probe.report_folder(crops)


def _held_out(run: Path, crops: CropFolder) -> tuple[CropFolder, NDArray[np.str_]]:
    """Find a run's test cells among crops by their pixels, as names may differ.

    Returns:
        The crops of these cells; (n,) the acquisition of each.

    Raises:
        ValueError: it is not the run of one fold, or its test cells are missing.
    """
    first, *more = open_runs(run)
    if more:
        raise ValueError(f"{run} contains {len(more) + 1} folds; give one, such as {first.folder}")
    test = first.subset("test")
    if not len(test):
        raise ValueError(f"{run} has no test cells; fit it with --folds")
    sample = dict(zip(test.digest.tolist(), test.sample.tolist(), strict=True))
    found = [
        (each, sample[name]) for each in crops.pixels if (name := image_digest(each)) in sample
    ]
    if len(found) < MIN_CROPS:
        raise ValueError(
            f"{crops.folder} holds {len(found):,} of the {len(test):,} test cells of {run};"
            f" {MIN_CROPS} are needed: give the folder that it was fitted on"
        )
    pixels, samples = zip(*found, strict=True)
    return replace(crops, pixels=list(pixels)), np.array(samples)


def _require_min_crops(crops: CropFolder) -> CropFolder:
    """Refuse a folder with fewer than `MIN_CROPS` crops."""
    if len(crops.pixels) < MIN_CROPS:
        raise ValueError(
            f"{crops.folder} holds {len(crops.pixels)} crops; {MIN_CROPS} are needed to judge a run"
        )
    return crops


def _scaled(spec: InputSpec, factor: float) -> InputSpec:
    """Enlarge the input's pixels by a factor, as if um/px were wrong by it."""
    if spec.um_per_px is None:
        return structs.replace(spec, crop_px=(spec.crop_px or 1) * factor)
    return structs.replace(spec, um_per_px=spec.um_per_px * factor)


def _blurred(sigma: float) -> Change:
    return lambda pixels: cv2.GaussianBlur(pixels, (0, 0), sigma)  # type: ignore[return-value]


_CHANGES: dict[str, Change] = {
    "unchanged": lambda pixels: pixels,
    "blurred by 1 px": _blurred(1),
    "blurred by 2 px": _blurred(2),
    "blurred by 3 px": _blurred(3),
}


def _runs_with_fraction(
    hospital: NDArray[np.str_], positive: NDArray[np.bool_], fraction: float
) -> Iterable[NDArray[np.intp]]:
    """Draw a run of `MIN_CROPS` crops from each hospital with enough of both classes."""
    rng = np.random.default_rng(1)
    ctcs = round(fraction * MIN_CROPS)
    for name in np.unique(hospital):
        mine = [np.flatnonzero((hospital == name) & (positive == kind)) for kind in (True, False)]
        if len(mine[0]) >= ctcs and len(mine[1]) >= MIN_CROPS - ctcs:
            yield np.concatenate(
                (
                    rng.choice(mine[0], ctcs, replace=False),
                    rng.choice(mine[1], MIN_CROPS - ctcs, replace=False),
                )
            )


def _pools(sample: NDArray[np.str_]) -> Iterable[NDArray[np.intp]]:
    """Pool random whole acquisitions until there are `MIN_CROPS` crops."""
    rng = np.random.default_rng(1)
    rows = [np.flatnonzero(sample == name) for name in np.unique(sample)]
    for _ in range(_POOLS):
        pool: list[NDArray[np.intp]] = []
        for index in rng.permutation(len(rows)):
            pool.append(rows[index])
            if sum(map(len, pool)) >= MIN_CROPS:
                break
        yield np.concatenate(pool)


app = application(
    simulated,
    held_out,
    about="Print the rates of domain-shift alerts of a model, for usual and for strange runs.",
)

if __name__ == "__main__":
    app(complete_var="")
