"""Make model folders to measure speed with: ResNet-18 and ResNet-50 at 96 px, one view.

    python -m tests.bench.networks FOLDER

Each is trained for seconds on drawn disks, then exported and quantised by the code that makes the
shipped model. Its calls are meaningless.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import fields, replace
from pathlib import Path

from tests.training.drawn import drawn_cells, sides_of
from train.export.export import ExportSettings, export
from train.export.parity import ParityLimits
from train.fit.fit import fit
from train.fit.presets import PRESETS

NETWORKS = {"resnet18-96": "resnet18", "resnet50-96": "resnet50"}


def make_network(folder: Path, name: str, seed: int = 1) -> None:
    """Make `<folder>/<name>`.

    Args:
        folder: parent of the model folder.
        name: one of `NETWORKS`.
        seed: random seed of the disks and the weights.

    Raises:
        FileExistsError: `<folder>/<name>` exists and is not a model folder.
    """
    input = PRESETS["gpu"].input
    settings = replace(
        PRESETS["tiny"].settings, network=NETWORKS[name], width=1.0, views=1, epochs=8, seed=seed
    )
    exported = ExportSettings(
        name=name,
        about="drawn disks, to measure speed",
        command="python -m tests.bench.networks FOLDER",
        demonstration=True,
        # A network that is hardly trained has no accuracy to lose in quantisation.
        limits=ParityLimits(*[math.inf] * len(fields(ParityLimits))),
        seed=seed,
    )
    cells = drawn_cells(input, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch, name)
        fit(cells, sides_of(cells), settings, input, run)
        export(run, exported, folder, on_warning=print)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="parent of the model folders")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for name in NETWORKS:
        make_network(arguments.folder, name, arguments.seed)
        print(arguments.folder / name)


if __name__ == "__main__":
    main()
