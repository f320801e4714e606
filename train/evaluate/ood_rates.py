"""How often the detector warns of runs: of those like training, and of those that are not.

Two commands. `simulated` asks a model of simulated cells about hospitals that it never saw, and
about folders of real crops; `held-out` asks the model of a fold about pools of the acquisitions
that it never saw, as they are, blurred and at a wrong scale, and about other folders.
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
from ..util.errors import exit_on, fail
from .external_negatives import UNSEEN_SEED

WRONG_SCALE = 1.5
_BATCH = 64
_POOLS = 400
_CTC_FRACTIONS = (0.0, 0.1, 0.5)

app = typer.Typer(add_completion=False)
Change = Callable[[GreyImage], GreyImage]


@dataclass(frozen=True, slots=True)
class OodMeasurements:
    """What the detector says of cells.

    Attributes:
        traits: (n, k).
        unlike: (n,), whether each crop alone would be reviewed as unlike training.
    """

    traits: NDArray[np.float64]
    unlike: NDArray[np.bool_]


class OodProbe:
    """A model and its detector.

    Raises:
        SetupError: the model cannot be used.
        ValueError: it judges no runs.
    """

    def __init__(self, model: Path) -> None:
        self.classifier = Classifier.load(model, provider="cpu")
        detector = self.classifier.ood_detector
        if detector is None or detector.network is None:
            raise ValueError(f"{model} judges no runs; export it anew")
        self.detector: OodDetector = detector
        self.spec: InputSpec = self.classifier.model.spec.input

    def measure(self, inputs: NDArray[np.uint8]) -> OodMeasurements:
        """Measure (n, size, size) inputs."""
        found = []
        for part in batches(inputs, _BATCH):
            features = self.classifier.engine.infer(part).features
            assert features is not None
            found += self.detector.score(part, features)
        return OodMeasurements(
            np.array([each.features for each in found]),
            np.array([is_out_of_distribution(e.p_value) for e in found]),
        )

    def report_runs(
        self, what: str, measured: OodMeasurements, runs: Iterable[NDArray[np.intp]]
    ) -> None:
        """Print how many of the runs, rows of cells, are warned of."""
        distances = []
        for rows in runs:
            run = RunFeatures()
            for row in measured.traits[rows]:
                run.add(row)
            distance = self.detector.domain_shift(run).distance
            assert distance is not None
            distances.append(distance)
        least, usual, most = np.quantile(distances, [0, 0.5, 1])
        typer.echo(
            f"{what}: {np.mean(np.array(distances) > 1):.1%} of {len(distances)} runs warned of;"
            f" distance {usual:.2f} ({least:.2f} to {most:.2f});"
            f" {measured.unlike.mean():.2%} of {len(measured.unlike):,} crops unlike training"
        )

    def report_folder(self, crops: CropFolder) -> None:
        """Print what is said of a folder as one run, and of the least crops drawn from it."""
        folder = crops.folder
        typer.echo(f"{folder}: {crops.scale(self.spec)}")
        measured = self.measure(crops.inputs(self.spec))
        chance = np.random.default_rng(1)
        n = len(measured.traits)
        drawn = (chance.choice(n, MIN_CROPS, replace=False) for _ in range(_POOLS))
        self.report_runs(f"{folder}, {MIN_CROPS} crops at a time", measured, drawn)
        self.report_runs(f"{folder}, all in one", measured, [np.arange(n)])


@app.command()
def simulated(
    model: Annotated[Path, typer.Argument(help="Of simulated cells.")],
    folders: Annotated[list[Path], typer.Argument(help="Of real crops.")],
    um_per_px: Annotated[
        float | None, typer.Option(help="Of the real crops.", show_default="each folder's own")
    ] = None,
    hospitals: Annotated[int, typer.Option(min=1, help="Simulated ones, never seen.")] = 300,
) -> None:
    """Ask a model of simulated cells.

    Example: `python -m train.evaluate.ood_rates simulated models/sim-resnet18 ../breast
    --um-per-px 0.5`
    """
    with exit_on(SetupError, ValueError):
        asked = OodProbe(model)
        real = [_require_min_crops(CropFolder.read(folder, um_per_px)) for folder in folders]
    cells = cells_from_simulation(
        simulate_cells(
            hospitals=hospitals, samples=1, cells=200, seed=UNSEEN_SEED, channels=("BF",)
        ),
        asked.spec,
    )
    measured = asked.measure(cells.bright)
    for share in _CTC_FRACTIONS:
        runs = list(_runs_with_fraction(cells.group, cells.positive, share))
        if not runs:
            raise fail(f"no hospital has cells for a run of {share:.0%} CTCs; --hospitals more")
        asked.report_runs(f"simulated hospitals, {share:.0%} CTCs", measured, runs)
    for crops in real:
        asked.report_folder(crops)


@app.command()
def held_out(
    run: Annotated[Path, typer.Argument(help="Run of a fold.")],
    model: Annotated[Path, typer.Argument(help="Exported from it.")],
    data: Annotated[Path, typer.Argument(help="Folder of all its crops.")],
    others: Annotated[list[Path], typer.Argument(help="Folders of other crops.")],
) -> None:
    """Ask the model of a fold.

    Example: `python -m train.evaluate.ood_rates held-out runs/mine/fold-1 models/fold-1 ../mine
    ../other`
    """
    with exit_on(SetupError, ValueError):
        asked = OodProbe(model)
        mine, sample = _held_out(run, CropFolder.read(data))
        strange = [_require_min_crops(CropFolder.read(folder)) for folder in others]
    typer.echo(f"{data}: {len(sample):,} held-out cells, {mine.scale(asked.spec)}")
    pools = list(_pools(sample))
    for name, change in _CHANGES.items():
        changed = replace(mine, pixels=[change(each) for each in mine.pixels])
        measured = asked.measure(changed.inputs(asked.spec))
        asked.report_runs(f"held-out acquisitions, {name}", measured, pools)
    for factor in (WRONG_SCALE, 1 / WRONG_SCALE):
        measured = asked.measure(mine.inputs(_scaled(asked.spec, factor)))
        asked.report_runs(f"held-out acquisitions, um/px wrong by {factor:.2f}", measured, pools)
    for crops in strange:
        asked.report_folder(crops)


def _held_out(run: Path, crops: CropFolder) -> tuple[CropFolder, NDArray[np.str_]]:
    """Find a run's test cells among crops by their pixels, as names may differ.

    Returns:
        The crops of these cells; (n,) the acquisition of each.

    Raises:
        ValueError: it is no run of one fold, or its test cells are not there.
    """
    first, *more = open_runs(run)
    if more:
        raise ValueError(f"{run} holds {len(more) + 1} folds; give one, such as {first.folder}")
    test = first.subset("test")
    if not len(test):
        raise ValueError(f"{run} holds out no cells for a test; fit it with --folds")
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
    """Refuse a folder of fewer crops than runs are judged by."""
    if len(crops.pixels) < MIN_CROPS:
        raise ValueError(
            f"{crops.folder} holds {len(crops.pixels)} crops; {MIN_CROPS} are needed to judge a run"
        )
    return crops


def _scaled(spec: InputSpec, factor: float) -> InputSpec:
    """Let the input's pixels be larger by a factor, as if um/px were wrong by it."""
    if spec.um_per_px is None:
        return structs.replace(spec, crop_px=(spec.crop_px or 1) * factor)
    return structs.replace(spec, um_per_px=spec.um_per_px * factor)


def _blurred(sigma: float) -> Change:
    return lambda pixels: cv2.GaussianBlur(pixels, (0, 0), sigma)  # type: ignore[return-value]


_CHANGES: dict[str, Change] = {
    "as they are": lambda pixels: pixels,
    "blurred by 1 px": _blurred(1),
    "blurred by 2 px": _blurred(2),
    "blurred by 3 px": _blurred(3),
}


def _runs_with_fraction(
    hospital: NDArray[np.str_], positive: NDArray[np.bool_], share: float
) -> Iterable[NDArray[np.intp]]:
    """Draw a run of the least crops from each hospital that has enough of both classes."""
    chance = np.random.default_rng(1)
    ctcs = round(share * MIN_CROPS)
    for name in np.unique(hospital):
        mine = [np.flatnonzero((hospital == name) & (positive == kind)) for kind in (True, False)]
        if len(mine[0]) >= ctcs and len(mine[1]) >= MIN_CROPS - ctcs:
            yield np.concatenate(
                (
                    chance.choice(mine[0], ctcs, replace=False),
                    chance.choice(mine[1], MIN_CROPS - ctcs, replace=False),
                )
            )


def _pools(sample: NDArray[np.str_]) -> Iterable[NDArray[np.intp]]:
    """Put whole acquisitions together, drawn at random, until there are enough crops to judge."""
    chance = np.random.default_rng(1)
    rows = [np.flatnonzero(sample == name) for name in np.unique(sample)]
    for _ in range(_POOLS):
        pool: list[NDArray[np.intp]] = []
        for index in chance.permutation(len(rows)):
            pool.append(rows[index])
            if sum(map(len, pool)) >= MIN_CROPS:
                break
        yield np.concatenate(pool)


if __name__ == "__main__":
    app()
