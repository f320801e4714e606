"""How often the guard warns of runs: of those like training, and of those that are not.

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
from numpy.typing import NDArray

from ctcedge.classifier import Classifier
from ctcedge.crops import Naming
from ctcedge.decode import GreyImage, decode
from ctcedge.errors import SetupError
from ctcedge.guard import LEAST_CROPS, Guard, RunTraits, is_unlike
from ctcedge.pipeline import read_file
from ctcedge.preprocess import InputSpec, network_input
from ctcedge.runs import list_folder
from train.dataset import simulated_cells
from train.run import RunError, open_runs
from train.simulate import simulate_cells
from train.zero_shot import UNSEEN_SEED, folder_inputs

WRONG_SCALE = 1.5
_BATCH = 64
_POOLS = 400
_SHARES = (0.0, 0.1, 0.5)

app = typer.Typer(add_completion=False)
Change = Callable[[GreyImage], GreyImage]


@dataclass(frozen=True, slots=True)
class Measured:
    """What the guard says of cells.

    Attributes:
        traits: (n, k).
        unlike: (n,), whether each crop alone would be reviewed as unlike training.
    """

    traits: NDArray[np.float64]
    unlike: NDArray[np.bool_]


class Asked:
    """A model and its guard.

    Raises:
        SetupError: the model cannot be used.
        ValueError: it judges no runs.
    """

    def __init__(self, model: Path) -> None:
        self.classifier = Classifier.load(model, provider="cpu")
        guard = self.classifier.guard
        if guard is None or guard.network is None:
            raise ValueError(f"{model} judges no runs; export it anew")
        self.guard: Guard = guard
        self.spec: InputSpec = self.classifier.model.spec.input

    def measure(self, inputs: NDArray[np.uint8]) -> Measured:
        """Measure (n, size, size) inputs."""
        found = []
        for start in range(0, len(inputs), _BATCH):
            part = inputs[start : start + _BATCH]
            features = self.classifier.engine.answer(part).features
            assert features is not None
            found += self.guard.measure(part, features)
        return Measured(
            np.array([each.traits for each in found]), np.array([is_unlike(e.p) for e in found])
        )

    def folder(self, folder: Path, um_per_px: float | None) -> Measured:
        """Measure a folder's bright-field crops."""
        return self.measure(np.stack(list(folder_inputs(self.spec, folder, um_per_px))))

    def say(self, what: str, measured: Measured, runs: Iterable[NDArray[np.intp]]) -> None:
        """Print how many of the runs, rows of cells, are warned of."""
        distances = []
        for rows in runs:
            run = RunTraits()
            for row in measured.traits[rows]:
                run.add(row)
            distance = self.guard.likeness(run).distance
            assert distance is not None
            distances.append(distance)
        least, usual, most = np.quantile(distances, [0, 0.5, 1])
        typer.echo(
            f"{what}: {np.mean(np.array(distances) > 1):.1%} of {len(distances)} runs warned of;"
            f" distance {usual:.2f} ({least:.2f} to {most:.2f});"
            f" {measured.unlike.mean():.2%} of {len(measured.unlike):,} crops unlike training"
        )

    def say_pooled(self, folder: Path, um_per_px: float | None) -> None:
        """Print what is said of a folder as one run, and of the least crops drawn from it."""
        measured = self.folder(folder, um_per_px)
        chance = np.random.default_rng(1)
        n = len(measured.traits)
        drawn = (chance.choice(n, min(n, LEAST_CROPS), replace=False) for _ in range(_POOLS))
        self.say(f"{folder}, {LEAST_CROPS} crops at a time", measured, drawn)
        self.say(f"{folder}, all in one", measured, [np.arange(n)])


@app.command()
def simulated(
    model: Annotated[Path, typer.Argument(help="Of simulated cells.")],
    folders: Annotated[list[Path], typer.Argument(help="Of real crops.")],
    um_per_px: Annotated[float | None, typer.Option(help="Of the real crops.")] = None,
    hospitals: Annotated[int, typer.Option(min=1, help="Simulated ones, never seen.")] = 300,
) -> None:
    """Ask a model of simulated cells.

    Example: `python -m train.strangers simulated models/sim-resnet18 ../breast --um-per-px 0.5`
    """
    asked = _asked(model)
    cells = simulated_cells(
        simulate_cells(
            hospitals=hospitals, samples=1, cells=200, seed=UNSEEN_SEED, channels=("BF",)
        ),
        asked.spec,
    )
    measured = asked.measure(cells.bright)
    for share in _SHARES:
        runs = list(_of_share(cells.group, cells.positive, share))
        asked.say(f"simulated hospitals, {share:.0%} CTCs", measured, runs)
    for folder in folders:
        asked.say_pooled(folder, um_per_px)


@app.command()
def held_out(
    run: Annotated[Path, typer.Argument(help="Run of a fold.")],
    model: Annotated[Path, typer.Argument(help="Exported from it.")],
    data: Annotated[Path, typer.Argument(help="Folder of all its crops, um/px unknown.")],
    others: Annotated[list[Path], typer.Argument(help="Folders of other crops.")],
) -> None:
    """Ask the model of a fold.

    Example: `python -m train.strangers held-out runs/mine/fold-1 models/fold-1 ../mine ../other`
    """
    asked = _asked(model)
    try:
        (opened,) = open_runs(run)
    except RunError as error:
        raise _refusal(error) from None
    test = opened.of("test")
    wanted = set(zip(test.sample.tolist(), test.cell.tolist(), strict=True))
    listing = list_folder(data, Naming())
    crops = [crop for crop in listing.crops if (crop.sample, crop.cell) in wanted]
    pixels = [decode(read_file(data / crop.path)).pixels for crop in crops]
    sample = np.array([crop.sample for crop in crops])
    pools = list(_pools(sample))
    for name, change in _CHANGES.items():
        inputs = [network_input(change(each), None, asked.spec) for each in pixels]
        asked.say(f"held-out acquisitions, {name}", asked.measure(np.stack(inputs)), pools)
    pitch = asked.spec.crop_px or 1
    for factor in (WRONG_SCALE, 1 / WRONG_SCALE):
        spec = replace(asked.spec, crop_px=pitch * factor)
        inputs = [network_input(each, None, spec) for each in pixels]
        name = f"held-out acquisitions, um/px wrong by {factor:.2f}"
        asked.say(name, asked.measure(np.stack(inputs)), pools)
    for folder in others:
        asked.say_pooled(folder, None)


def _blurred(sigma: float) -> Change:
    return lambda pixels: cv2.GaussianBlur(pixels, (0, 0), sigma)  # type: ignore[return-value]


_CHANGES: dict[str, Change] = {
    "as they are": lambda pixels: pixels,
    "blurred by 1 px": _blurred(1),
    "blurred by 2 px": _blurred(2),
    "blurred by 3 px": _blurred(3),
}


def _of_share(
    hospital: NDArray[np.str_], positive: NDArray[np.bool_], share: float
) -> Iterable[NDArray[np.intp]]:
    """Draw a run of the least crops from each hospital that has enough of both classes."""
    chance = np.random.default_rng(1)
    ctcs = round(share * LEAST_CROPS)
    for name in np.unique(hospital):
        mine = [np.flatnonzero((hospital == name) & (positive == kind)) for kind in (True, False)]
        if len(mine[0]) >= ctcs and len(mine[1]) >= LEAST_CROPS - ctcs:
            yield np.concatenate(
                (
                    chance.choice(mine[0], ctcs, replace=False),
                    chance.choice(mine[1], LEAST_CROPS - ctcs, replace=False),
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
            if sum(map(len, pool)) >= LEAST_CROPS:
                break
        yield np.concatenate(pool)


def _asked(model: Path) -> Asked:
    try:
        return Asked(model)
    except (SetupError, ValueError) as error:
        raise _refusal(error) from None


def _refusal(error: Exception) -> typer.Exit:
    typer.echo(str(error), err=True)
    return typer.Exit(2)


if __name__ == "__main__":
    app()
