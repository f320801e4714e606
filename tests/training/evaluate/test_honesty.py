"""The simulator has no leak: without signal, a trained network ranks at chance.

Each test cell is of a hospital that the network has not seen. The short form has fewer hospitals
and epochs, and wider tolerances.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from train.baselines.size import measured_diameters, size_score
from train.build import INPUT, BuildSettings, hospital_splits
from train.data.dataset import cells_from_simulation
from train.fit.fit import fit
from train.fit.networks import predict
from train.fit.run import FitSettings
from train.metrics.roc import roc_auc
from train.simulate import simulate_cells

VALIDATION_HOSPITALS = 2
SETTINGS = FitSettings(
    network="resnet10", width=0.25, views=1, epochs=12, batch_size=64, ema=0.9, bf16=False
)


@dataclass(frozen=True)
class Length:
    training_hospitals: int
    epochs: int
    test_hospitals_without_signal: int
    test_hospitals_with_signal: int
    tolerance: float
    """Four standard deviations of an AUC by chance, or a little less."""


SHORT = Length(12, 8, 8, 8, tolerance=0.08)
FULL = Length(16, 12, 60, 10, tolerance=0.02)  # 6,000 cells: the standard deviation is 0.0075

LENGTHS = pytest.mark.parametrize(
    "length",
    [
        pytest.param(SHORT, id="short"),
        pytest.param(FULL, id="full", marks=pytest.mark.slow_training),
    ],
)


def trained_and_tested(folder, length, *, signal):
    """Return the AUC of a network, of true and of measured size."""
    test_hospitals = (
        length.test_hospitals_with_signal if signal else length.test_hospitals_without_signal
    )
    cells = simulate_cells(
        hospitals=length.training_hospitals + VALIDATION_HOSPITALS + test_hospitals,
        samples=1,
        cells=100,
        ctc_fraction=0.5,
        seed=11,
        signal=signal,
        channels=("BF",),
        workers=2,
    )
    dataset = cells_from_simulation(cells, INPUT)
    hospitals = BuildSettings(length.training_hospitals, VALIDATION_HOSPITALS, test_hospitals)
    splits = hospital_splits(dataset, hospitals)
    settings = replace(SETTINGS, epochs=length.epochs)
    network = fit(dataset, splits, settings, INPUT, folder / "run")
    training, test = (dataset.select(splits == name) for name in ("training", "test"))
    measured = (measured_diameters(part.bright, INPUT) for part in (training, test))
    scores = (
        predict(network, test.bright, INPUT.gain),
        size_score(training.diameter_um, training.positive, test.diameter_um),
        size_score(next(measured), training.positive, next(measured)),
    )
    return [roc_auc(test.positive, score) for score in scores]


@pytest.mark.timeout(300)
@LENGTHS
def test_without_signal_nothing_can_be_learnt(tmp_path, length):
    aucs = trained_and_tested(tmp_path, length, signal=False)
    assert aucs == pytest.approx([0.5, 0.5, 0.5], abs=length.tolerance)


@pytest.mark.timeout(300)
@LENGTHS
def test_with_signal_the_network_sees_more_than_size(tmp_path, length):
    network, true_size, measured_size = trained_and_tested(tmp_path, length, signal=True)
    # The true diameter is not in the image: a network this small need not beat it.
    assert network > measured_size + 0.08
    assert max(true_size, measured_size) < 0.75
