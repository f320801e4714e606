"""Simulated exports of two hospitals, with stains, and their cells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from train.fit.presets import input_for
from train.pretrain.crops import Crops, find_crops, read_crops
from train.pretrain.settings import pretrain_preset
from train.simulate import simulate_cells, write_export

STAINS = ("APC", "DAPI", "PE")


@dataclass(frozen=True)
class Simulated:
    exports: list[Path]
    crops: Crops


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> Simulated:
    folder = tmp_path_factory.mktemp("exports")
    write_export(folder, simulate_cells(hospitals=2, samples=2, cells=12, seed=3))
    exports = sorted(folder.iterdir())
    rows = find_crops(exports)
    spec = input_for(rows, pretrain_preset("tiny").fit)
    return Simulated(exports, read_crops(rows, spec, STAINS))
