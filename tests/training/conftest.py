"""Small networks are as fast on one thread, and then do not slow down when cores are shared."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # of scikit-learn, which reads it when it is loaded

import pytest
import torch

from train.data.dataset import CHANNELS, Cells, cells_from_simulation
from train.fit.presets import PRESETS
from train.simulate import simulate_cells

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def hospitals() -> Cells:
    """Sixty-four simulated cells of four hospitals, bright field and DAPI."""
    cells = simulate_cells(hospitals=4, samples=1, cells=16, seed=2, channels=CHANNELS)
    return cells_from_simulation(cells, PRESETS["tiny"].input)
